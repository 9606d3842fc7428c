//! Why a packet went no further. Every drop is counted under exactly one reason.

/// The reason for a drop: `Copy`, so that counting one costs an addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// Not an IP packet, or its headers contradict its length.
    Malformed,
    /// No peer's allowed IPs hold the destination.
    NoRoute,
    /// The sender's allowed IPs do not hold the inner source address.
    SourceNotAllowed,
    /// There is no session with the peer, or none with that receiver index.
    NoSession,
    /// The peer has no path and none is known from received packets.
    NoPath,
    /// Too many packets already wait for a handshake.
    StagingFull,
    /// A packet waited for a handshake that did not come about in time.
    StagingExpired,
    /// The authentication tag is wrong.
    Authentication,
    /// The counter was seen before or is older than the replay window.
    Replay,
    /// Larger than the peer's largest packet and not divisible.
    TooBig,
    /// Congestion was signalled on a packet that cannot carry the mark (RFC 6040 section 4.2).
    CongestionMarked,
    /// A datagram of no known class.
    UnknownDatagram,
    /// A relay frame from an address that is not one of our relays.
    UnknownRelay,
    /// A relay frame whose payload may not be relayed.
    NotRelayable,
    /// A handshake message with a wrong mac1, length or content.
    HandshakeInvalid,
    /// A handshake from a key that is no peer's.
    UnknownPeer,
    /// A handshake whose timestamp is not newer than the last one.
    HandshakeReplay,
    /// Handshakes came faster than the budget allows.
    HandshakeOverBudget,
    /// The queue to the handshake thread was full.
    HandshakeQueueFull,
    /// The queue to the control side was full.
    ControlQueueFull,
    /// The kernel refused to send.
    SendFailed,
    /// The kernel refused the packet on the TUN device.
    TunWriteFailed,
}

impl DropReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [DropReason; 22] = [
        Self::Malformed,
        Self::NoRoute,
        Self::SourceNotAllowed,
        Self::NoSession,
        Self::NoPath,
        Self::StagingFull,
        Self::StagingExpired,
        Self::Authentication,
        Self::Replay,
        Self::TooBig,
        Self::CongestionMarked,
        Self::UnknownDatagram,
        Self::UnknownRelay,
        Self::NotRelayable,
        Self::HandshakeInvalid,
        Self::UnknownPeer,
        Self::HandshakeReplay,
        Self::HandshakeOverBudget,
        Self::HandshakeQueueFull,
        Self::ControlQueueFull,
        Self::SendFailed,
        Self::TunWriteFailed,
    ];

    /// A stable name in lower case, for JSON and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NoRoute => "no_route",
            Self::SourceNotAllowed => "source_not_allowed",
            Self::NoSession => "no_session",
            Self::NoPath => "no_path",
            Self::StagingFull => "staging_full",
            Self::StagingExpired => "staging_expired",
            Self::Authentication => "authentication",
            Self::Replay => "replay",
            Self::TooBig => "too_big",
            Self::CongestionMarked => "congestion_marked",
            Self::UnknownDatagram => "unknown_datagram",
            Self::UnknownRelay => "unknown_relay",
            Self::NotRelayable => "not_relayable",
            Self::HandshakeInvalid => "handshake_invalid",
            Self::UnknownPeer => "unknown_peer",
            Self::HandshakeReplay => "handshake_replay",
            Self::HandshakeOverBudget => "handshake_over_budget",
            Self::HandshakeQueueFull => "handshake_queue_full",
            Self::ControlQueueFull => "control_queue_full",
            Self::SendFailed => "send_failed",
            Self::TunWriteFailed => "tun_write_failed",
        }
    }
}

/// How many packets were dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropCounters {
    counts: [u64; DropReason::ALL.len()],
}

impl DropCounters {
    /// Counts one packet.
    #[inline]
    pub fn count(&mut self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Counts `packets` packets.
    #[inline]
    pub fn add(&mut self, reason: DropReason, packets: u64) {
        let count = &mut self.counts[reason as usize];
        *count = count.wrapping_add(packets);
    }

    /// How many were dropped for this reason.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.counts[reason as usize]
    }

    /// All reasons with their counts, zeros too.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .into_iter()
            .map(|reason| (reason, self.get(reason)))
    }

    /// The sum over all reasons.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_numbered_by_their_place_and_named_once() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        for (place, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::ALL.len());
    }

    #[test]
    fn counters_add_up() {
        let mut counters = DropCounters::default();
        counters.count(DropReason::Replay);
        counters.add(DropReason::TooBig, 2);
        assert_eq!(counters.get(DropReason::Replay), 1);
        assert_eq!(counters.total(), 3);
        assert_eq!(counters.iter().filter(|(_, count)| *count > 0).count(), 2);
    }
}
