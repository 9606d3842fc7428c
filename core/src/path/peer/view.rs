//! What there is to see of a peer.

use std::time::{Duration, Instant};

use crate::nat::NatBehaviour;
use crate::path::{Explanation, Path, explanation};

use super::Peer;

/// A peer as a status table shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerView {
    /// The way of its packets.
    pub path: Path,
    /// Round-trip time of the primary endpoint, where it was measured.
    pub rtt: Option<Duration>,
    /// The largest IP packet, in bytes, that is known to get through by the primary endpoint; never more than the tunnel can
    /// need. None where it was not measured yet.
    pub mtu: Option<u16>,
    /// Whether packets were sent or received lately.
    pub active: bool,
}

impl Peer {
    pub(in crate::path) fn view(&self, now: Instant) -> PeerView {
        PeerView {
            path: self.path,
            rtt: self.rtt(now),
            mtu: self.path_mtu(),
            active: self.is_active(),
        }
    }

    /// Why it is reached as it is.
    pub(in crate::path) fn explain(&self, now: Instant, ours: NatBehaviour) -> Explanation {
        let direct = self.path.primary.is_some_and(|primary| !primary.is_relay());
        let theirs = self.theirs.unwrap_or_default();
        Explanation {
            path: self.path,
            rtt: self.rtt(now),
            ours,
            theirs: self.theirs,
            attempts: self.campaign.attempts(),
            next_attempt: self.rounds.next.filter(|_| !direct),
            help: if direct {
                Vec::new()
            } else {
                explanation::help(ours, theirs)
            },
        }
    }
}
