//! Inner packets: their headers, and the two ways to handle many at once.
//!
//! Down (TUN to network), a super-packet with its virtio-net description ([`Offload`]) is cut into packets by
//! [`Segments`]; what is too large for its peer and may be cut, by [`Fragments`] and [`Fragments6`]. Up, [`Coalescer`] makes
//! super-packets of what was opened, as the kernel's own GRO would. Both write into
//! or point into the caller's buffers: nothing here allocates once it is set up.

pub mod checksum;
mod coalesce;
mod drop_reason;
pub mod ecn;
mod fragment;
mod fragment6;
pub mod icmp;
pub mod ip;
mod mss;
mod offload;
mod segment;

#[cfg(test)]
pub(crate) mod build;

pub use coalesce::{Coalescer, HeaderBuffer, MAX_HEADER_LEN, MAX_MERGED, Parts};
pub use drop_reason::{DropCounters, DropReason};
pub use fragment::Fragments;
pub use fragment6::{Fragments6, IPV6_MIN_MTU};
pub use mss::clamp_mss;
pub use offload::{GsoKind, Offload, complete_checksum};
pub use segment::{Segments, SegmentsInPlace};
