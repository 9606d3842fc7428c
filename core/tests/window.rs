//! How late a packet may be: boringtun's window against replays is 1,024 packets wide, and what the packet path sends out of order has to
//! stay within it. Packets get their numbers when they are sealed, under the peer's lock, and leave in batches of at most 128 after
//! it was let go: of two threads that seal for one peer, one's batch can be late by what the other sealed meanwhile.
#![allow(
    clippy::disallowed_methods,
    reason = "a test stands outside the core and brings the time"
)]

use std::time::Instant;

use meshd_core::keys::WireGuardSecret;
use meshd_core::packet::DropReason;
use meshd_core::wireguard::{DATA_OVERHEAD, HandshakeDone, INITIATION_LEN, PeerKeys, Session, WireGuard};

/// boringtun's.
const WINDOW: usize = 1_024;
/// Most segments of one batch of the packet path.
const BATCH: usize = 128;
/// An IPv4 packet without payload.
const PACKET: [u8; 20] = [
    0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2,
];

fn pair() -> (Session, Session) {
    let own = |seed: u8| WireGuard::new(WireGuardSecret::from_seed(&[seed; 32]));
    let keys = |seed: u8| PeerKeys {
        public: own(seed).public(),
        preshared: None,
        keepalive: None,
    };
    let (mut a, mut b) = (own(1).session(keys(2), 1), own(2).session(keys(1), 2));
    let (now, mut one, mut two) = (Instant::now(), [0; INITIATION_LEN], [0; INITIATION_LEN]);
    let length = a.initiate(now, &mut one).unwrap();
    let Ok(HandshakeDone::Respond(length)) = b.handle_handshake(now, &one[..length], &mut two) else {
        panic!("no response")
    };
    let Ok(HandshakeDone::Established(length)) = a.handle_handshake(now, &two[..length], &mut one) else {
        panic!("no session")
    };
    b.open(&one[..length], &mut two).unwrap();
    b.confirm(now);
    (a, b)
}

fn seal(session: &mut Session, packets: usize) -> Vec<Vec<u8>> {
    let mut sealer = session.sealer().unwrap();
    let seal = |_| {
        let mut out = vec![0; PACKET.len() + DATA_OVERHEAD];
        sealer.seal(&PACKET, &mut out).unwrap();
        out
    };
    (0..packets).map(seal).collect()
}

fn open(session: &mut Session, datagrams: &[Vec<u8>]) -> Result<(), DropReason> {
    datagrams
        .iter()
        .try_for_each(|datagram| session.open(datagram, &mut [0; 64]).map(|_| ()))
}

#[test]
fn a_batch_may_be_late_by_seven_batches_of_another_thread() {
    let (mut a, mut b) = pair();
    let late = seal(&mut a, BATCH);
    for _ in 0..WINDOW / BATCH - 1 {
        let overtaking = seal(&mut a, BATCH);
        assert_eq!(open(&mut b, &overtaking), Ok(()));
    }
    assert_eq!(open(&mut b, &late), Ok(()), "every one of them");
    assert_eq!(open(&mut b, &late[..1]), Err(DropReason::Replay), "but once");
}

#[test]
fn what_is_later_than_the_window_is_refused() {
    let (mut a, mut b) = pair();
    let late = seal(&mut a, BATCH);
    let overtaking = seal(&mut a, WINDOW - BATCH + 1);
    assert_eq!(open(&mut b, &overtaking), Ok(()));
    assert_eq!(open(&mut b, &late[..1]), Err(DropReason::Replay));
    assert_eq!(open(&mut b, &late[1..]), Ok(()));
}

#[test]
fn two_threads_whose_batches_leave_in_any_order_lose_nothing() {
    let (mut a, mut b) = pair();
    // the worst of every round: of two batches, the one sealed first leaves last
    for _ in 0..64 {
        let (first, second) = (seal(&mut a, BATCH), seal(&mut a, BATCH));
        assert_eq!(open(&mut b, &second), Ok(()));
        assert_eq!(open(&mut b, &first), Ok(()));
    }
}
