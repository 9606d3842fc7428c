//! Segmenting and coalescing the slow and obvious way, for comparison: no offset is kept, nothing is updated in place, every packet is
//! built anew from what was read of it. Written from RFC 791 (IPv4), RFC 8200 (IPv6), RFC 768 (UDP), RFC 9293 (TCP) and RFC 3168
//! (ECN). `check_*.rs` compare; the fuzzers run them, and `core/tests/reference.rs` on inputs of its own.
#![allow(dead_code, reason = "each fuzzer uses a part of it")]

pub mod bytes;
pub mod check_coalesce;
pub mod check_segment;
pub mod check_tunnel;
pub mod coalesce;
pub mod packet;
pub mod segment;
