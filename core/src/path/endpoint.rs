//! Where packets go and where they come from.

use std::net::SocketAddr;

use crate::demux::{RELAY_HEADER_LEN, relay_header};

/// One of the node's sockets for a network. 0 is the primary one of each family; the others were opened because
/// [`super::Event::OpenSockets`] asked for them: at most [`SocketId::MAX_ADOPTED`] that paths use, and for a short time
/// those that a birthday search needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u16);

impl SocketId {
    /// The sockets on the node's own port.
    pub const PRIMARY: Self = Self(0);
    /// Other sockets that paths may use at a time.
    pub const MAX_ADOPTED: usize = 64;

    /// Whether it is one on the node's own port.
    pub fn is_primary(self) -> bool {
        self == Self::PRIMARY
    }
}

/// An address, and by which of our sockets it is sent to and heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Remote {
    /// The address.
    pub address: SocketAddr,
    /// The socket.
    pub socket: SocketId,
}

impl From<SocketAddr> for Remote {
    /// By the primary socket.
    fn from(address: SocketAddr) -> Self {
        Self {
            address,
            socket: SocketId::PRIMARY,
        }
    }
}

/// A way to a peer, as the packet path uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// Straight to this address.
    Direct(Remote),
    /// With [`Endpoint::header`] in front, to the relay.
    Relay {
        /// The relay's address.
        relay: SocketAddr,
        /// The session that reaches the peer.
        session: u64,
    },
}

impl Endpoint {
    /// Straight to an address, by the primary socket.
    pub fn direct(address: SocketAddr) -> Self {
        Self::Direct(address.into())
    }

    /// The socket by which it is used: relays by the primary one only.
    pub fn socket(&self) -> SocketId {
        match *self {
            Self::Direct(remote) => remote.socket,
            Self::Relay { .. } => SocketId::PRIMARY,
        }
    }

    /// The address to which the datagram goes.
    pub fn address(&self) -> SocketAddr {
        match *self {
            Self::Direct(remote) => remote.address,
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
    /// A WireGuard socket, with the whole datagram: discovery, STUN, and on the primary one relay control, or a relay's
    /// data frame, which the agent unwraps.
    Socket(Remote),
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
    /// By a WireGuard socket to this address. Relay headers are in the bytes already.
    Socket(Remote),
    /// By the beacon socket to both groups ([`super::beacon`]), on every interface that is not a mesh's own.
    Beacon,
}

/// A datagram to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: Destination,
    /// IP's time to live (hop limit) where it is not the usual one: a primer ends before the peer's NAT.
    pub ttl: Option<u8>,
    /// The whole datagram.
    pub bytes: Vec<u8>,
}
