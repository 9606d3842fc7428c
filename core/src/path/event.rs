//! What the agent tells its driver.

use std::net::SocketAddr;
use std::time::Duration;

use crate::id::{NodeId, RelayId};

use super::{Endpoint, MapVersion, Remote, SocketId};

/// How packets to a peer travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathKind {
    /// Straight to the peer.
    Direct,
    /// Through a relay.
    Relay,
    /// Not at all at present.
    None,
}

/// The way to a peer: what the packet path needs to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// Every packet goes here; none while there is no way.
    pub primary: Option<Endpoint>,
    /// And, while one of the two is in doubt, here too.
    pub duplicate: Option<Endpoint>,
    /// The largest packet of the tunnel, in bytes, that both are known to carry, where that is less than the tunnel's MTU.
    pub max_packet: Option<u16>,
}

impl Path {
    /// By its primary endpoint.
    pub fn kind(&self) -> PathKind {
        match self.primary {
            Some(Endpoint::Direct(_)) => PathKind::Direct,
            Some(Endpoint::Relay { .. }) => PathKind::Relay,
            None => PathKind::None,
        }
    }

    /// The direct address in use, alone or beside a relay.
    pub fn direct(&self) -> Option<Remote> {
        [self.primary, self.duplicate]
            .into_iter()
            .flatten()
            .find_map(|endpoint| match endpoint {
                Endpoint::Direct(remote) => Some(remote),
                Endpoint::Relay { .. } => None,
            })
    }
}

/// What the driver should know or do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// From now on packets to `peer` go this way.
    PathChanged {
        /// The peer.
        peer: NodeId,
        /// Its path.
        path: Path,
        /// Round-trip time of the primary, where it was measured.
        rtt: Option<Duration>,
    },
    /// Start a WireGuard handshake with `peer` now: it asks for one, or it has come into reach, or it was restarted.
    Initiate {
        /// The peer.
        peer: NodeId,
    },
    /// A pong came from `peer`.
    Ponged {
        /// The peer.
        peer: NodeId,
        /// The way that was asked about.
        way: Endpoint,
        /// How long it took.
        rtt: Duration,
    },
    /// The peer is in a new life: its sessions are gone.
    PeerRestarted {
        /// The peer.
        peer: NodeId,
    },
    /// The peer says that it goes away.
    Goodbye {
        /// The peer.
        peer: NodeId,
    },
    /// The peer holds a newer network map: fetch it from there (docs/wire.md section 9).
    MapNewer {
        /// The peer.
        peer: NodeId,
        /// What it holds.
        map: MapVersion,
    },
    /// An observer sees the WireGuard socket at a new address: a candidate for the node record.
    ReflexiveAddress {
        /// The relay or STUN server that sees it.
        observer: SocketAddr,
        /// Our address as it sees it.
        address: SocketAddr,
    },
    /// Open sockets on fresh ports, of this family, known from now on by the ids from `first` on; datagrams may be sent by
    /// them at once. One that cannot be opened is as if nothing ever came by it.
    OpenSockets {
        /// The first id.
        first: SocketId,
        /// How many.
        count: u16,
        /// For IPv6, else for IPv4.
        ipv6: bool,
    },
    /// Close these sockets: no path uses them any more.
    CloseSockets {
        /// The first id.
        first: SocketId,
        /// How many.
        count: u16,
    },
    /// UDP to this relay stays without an answer: connect to it over TLS and tell of it by
    /// [`super::Agent::set_carrier`]; or, where not wanted any more, let the connection go.
    Carrier {
        /// The relay.
        relay: RelayId,
        /// Whether it is wanted.
        wanted: bool,
    },
    /// The nearest relay that answers is another one, or none: the node record should say so.
    HomeRelay {
        /// The relay.
        relay: Option<RelayId>,
    },
}
