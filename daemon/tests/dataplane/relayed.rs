//! Packets through a relay.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use meshd::dataplane::ControlEvent;
use meshd_core::demux::{Class, relay_header, split_relay};
use meshd_core::packet::DropReason;
use meshd_core::path::Endpoint;

use crate::support::{Node, SOON, strangers, stream};

/// The session ids under which each of the two reaches the other.
const SESSIONS: [u64; 2] = [0x1111, 0x2222];

/// Forwards data frames between two nodes as a relay does: the id becomes that of the opposite direction.
fn forward(socket: &UdpSocket, nodes: [&Node; 2], stop: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, _)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let (session, payload) = split_relay(&buffer[..length]).unwrap();
        let from = SESSIONS.iter().position(|known| *known == session).unwrap();
        let frame = [&relay_header(SESSIONS[1 - from])[..], payload].concat();
        socket.send_to(&frame, nodes[1 - from].underlay).unwrap();
    }
}

#[test]
fn a_relayed_pair_talks_and_moves_to_a_direct_path_without_a_gap() {
    let Some((mut one, mut two)) = strangers(2) else {
        return;
    };
    let relay = one
        .namespace
        .inside(|| UdpSocket::bind("192.0.2.1:3478").unwrap());
    let address = relay.local_addr().unwrap();
    one.plane.set_peers(vec![two.as_peer()]);
    two.plane.set_peers(vec![one.as_peer()]);
    let way = |from: usize| {
        Some(Endpoint::Relay {
            relay: address,
            session: SESSIONS[from],
        })
    };
    one.plane.set_path(two.id, way(0), None);
    two.plane.set_path(one.id, way(1), None);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| forward(&relay, [&one, &two], &stop));
        // frames from addresses that are no relay's go nowhere
        assert_eq!(one.ping(two.v4, 1, "1"), 0);
        for node in [&one, &two] {
            node.plane.set_relays(vec![address]);
        }
        one.plane.initiate(two.id);
        assert_eq!(one.ping(two.v4, 1, "1"), 1);
        assert_eq!(two.stats().last_rx_from, way(1));
        stream(&one, &two, two.v4, 4 << 20);
        let pings = scope.spawn(|| one.ping(two.v4, 50, "0.02"));
        one.plane
            .set_path(two.id, Some(Endpoint::direct(two.underlay)), way(0));
        two.plane
            .set_path(one.id, Some(Endpoint::direct(one.underlay)), way(1));
        assert_eq!(pings.join().unwrap(), 50);
        stop.store(true, Ordering::Relaxed);
    });
    assert!(two.plane.drops().get(DropReason::UnknownRelay) > 0);
    for (node, other) in [
        (&mut one, two.underlay),
        (&mut two, ([192, 0, 2, 1], 51820).into()),
    ] {
        node.hears(
            |event| matches!(event, ControlEvent::RoamedTo { from, .. } if *from == Endpoint::direct(other)),
        );
    }
}

#[test]
fn what_is_not_data_goes_to_the_control_side_and_what_is_nothing_is_counted() {
    let Some((_one, mut two)) = strangers(1) else {
        return;
    };
    let sender = two
        .namespace
        .inside(|| UdpSocket::bind("192.0.2.2:3478").unwrap());
    two.plane.set_relays(vec![sender.local_addr().unwrap()]);
    let discovery = b"msh\x01 hello";
    let relayed = |payload: &[u8]| [&relay_header(7)[..], payload].concat();
    let stun = [
        0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
    ];
    let control = [&relay_header(0)[..], &[3, 1, 2]].concat();
    for datagram in [
        &discovery[..],
        &stun,
        b"msb\x01 beacon",
        &control,
        &relayed(discovery),
        &relayed(&relayed(discovery)),
        &relayed(&stun),
        b"nothing known",
        &[4, 0, 0, 0],
        &[1, 0, 0, 0, 9],
    ] {
        sender.send_to(datagram, two.underlay).unwrap();
    }
    let relay = sender.local_addr().unwrap();
    let direct = Endpoint::direct(relay);
    let through = Endpoint::Relay { relay, session: 7 };
    for (expected, bytes, class) in [
        (direct, &discovery[..], Class::Discovery),
        (direct, &stun, Class::Stun),
        (direct, b"msb\x01 beacon", Class::Beacon),
        (direct, &control, Class::Relay),
        (through, discovery, Class::Discovery),
    ] {
        let event = two.hears(|_| true);
        let local = Some(two.underlay.ip());
        assert_eq!(
            event,
            ControlEvent::Datagram {
                from: expected,
                local,
                class,
                bytes: bytes.into()
            }
        );
    }
    let counted = || {
        let drops = two.plane.drops();
        [
            DropReason::NotRelayable,
            DropReason::UnknownDatagram,
            DropReason::Malformed,
            DropReason::HandshakeInvalid,
        ]
        .map(|reason| drops.get(reason))
    };
    let end = std::time::Instant::now() + SOON;
    while counted() != [2, 1, 1, 1] {
        assert!(std::time::Instant::now() < end, "{:?}", two.plane.drops());
        thread::yield_now();
    }
    two.plane.send(through, b"back").unwrap();
    let mut got = [0; 100];
    let (length, from) = sender.recv_from(&mut got).unwrap();
    assert_eq!((&got[..length], from), (&relayed(b"back")[..], two.underlay));
}
