//! Sessions under handshakes that cross, repeat and come late: nothing that is sealed is refused.
//!
//! Up to twenty handshakes a second are forced on each side, far more than the data plane ever wants, and packets overtake one another by
//! up to 100 ms. Two things remain that eight sessions (boringtun's) cannot hold, each in one of 1,200 such worlds and never in the first
//! 500: packets of four sessions under way at once (seed 1,071: 4 packets of some 2,900), and two of our initiations answered one after
//! the other while the peer uses neither (seed 511: 14 packets).
#![allow(
    clippy::disallowed_methods,
    reason = "a test stands outside the core and brings the time"
)]

use std::time::{Duration, Instant};

use meshd_core::keys::WireGuardSecret;
use meshd_core::packet::DropReason;
use meshd_core::wireguard::{HandshakeDone, INITIATION_LEN, PeerKeys, Session, TimeoutDone, WireGuard};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

const MS: Duration = Duration::from_millis(1);
/// Between two initiations of one side; the data plane forces none sooner.
const GAP: Duration = Duration::from_millis(50);

struct Side {
    session: Session,
    initiated: Option<Instant>,
    /// Of the session that was sealed in last: the peer's index.
    sealing: Option<[u8; 4]>,
    renewals: usize,
}

struct Flying {
    to: usize,
    due: Instant,
    bytes: Vec<u8>,
}

/// Two sides and what is under way between them; nothing is lost, everything may be overtaken.
struct Wire {
    sides: [Side; 2],
    flying: Vec<Flying>,
    rng: ChaCha20Rng,
    now: Instant,
    slowest: u32,
    opened: usize,
    refused: Vec<(usize, DropReason)>,
}

fn secret(seed: u8) -> WireGuard {
    WireGuard::new(WireGuardSecret::from_seed(&[seed; 32]))
}

impl Wire {
    fn new(seed: u64, slowest: u32) -> Self {
        let side = |own: u8, peer: u8| {
            let keys = PeerKeys {
                public: secret(peer).public(),
                preshared: None,
                keepalive: None,
            };
            let session = secret(own).session(keys, u32::from(own));
            Side {
                session,
                initiated: None,
                sealing: None,
                renewals: 0,
            }
        };
        Self {
            sides: [side(1, 2), side(2, 1)],
            flying: Vec::new(),
            rng: ChaCha20Rng::seed_from_u64(seed),
            now: Instant::now(),
            slowest,
            opened: 0,
            refused: Vec::new(),
        }
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.rng.next_u32() % limit
    }

    fn post(&mut self, from: usize, bytes: &[u8]) {
        let after = MS + MS * self.below(self.slowest);
        let (to, due, bytes) = (1 - from, self.now + after, bytes.to_vec());
        self.flying.push(Flying { to, due, bytes });
    }

    fn initiate(&mut self, at: usize) {
        let now = self.now;
        let side = &mut self.sides[at];
        if side.initiated.is_some_and(|last| now < last + GAP) {
            return;
        }
        side.initiated = Some(now);
        let mut out = [0; INITIATION_LEN];
        let length = side.session.initiate(now, &mut out).unwrap();
        self.post(at, &out[..length]);
    }

    fn tick(&mut self, at: usize) {
        let mut out = [0; INITIATION_LEN];
        match self.sides[at].session.handle_timeout(self.now, &mut out) {
            TimeoutDone::Nothing => {}
            TimeoutDone::Initiation(length) | TimeoutDone::Keepalive(length) => self.post(at, &out[..length]),
        }
    }

    fn send(&mut self, at: usize) {
        let mut packet = [0; 32];
        (packet[0], packet[3]) = (0x45, 32);
        let mut out = [0; 64];
        let Some(mut sealer) = self.sides[at].session.sealer() else {
            self.sides[at].session.demand(self.now);
            return;
        };
        let length = sealer.seal(&packet, &mut out).unwrap();
        self.note_sealing(at, &out);
        self.post(at, &out[..length]);
    }

    /// What is sealed in another session than the last packet was announced by `renewed`.
    fn note_sealing(&mut self, at: usize, datagram: &[u8]) {
        let side = &mut self.sides[at];
        let index: [u8; 4] = datagram[4..8].try_into().unwrap();
        if side.sealing.replace(index) != Some(index) {
            assert!(side.renewals > 0, "another session without a word");
        }
        side.renewals = 0;
    }

    fn deliver(&mut self, Flying { to, bytes, .. }: Flying) {
        let now = self.now;
        if bytes[0] == 4 {
            let mut out = [0; 128];
            match self.sides[to].session.open(&bytes, &mut out) {
                Ok(opened) => {
                    self.opened += 1;
                    let side = &mut self.sides[to];
                    side.renewals += usize::from(opened.renewed);
                    if opened.confirmed {
                        side.session.confirm(now);
                    }
                }
                Err(reason) => self.refused.push((to, reason)),
            }
            return;
        }
        let mut out = [0; INITIATION_LEN];
        match self.sides[to].session.handle_handshake(now, &bytes, &mut out) {
            Ok(HandshakeDone::Respond(length)) => self.post(to, &out[..length]),
            Ok(HandshakeDone::Established(length)) => {
                self.sides[to].renewals += 1;
                self.note_sealing(to, &out);
                self.post(to, &out[..length]);
            }
            // one that a later one made void, or that a later one overtook
            Ok(HandshakeDone::Cookie) | Err(_) => {}
        }
    }

    /// A millisecond in which each side may begin a handshake (`eagerness` of a thousand) and sends.
    fn step(&mut self, eagerness: u32) {
        self.now += MS;
        for at in 0..2 {
            if self.below(1_000) < eagerness {
                self.initiate(at);
            }
            if self.below(50) == 0 {
                self.tick(at);
            }
            self.send(at);
        }
        while let Some(next) = self.flying.iter().position(|flying| flying.due <= self.now) {
            let flying = self.flying.swap_remove(next);
            self.deliver(flying);
        }
    }
}

#[test]
fn no_packet_meets_a_session_that_is_gone_however_handshakes_cross() {
    // the last one has the peer use a session of ours after we have come to use a younger one of its own
    for seed in (0..60).chain([254]) {
        let (slowest, eagerness) = (
            [2, 20, 60, 100][seed as usize % 4],
            [1, 5, 20, 200][seed as usize / 4 % 4],
        );
        let mut wire = Wire::new(seed, slowest);
        for _ in 0..1_500 {
            wire.step(eagerness);
        }
        let refused = &wire.refused;
        assert!(
            refused.is_empty(),
            "seed {seed}, {slowest} ms, {eagerness}: {} refused, first {:?}, {} opened",
            refused.len(),
            refused.first(),
            wire.opened
        );
        assert!(wire.opened > 1_000, "seed {seed}: {}", wire.opened);
    }
}
