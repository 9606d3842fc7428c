//! TCP packets that may have been lost with a path, for its successor.
//!
//! When a direct path dies, TCP sends its oldest segment again after 0.2, 0.6 and 1.4 s. Doubt comes after 0.8 s, so that the
//! first two are lost, and the connection would stand still until the third. So what TCP sends to a peer that has been silent
//! for a moment is kept, a few packets for all peers together, and sent again, in new datagrams, when the peer gets another
//! way beside or instead of a direct one: at once, and once more when the peer has had time to change its own way too. Where
//! the path turns out to carry less than was thought, those that are too large for it are answered so, and TCP sends them
//! again at once, in smaller packets. TCP expects duplicates; nothing else is kept.

use std::time::{Duration, Instant};

use meshd_core::packet::ip;

/// Packets kept for all peers together.
pub(super) const SLOTS: usize = 16;
/// After so long a silence of a peer, what is sent to it may be lost.
pub(super) const SILENCE: Duration = Duration::from_millis(100);
/// What is older is no longer of use to anybody.
const LIFETIME: Duration = Duration::from_millis(1_500);
/// From the first time that they are sent again to the second.
pub(super) const AGAIN_AFTER: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug)]
struct Kept {
    /// The peer's session index.
    peer: u32,
    at: Instant,
    length: usize,
}

/// The packets, in fixed memory.
#[derive(Debug)]
pub(super) struct Rescue {
    memory: Box<[u8]>,
    slot_size: usize,
    kept: [Option<Kept>; SLOTS],
    next: usize,
}

impl Rescue {
    /// For packets of at most `mtu` bytes.
    pub(super) fn new(mtu: usize) -> Rescue {
        Rescue {
            memory: vec![0; SLOTS * mtu].into_boxed_slice(),
            slot_size: mtu,
            kept: [None; SLOTS],
            next: 0,
        }
    }

    /// Keeps a copy in the place of the oldest, where the packet is TCP.
    pub(super) fn keep(&mut self, peer: u32, packet: &[u8], now: Instant) {
        if packet.len() > self.slot_size || !is_tcp(packet) {
            return;
        }
        let start = self.next * self.slot_size;
        self.memory[start..start + packet.len()].copy_from_slice(packet);
        self.kept[self.next] = Some(Kept {
            peer,
            at: now,
            length: packet.len(),
        });
        self.next = (self.next + 1) % SLOTS;
    }

    /// The packets to a peer that may still be of use, in the order in which they were sent.
    pub(super) fn of(&self, peer: u32, now: Instant) -> impl Iterator<Item = &[u8]> {
        let order = (self.next..SLOTS).chain(0..self.next);
        order.filter_map(move |slot| {
            let kept = self.kept[slot]?;
            let fresh = kept.peer == peer && now.saturating_duration_since(kept.at) < LIFETIME;
            let start = slot * self.slot_size;
            fresh.then(|| &self.memory[start..start + kept.length])
        })
    }

    /// Forgets what was kept for a peer.
    pub(super) fn forget(&mut self, peer: u32) {
        for kept in &mut self.kept {
            *kept = kept.filter(|kept| kept.peer != peer);
        }
    }
}

fn is_tcp(packet: &[u8]) -> bool {
    ip::parse(packet).is_ok_and(|header| header.protocol == ip::TCP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(mark: u8) -> Vec<u8> {
        let mut packet = vec![0; 40];
        (packet[0], packet[3], packet[9], packet[39]) = (0x45, 40, ip::TCP, mark);
        packet
    }

    #[test]
    fn the_last_tcp_packets_of_a_peer_come_back_in_order_until_they_are_too_old() {
        let (mut rescue, now) = (Rescue::new(100), Instant::now());
        for mark in 0..20 {
            rescue.keep(u32::from(mark % 2), &tcp(mark), now);
        }
        let mut udp = tcp(99);
        udp[9] = ip::UDP;
        rescue.keep(0, &udp, now);
        rescue.keep(0, &[0x45; 101], now);
        let marks = |rescue: &Rescue, at| -> Vec<u8> { rescue.of(0, at).map(|packet| packet[39]).collect() };
        assert_eq!(marks(&rescue, now), [4, 6, 8, 10, 12, 14, 16, 18]);
        assert!(marks(&rescue, now + LIFETIME).is_empty());
        rescue.forget(0);
        assert!(marks(&rescue, now).is_empty());
        assert_eq!(rescue.of(1, now).count(), 8);
    }
}
