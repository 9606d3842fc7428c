//! Under load: a flood of handshakes, and more packets than one thread sends.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use meshd_core::keys::WireGuardSecret;
use meshd_core::packet::DropReason;
use meshd_core::path::Endpoint;
use meshd_core::wireguard::{INITIATION_LEN, PeerKeys, WireGuard};

use crate::support::{Node, pair, strangers, stream};

/// Initiations a second.
const RATE: usize = 5000;

/// Initiations to a node from keys that are no peer's, right but for that.
fn initiations(target: &Node, count: usize) -> Vec<[u8; INITIATION_LEN]> {
    let stranger = WireGuard::new(WireGuardSecret::from_seed(&[66; 32]));
    let keys = PeerKeys {
        public: target.secret.public(),
        preshared: None,
        keepalive: None,
    };
    let mut session = stranger.session(keys, 66);
    let now = Instant::now();
    (0..count)
        .map(|_| {
            let mut message = [0; INITIATION_LEN];
            session.initiate(now, &mut message).unwrap();
            message
        })
        .collect()
}

/// Sends `messages` over and over, in bursts of 10 ms.
fn flood(socket: &UdpSocket, target: &Node, messages: &[[u8; INITIATION_LEN]], stop: &AtomicBool) {
    let mut rounds = messages.chunks(RATE / 100).cycle();
    while !stop.load(Ordering::Relaxed) {
        for message in rounds.next().unwrap() {
            let _ = socket.send_to(message, target.underlay);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_new_peer_gets_in_and_a_session_loses_nothing() {
    let Some((one, two)) = strangers(2) else { return };
    let attacker = one
        .namespace
        .inside(|| UdpSocket::bind("192.0.2.1:6666").unwrap());
    let messages = initiations(&two, 2000);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| flood(&attacker, &two, &messages, &stop));
        while two.plane.drops().get(DropReason::UnknownPeer) < 100 {
            thread::yield_now();
        }
        let start = Instant::now();
        one.plane.set_peers(vec![two.as_peer()]);
        two.plane.set_peers(vec![one.as_peer()]);
        one.plane
            .set_path(two.id, Some(Endpoint::direct(two.underlay)), None);
        assert_eq!(one.ping(two.v4, 1, "1"), 1);
        println!(
            "a new peer's first packet under {RATE} initiations/s: {:?}",
            start.elapsed()
        );
        stream(&one, &two, two.v4, 16 << 20);
        assert_eq!(one.ping(two.v4, 50, "0.01"), 50);
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_second_thread_helps_while_there_is_much_to_send_and_no_longer() {
    let Some((one, two)) = pair(2) else { return };
    assert_eq!(one.ping(two.v4, 1, "1"), 1);
    let helped = (0..20).any(|_| {
        stream(&one, &two, two.v4, 16 << 20);
        one.plane.turns() > 0
    });
    assert!(helped, "one thread was enough for twenty streams");
    // what is sent from then on is one packet now and then
    let alone = (0..50).any(|_| one.plane.turns() % 2 == 0 || one.ping(two.v4, 1, "1") == 0);
    assert!(alone, "the second thread still sends");
    assert_eq!(one.ping(two.v4, 3, "0.2"), 3);
    assert_eq!(one.plane.drops().get(DropReason::Replay), 0);
    let Some((single, other)) = pair(1) else { return };
    stream(&single, &other, other.v4, 16 << 20);
    assert_eq!(single.plane.turns(), 0, "there is no other thread");
}
