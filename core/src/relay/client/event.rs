//! What a relay client tells its driver.

use std::net::SocketAddr;
use std::time::Duration;

use crate::id::NodeId;
use crate::relay::frame::RefusalCode;

/// What a relay did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayEvent {
    /// Bound, anew or again.
    Bound {
        /// Our address as the relay sees it.
        seen: SocketAddr,
        /// Time between the request and the answer.
        rtt: Duration,
        /// Whether the node was not bound before, or at another of the relay's addresses.
        anew: bool,
    },
    /// The relay does not answer.
    Lost,
    /// The peer is reached by this session.
    Opened {
        /// The peer.
        peer: NodeId,
        /// Its session, from now on the only one.
        session: u64,
    },
    /// The session to this peer is no more; it is being opened again.
    SessionLost {
        /// The peer.
        peer: NodeId,
    },
    /// The relay will not relay to this peer now.
    Refused {
        /// The peer.
        peer: NodeId,
        /// Why.
        code: RefusalCode,
    },
    /// The relay sees the peer at this address, as [`super::RelayClient::ask_whereabouts`] asked.
    Seen {
        /// The peer.
        peer: NodeId,
        /// Where it is bound.
        seen: SocketAddr,
    },
    /// From now on a carrier over TLS to this relay is wanted, or no longer.
    Carrier {
        /// Whether it is wanted.
        wanted: bool,
    },
}
