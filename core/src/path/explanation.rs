//! Why a peer is reached as it is: what both sides know of their NATs, what was tried, and what would help.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::nat::NatBehaviour;

use super::Path;

/// A way of making a direct path, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Pings to the known addresses, after a primer that opens our own NAT.
    Punch,
    /// The same from a fresh port on both sides; where a NAT counts its ports, to those that it will give next.
    FreshPort,
    /// Many sockets on one side, many ports tried by the other.
    Birthday,
}

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on.
    UnderWay,
    /// The peer answered at this address.
    Direct(SocketAddr),
    /// Nobody answered.
    NoAnswer,
    /// Not tried: what is known of the two NATs makes it hopeless.
    Hopeless,
    /// Ended by a change of the network, or because nobody wanted the peer any more.
    Abandoned,
}

/// One try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it began.
    pub at: Instant,
    /// How.
    pub method: Method,
    /// What came of it.
    pub outcome: Outcome,
}

/// What a person can do so that the pair becomes direct. Each alone is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Help {
    /// Let UDP out of this node's network.
    AllowUdpHere,
    /// Let UDP out of the peer's network.
    AllowUdpThere,
    /// Forward a UDP port to this node, or allow it to ask for one (PCP, NAT-PMP, UPnP).
    ForwardPortHere,
    /// The same for the peer.
    ForwardPortThere,
    /// IPv6 on both sides: no NAT that chooses ports is between them then.
    Ipv6,
}

/// Everything about one pair, from this side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The way of the packets.
    pub path: Path,
    /// Round-trip time of the primary endpoint, where it was measured.
    pub rtt: Option<Duration>,
    /// The NAT in front of this node.
    pub ours: NatBehaviour,
    /// The NAT in front of the peer; none where it has not told yet.
    pub theirs: Option<NatBehaviour>,
    /// What was tried, the oldest first; at most [`Explanation::MAX_ATTEMPTS`].
    pub attempts: Vec<Attempt>,
    /// When it is tried again by itself; none where nothing is planned.
    pub next_attempt: Option<Instant>,
    /// What would help; empty where the path is direct already.
    pub help: Vec<Help>,
}

impl Explanation {
    /// Tries that are remembered for each peer.
    pub const MAX_ATTEMPTS: usize = 12;
}

/// What would help a relayed pair with these NATs.
pub(super) fn help(ours: NatBehaviour, theirs: NatBehaviour) -> Vec<Help> {
    let mut help = Vec::new();
    if ours.udp_blocked || theirs.udp_blocked {
        let blocked = [
            (ours.udp_blocked, Help::AllowUdpHere),
            (theirs.udp_blocked, Help::AllowUdpThere),
        ];
        return blocked
            .into_iter()
            .filter_map(|(is, help)| is.then_some(help))
            .collect();
    }
    // the side whose NAT is worse gains most by a forwarded port, so it is named first
    help.extend([Help::ForwardPortHere, Help::ForwardPortThere]);
    if theirs.is_dependent() && !ours.is_dependent() {
        help.reverse();
    }
    help.push(Help::Ipv6);
    help
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::Mapping;

    #[test]
    fn what_is_named_first_is_what_the_worse_side_can_do() {
        let symmetric = NatBehaviour {
            mapping: Mapping::AddressAndPortDependent,
            ..NatBehaviour::default()
        };
        let home = NatBehaviour::default();
        assert_eq!(help(home, symmetric)[0], Help::ForwardPortThere);
        assert_eq!(help(symmetric, home)[0], Help::ForwardPortHere);
        let blocked = NatBehaviour {
            udp_blocked: true,
            ..home
        };
        assert_eq!(help(home, blocked), [Help::AllowUdpThere]);
    }
}
