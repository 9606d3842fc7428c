//! Packets that wait for a handshake or a path: a fixed pool shared by all peers, oldest dropped first within a peer.

use std::time::{Duration, Instant};

use meshd_core::packet::DropReason;

use super::shared::Drops;

/// Packets that may wait in all, and for one peer.
pub(super) const SLOTS: usize = 256;
const PER_PEER: usize = 64;
/// After this nobody waits for the packet any more.
const LIFETIME: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Waiting {
    /// The peer's session index.
    peer: u32,
    since: Instant,
    length: usize,
    slot: usize,
}

/// The pool.
#[derive(Debug)]
pub(super) struct Staging {
    memory: Box<[u8]>,
    slot_size: usize,
    free: Vec<usize>,
    /// The oldest first.
    waiting: Vec<Waiting>,
}

impl Staging {
    /// For packets of at most `mtu` bytes.
    pub(super) fn new(mtu: usize) -> Staging {
        Staging {
            memory: vec![0; SLOTS * mtu].into_boxed_slice(),
            slot_size: mtu,
            free: (0..SLOTS).collect(),
            waiting: Vec::with_capacity(SLOTS),
        }
    }

    /// Keeps a copy of `packet` for `peer`. Where the peer has too many waiting already, its oldest goes.
    pub(super) fn push(&mut self, peer: u32, packet: &[u8], now: Instant, drops: &Drops) {
        if packet.len() > self.slot_size {
            return drops.count(DropReason::TooBig);
        }
        let mut of_peer = self
            .waiting
            .iter()
            .enumerate()
            .filter(|(_, waiting)| waiting.peer == peer);
        let oldest = of_peer.next().map(|(place, _)| place);
        if of_peer.count() + 1 >= PER_PEER || self.free.is_empty() {
            let Some(place) = oldest else {
                return drops.count(DropReason::StagingFull);
            };
            self.free(place);
            drops.count(DropReason::StagingFull);
        }
        let Some(slot) = self.free.pop() else {
            return drops.count(DropReason::StagingFull);
        };
        let start = slot * self.slot_size;
        self.memory[start..start + packet.len()].copy_from_slice(packet);
        self.waiting.push(Waiting {
            peer,
            since: now,
            length: packet.len(),
            slot,
        });
    }

    /// Takes the oldest packet of `peer` to the start of `out` and gives its length.
    pub(super) fn pop(&mut self, peer: u32, out: &mut [u8]) -> Option<usize> {
        let place = self.waiting.iter().position(|waiting| waiting.peer == peer)?;
        let Waiting { length, slot, .. } = self.waiting[place];
        let start = slot * self.slot_size;
        out[..length].copy_from_slice(&self.memory[start..start + length]);
        self.free(place);
        Some(length)
    }

    /// Whether something waits for `peer`.
    pub(super) fn holds(&self, peer: u32) -> bool {
        self.waiting.iter().any(|waiting| waiting.peer == peer)
    }

    /// Drops all that waits for `peer`, and says how many that were.
    pub(super) fn forget(&mut self, peer: u32) -> usize {
        let before = self.waiting.len();
        while let Some(place) = self.waiting.iter().position(|waiting| waiting.peer == peer) {
            self.free(place);
        }
        before - self.waiting.len()
    }

    /// Drops what has waited too long.
    pub(super) fn expire(&mut self, now: Instant, drops: &Drops) {
        while self
            .waiting
            .first()
            .is_some_and(|oldest| now.saturating_duration_since(oldest.since) > LIFETIME)
        {
            self.free(0);
            drops.count(DropReason::StagingExpired);
        }
    }

    fn free(&mut self, place: usize) {
        self.free.push(self.waiting.remove(place).slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn popped(staging: &mut Staging, peer: u32) -> Vec<Vec<u8>> {
        let mut out = [0; 100];
        std::iter::from_fn(|| staging.pop(peer, &mut out).map(|length| out[..length].to_vec())).collect()
    }

    #[test]
    fn packets_come_back_in_order_for_their_own_peer() {
        let (mut staging, drops, now) = (Staging::new(100), Drops::default(), Instant::now());
        for (peer, packet) in [(1, &b"a"[..]), (2, b"bb"), (1, b"ccc")] {
            staging.push(peer, packet, now, &drops);
        }
        assert!(staging.holds(2));
        assert_eq!(popped(&mut staging, 1), [b"a".to_vec(), b"ccc".to_vec()]);
        assert_eq!(staging.forget(2), 1);
        assert!(!staging.holds(2));
        assert_eq!(staging.free.len(), SLOTS);
        assert_eq!(drops.snapshot().total(), 0);
    }

    #[test]
    fn a_peer_cannot_take_everything_and_its_newest_stay() {
        let (mut staging, drops, now) = (Staging::new(100), Drops::default(), Instant::now());
        for number in 0..100u8 {
            staging.push(1, &[number], now, &drops);
        }
        assert_eq!(drops.get(DropReason::StagingFull), 100 - PER_PEER as u64);
        assert_eq!(popped(&mut staging, 1)[0], [100 - PER_PEER as u8]);
        for peer in 0..2 * SLOTS as u32 {
            staging.push(peer, b"x", now, &drops);
        }
        assert_eq!(staging.waiting.len(), SLOTS);
        staging.push(0, &[0; 101], now, &drops);
        assert_eq!(drops.get(DropReason::TooBig), 1);
    }

    #[test]
    fn what_has_waited_too_long_goes() {
        let (mut staging, drops, now) = (Staging::new(100), Drops::default(), Instant::now());
        staging.push(1, b"old", now, &drops);
        staging.push(1, b"new", now + LIFETIME, &drops);
        staging.expire(now + LIFETIME + Duration::from_millis(1), &drops);
        assert_eq!(popped(&mut staging, 1), [b"new".to_vec()]);
        assert_eq!(drops.get(DropReason::StagingExpired), 1);
    }
}
