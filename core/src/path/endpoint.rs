//! Where packets go and where they come from.

use std::net::SocketAddr;

use crate::demux::{RELAY_HEADER_LEN, relay_header};

/// A way to a peer, as the packet path uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// Straight to this address.
    Direct(SocketAddr),
    /// With [`Endpoint::header`] in front, to the relay.
    Relay {
        /// The relay's address.
        relay: SocketAddr,
        /// The session that reaches the peer.
        session: u64,
    },
}

impl Endpoint {
    /// The address to which the datagram goes.
    pub fn address(&self) -> SocketAddr {
        match *self {
            Self::Direct(address) => address,
            Self::Relay { relay, .. } => relay,
        }
    }

    /// What to put in front of each packet; none where nothing.
    pub fn header(&self) -> Option<[u8; RELAY_HEADER_LEN]> {
        match *self {
            Self::Direct(_) => None,
            Self::Relay { session, .. } => Some(relay_header(session)),
        }
    }

    /// Whether it leads through a relay.
    pub fn is_relay(&self) -> bool {
        matches!(self, Self::Relay { .. })
    }
}

/// Where a datagram for the agent came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The node's WireGuard socket, with the whole datagram: discovery, STUN, relay control, or a relay's data frame,
    /// which the agent unwraps.
    Socket(SocketAddr),
    /// A relay's data frame whose header was taken off already.
    Relay {
        /// The relay's address.
        relay: SocketAddr,
        /// The session id in the header.
        session: u64,
    },
    /// The beacon socket.
    Beacon(SocketAddr),
}

/// Where a datagram of the agent goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// By the WireGuard socket to this address. Relay headers are in the bytes already.
    Socket(SocketAddr),
    /// By the beacon socket to both groups ([`super::beacon`]), on every interface that is not a mesh's own.
    Beacon,
}

/// A datagram to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: Destination,
    /// The whole datagram.
    pub bytes: Vec<u8>,
}
