//! What a check found.

use std::net::SocketAddr;
use std::time::Duration;

use crate::id::RelayId;
use crate::nat::{Filtering, Mapping, NatBehaviour};

/// An address of a relay that answers STUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observer {
    /// Whose it is.
    pub relay: RelayId,
    /// The address.
    pub address: SocketAddr,
}

/// What one relay address showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelaySeen {
    /// Who was asked.
    pub observer: Observer,
    /// Round-trip time; none where it did not answer.
    pub rtt: Option<Duration>,
    /// Where it sees this node's socket.
    pub seen: Option<SocketAddr>,
    /// Where it says to see it, where no node can be ([`crate::nat::may_be_seen`]): it counts for nothing.
    pub refused: Option<SocketAddr>,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether any relay answered over UDP.
    pub udp: bool,
    /// Whether one answered over IPv6.
    pub ipv6: bool,
    /// Mapping, filtering and allocation of the IPv4 NAT.
    pub nat: NatBehaviour,
    /// Whether the outside port is the socket's own; none where nothing is known.
    pub port_preserving: Option<bool>,
    /// Whether the NAT sends back what goes to its own outside; none where there is none, or it could not be tried.
    pub hairpin: Option<bool>,
    /// Two relays name different IP addresses for one socket: one lies, or the NAT uses several addresses.
    pub contradiction: bool,
    /// Each relay address.
    pub relays: Vec<RelaySeen>,
}

impl Report {
    /// Where this node's IPv4 socket is seen.
    pub fn seen_v4(&self) -> Option<SocketAddr> {
        self.relays
            .iter()
            .filter_map(|relay| relay.seen)
            .find(SocketAddr::is_ipv4)
    }

    /// One sentence for a person: what it means for direct paths.
    pub fn meaning(&self) -> &'static str {
        if !self.udp {
            return "no relay answers over UDP: it is blocked on the way out, or the relays are down; without it every path goes through a relay over TLS";
        }
        match (self.nat.mapping, self.nat.filtering) {
            (Mapping::NoNat, Filtering::EndpointIndependent) => {
                "this machine can be reached from outside without help: direct paths to everybody"
            }
            (Mapping::NoNat, _) => "a firewall but no NAT: direct paths to nearly everybody",
            (Mapping::EndpointIndependent, _) => "an easy NAT: direct paths to nearly everybody",
            (Mapping::AddressDependent | Mapping::AddressAndPortDependent, _) => {
                "a hard NAT, with another port for each peer: direct paths to peers that filter little, or have IPv6; to others through a relay or after many probes"
            }
            (Mapping::Unknown, _) if self.seen_v4().is_some() => {
                "one outside port towards both ports of the relay: most likely an easy NAT; a second relay address would make it certain"
            }
            (Mapping::Unknown, _) if !self.ipv6 => {
                "the relays answer, but not with what can be this machine's address: they lie, or something on the way changes their answers; paths go through them all the same"
            }
            (Mapping::Unknown, _) => "only IPv6 answers: direct paths to peers that have it",
        }
    }
}
