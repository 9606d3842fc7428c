//! UDP in batches: one system call receives or sends many datagrams.
//!
//! 1. [`UdpSocket::bind`] (or [`UdpSocket::adopt`], of a descriptor that outlived its process): one socket per family.
//! 2. [`UdpSocket::recv_batch`] fills a [`RecvBatch`] without waiting; readiness comes from [`crate::poll`] (or tokio's
//!    `AsyncFd` on the control side; the socket is non-blocking and has a descriptor).
//! 3. [`UdpSocket::send_segments`] and [`UdpSocket::send_batch`] send runs of equal datagrams, falling back by
//!    themselves where the kernel refuses to segment.
//!
//! Multicast for LAN beacons is [`BeaconSocket`]; what the routing table says of a destination is [`route_to`].

mod message;
mod multicast;
mod recv;
mod refusals;
mod route;
mod send;
mod socket;
mod sys;

use std::sync::atomic::{AtomicU64, Ordering};

pub use self::multicast::{BEACON_GROUP_V4, BEACON_GROUP_V6, Beacon, BeaconSocket, Joined};
pub use self::recv::{GRO_BUFFER, Received, RecvBatch};
pub use self::route::{RouteTo, route_to};
pub use self::send::{BatchSent, MAX_SEGMENTS, MAX_SEND_BYTES, SendError, Transmit};
pub use self::socket::{PathMtuDiscovery, UdpConfig, UdpError, UdpSocket};

/// What happened on a socket besides packets. All count up from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpStats {
    /// ICMP errors that the kernel reported and that were passed over.
    pub icmp_errors: u64,
    /// Received datagrams dropped because they did not fit the buffer.
    pub truncated: u64,
    /// Runs for which UDP_SEGMENT was refused.
    pub segment_refusals: u64,
    /// Datagrams at the end of a run sent singly for which there was no room.
    pub lost: u64,
}

#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Counters {
    icmp_errors: Counter,
    truncated: Counter,
    segment_refusals: Counter,
    lost: Counter,
}

/// Whether an error number may be an ICMP error of some earlier datagram, which says nothing about this call.
fn is_icmp(code: i32) -> bool {
    matches!(
        code,
        libc::ECONNREFUSED
            | libc::ECONNRESET
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::EPROTO
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
    )
}
