//! What the benchmarks of `benches/` and the command `limits` work on: connected sessions ([`peers`]), packets and super-packets
//! ([`packets`]), the bare AEAD as the limit ([`aead`]), and whole batches without the kernel ([`batch`]).

pub mod aead;
pub mod batch;
pub mod packets;
pub mod peers;
