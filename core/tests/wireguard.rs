//! Sessions and the handshake gate, driven message by message. They need a clock, so they are not among the unit tests.
#![allow(
    clippy::disallowed_methods,
    reason = "a test stands outside the core and brings the time"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use boringtun::noise::{Tunn, TunnResult};
use meshd_core::keys::WireGuardSecret;
use meshd_core::packet::DropReason;
use meshd_core::wireguard::{
    Admission, COOKIE_REPLY_LEN, HandshakeDone, HandshakeGate, INITIATION_LEN, Opened, Origin, PeerKeys,
    PresharedKey, REPLAY_WINDOW, Session, TimeoutDone, WireGuard, receiver,
};

const A: [u8; 32] = [1; 32];
const B: [u8; 32] = [2; 32];

fn wireguard(seed: &[u8; 32]) -> WireGuard {
    WireGuard::new(WireGuardSecret::from_seed(seed))
}

fn keys(seed: &[u8; 32]) -> PeerKeys {
    PeerKeys {
        public: wireguard(seed).public(),
        preshared: None,
        keepalive: None,
    }
}

fn pair() -> (Session, Session) {
    (
        wireguard(&A).session(keys(&B), 7),
        wireguard(&B).session(keys(&A), 9),
    )
}

fn initiate(session: &mut Session, now: Instant) -> Vec<u8> {
    let mut out = [0; INITIATION_LEN];
    let length = session.initiate(now, &mut out).unwrap();
    out[..length].to_vec()
}

/// Gives `message` to `session` and takes what it answers.
fn answer(session: &mut Session, now: Instant, message: &[u8]) -> Vec<u8> {
    let mut out = [0; INITIATION_LEN];
    match session.handle_handshake(now, message, &mut out).unwrap() {
        HandshakeDone::Respond(length) | HandshakeDone::Established(length) => out[..length].to_vec(),
        HandshakeDone::Cookie => Vec::new(),
    }
}

fn connect(a: &mut Session, b: &mut Session) {
    let now = Instant::now();
    let initiation = initiate(a, now);
    let response = answer(b, now, &initiation);
    let keepalive = answer(a, now, &response);
    let opened = b.open(&keepalive, &mut [0; 64]).unwrap();
    assert_eq!(
        opened,
        Opened {
            length: 0,
            confirmed: true,
            renewed: true,
        }
    );
    b.confirm(now);
}

/// An IPv4 packet of `length` bytes.
fn packet(length: usize) -> Vec<u8> {
    let mut packet = vec![0x5a; length];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    packet
}

fn seal(session: &mut Session, packet: &[u8]) -> Vec<u8> {
    let mut out = vec![0; packet.len() + 32];
    let length = session.sealer().unwrap().seal(packet, &mut out).unwrap();
    assert_eq!(length, out.len());
    out
}

#[test]
fn a_handshake_makes_both_sides_ready() {
    let (mut a, mut b) = pair();
    assert!(a.sealer().is_none() && a.last_handshake().is_none());
    let now = Instant::now();
    let initiation = initiate(&mut a, now);
    assert_eq!(a.pending_since(), Some(now));
    assert_eq!(wireguard(&B).initiator(&initiation), Ok(wireguard(&A).public()));
    let response = answer(&mut b, now, &initiation);
    assert_eq!(receiver(&response).map(|index| index >> 8), Some(7));
    assert!(!b.is_ready(), "the responder waits for the first packet");
    let keepalive = answer(&mut a, now, &response);
    assert_eq!(receiver(&keepalive).map(|index| index >> 8), Some(9));
    assert!(a.is_ready() && a.pending_since().is_none() && a.last_handshake() == Some(now));
    assert!(b.open(&keepalive, &mut [0; 64]).unwrap().confirmed);
    b.confirm(now);
    assert!(b.is_ready() && b.last_handshake() == Some(now));
}

#[test]
fn packets_pass_both_ways_and_only_once() {
    let (mut a, mut b) = pair();
    connect(&mut a, &mut b);
    let mut out = [0; 2000];
    for length in [20, 64, 576, 1420] {
        let packet = packet(length);
        let datagram = seal(&mut a, &packet);
        let opened = b.open(&datagram, &mut out).unwrap();
        assert_eq!(
            opened,
            Opened {
                length,
                confirmed: false,
                renewed: false,
            }
        );
        assert_eq!(out[..length], packet);
        assert_eq!(b.open(&datagram, &mut out), Err(DropReason::Replay));
        let datagram = seal(&mut b, &packet);
        assert_eq!(a.open(&datagram, &mut out).unwrap().length, length);
    }
}

#[test]
fn padding_is_cut_off() {
    let (mut a, mut b) = pair();
    connect(&mut a, &mut b);
    let mut padded = packet(70);
    padded.resize(80, 0);
    let datagram = seal(&mut a, &padded);
    assert_eq!(b.open(&datagram, &mut [0; 200]).unwrap().length, 70);
}

#[test]
fn what_is_not_authentic_is_told_apart() {
    let (mut a, mut b) = pair();
    let mut out = [0; 200];
    assert_eq!(b.open(&[4; 64], &mut out), Err(DropReason::NoSession));
    connect(&mut a, &mut b);
    let mut datagram = seal(&mut a, &packet(40));
    let last = datagram.len() - 1;
    datagram[last] ^= 1;
    assert_eq!(b.open(&datagram, &mut out), Err(DropReason::Authentication));
    datagram[last] ^= 1;
    datagram[4] ^= 0x02;
    assert_eq!(b.open(&datagram, &mut out), Err(DropReason::NoSession));
    datagram[4] ^= 0x02;
    datagram[8..16].fill(0xff);
    assert_eq!(
        b.open(&datagram, &mut out),
        Err(DropReason::Replay),
        "a counter at its end"
    );
    assert_eq!(b.open(&datagram[..31], &mut out), Err(DropReason::Malformed));
    assert_eq!(
        b.open(&datagram, &mut [0; 60]),
        Err(DropReason::Malformed),
        "no room"
    );
    let mut garbage = packet(40);
    garbage[0] = 0x15;
    let datagram = seal(&mut a, &garbage);
    assert_eq!(b.open(&datagram, &mut out), Err(DropReason::Malformed));
}

#[test]
fn no_packet_is_lost_that_is_less_than_960_behind() {
    let (mut a, mut b) = pair();
    connect(&mut a, &mut b);
    let datagrams: Vec<_> = (0..4 * 1024).map(|_| seal(&mut a, &packet(20))).collect();
    let mut out = [0; 64];
    // runs of 64 arrive in blocks of 15 runs, the last run of a block first
    for block in datagrams.chunks(960) {
        for run in block.chunks(64).rev() {
            for datagram in run {
                assert_eq!(b.open(datagram, &mut out).map(|opened| opened.length), Ok(20));
            }
        }
    }
    assert_eq!(b.open(&datagrams[0], &mut out), Err(DropReason::Replay));
}

#[test]
fn the_window_is_as_long_as_it_is_said_to_be() {
    let (mut a, mut b) = pair();
    connect(&mut a, &mut b);
    let datagrams: Vec<_> = (0..2 * REPLAY_WINDOW)
        .map(|_| seal(&mut a, &packet(20)))
        .collect();
    let (mut out, newest) = ([0; 64], 2 * REPLAY_WINDOW - 1);
    b.open(&datagrams[newest], &mut out).unwrap();
    let oldest = newest - (REPLAY_WINDOW - 1);
    assert_eq!(
        b.open(&datagrams[oldest], &mut out).map(|opened| opened.length),
        Ok(20)
    );
    assert_eq!(b.open(&datagrams[oldest - 1], &mut out), Err(DropReason::Replay));
}

#[test]
fn a_preshared_key_has_to_be_the_same() {
    let preshared = |byte| PeerKeys {
        preshared: Some(PresharedKey::from_bytes([byte; 32])),
        ..keys(&B)
    };
    let mut b = wireguard(&B).session(
        PeerKeys {
            preshared: Some(PresharedKey::from_bytes([3; 32])),
            ..keys(&A)
        },
        1,
    );
    let now = Instant::now();
    let mut wrong = wireguard(&A).session(preshared(4), 2);
    let initiation = initiate(&mut wrong, now);
    let response = answer(&mut b, now, &initiation);
    assert_eq!(
        wrong.handle_handshake(now, &response, &mut [0; 148]),
        Err(DropReason::HandshakeInvalid)
    );
    let mut right = wireguard(&A).session(preshared(3), 2);
    connect(&mut right, &mut b);
    assert_eq!(
        format!("{:?}", preshared(3).preshared),
        "Some(PresharedKey(redacted))"
    );
}

#[test]
fn a_replayed_initiation_is_refused_and_a_rebuilt_session_starts_anew() {
    let (mut a, mut b) = pair();
    let now = Instant::now();
    let initiation = initiate(&mut a, now);
    answer(&mut b, now, &initiation);
    assert_eq!(
        b.handle_handshake(now, &initiation, &mut [0; 148]),
        Err(DropReason::HandshakeReplay)
    );
    connect(&mut a, &mut b);
    a.rebuild();
    assert!(!a.is_ready());
    connect(&mut a, &mut b);
    let datagram = seal(&mut b, &packet(40));
    assert_eq!(a.open(&datagram, &mut [0; 100]).unwrap().length, 40);
}

#[test]
fn both_sides_at_once_end_with_a_session_each_way() {
    let (mut a, mut b) = pair();
    let now = Instant::now();
    let (from_a, from_b) = (initiate(&mut a, now), initiate(&mut b, now));
    let (to_a, to_b) = (answer(&mut b, now, &from_a), answer(&mut a, now, &from_b));
    let (keepalive_a, keepalive_b) = (answer(&mut a, now, &to_a), answer(&mut b, now, &to_b));
    a.open(&keepalive_b, &mut [0; 64]).unwrap();
    b.open(&keepalive_a, &mut [0; 64]).unwrap();
    for _ in 0..3 {
        let datagram = seal(&mut a, &packet(40));
        assert_eq!(b.open(&datagram, &mut [0; 100]).unwrap().length, 40);
        let datagram = seal(&mut b, &packet(40));
        assert_eq!(a.open(&datagram, &mut [0; 100]).unwrap().length, 40);
    }
}

#[test]
fn a_wanted_peer_is_tried_at_doubling_gaps() {
    let (mut a, _) = pair();
    let start = Instant::now();
    let mut out = [0; INITIATION_LEN];
    assert_eq!(a.handle_timeout(start, &mut out), TimeoutDone::Nothing);
    a.demand(start);
    let mut due = Vec::new();
    while let Some(at) = a.poll_timeout() {
        assert_eq!(
            a.handle_timeout(at - Duration::from_nanos(1).min(at - start), &mut out),
            {
                if at == start {
                    TimeoutDone::Initiation(INITIATION_LEN)
                } else {
                    TimeoutDone::Nothing
                }
            }
        );
        if at != start {
            assert_eq!(
                a.handle_timeout(at, &mut out),
                TimeoutDone::Initiation(INITIATION_LEN)
            );
        }
        due.push((at - start).as_millis());
        a.demand(at);
    }
    assert_eq!(due, [0, 300, 900, 2100, 4500, 9300]);
    assert_eq!(a.pending_since(), Some(start));
}

#[test]
fn who_has_just_answered_does_not_cross_it_with_an_initiation() {
    let (mut a, mut b) = pair();
    let now = Instant::now();
    let initiation = initiate(&mut a, now);
    answer(&mut b, now, &initiation);
    b.demand(now);
    assert_eq!(b.poll_timeout(), Some(now + Duration::from_millis(300)));
}

#[test]
fn a_stock_tunnel_speaks_to_ours() {
    let stock_secret = WireGuardSecret::from_seed(&B);
    let own = wireguard(&A);
    let mut stock = Tunn::new(
        stock_secret.as_dalek().clone(),
        own.public().to_dalek(),
        None,
        None,
        5,
        None,
    );
    let mut ours = own.session(keys(&B), 3);
    let (now, mut out, mut buffer) = (Instant::now(), [0; 200], [0; 200]);
    let TunnResult::WriteToNetwork(initiation) = stock.format_handshake_initiation(&mut buffer, false) else {
        panic!("no initiation")
    };
    let response = answer(&mut ours, now, initiation);
    let TunnResult::WriteToNetwork(keepalive) = stock.decapsulate(None, &response, &mut buffer) else {
        panic!("no keepalive")
    };
    assert!(ours.open(keepalive, &mut out).unwrap().confirmed);
    let sent = packet(60);
    let TunnResult::WriteToNetwork(datagram) = stock.encapsulate(&sent, &mut buffer) else {
        panic!("not sealed")
    };
    assert_eq!(ours.open(datagram, &mut out).unwrap().length, 60);
    let datagram = seal(&mut ours, &sent);
    let TunnResult::WriteToTunnelV4(opened, _) = stock.decapsulate(None, &datagram, &mut buffer) else {
        panic!("not opened")
    };
    assert_eq!(opened, sent);
}

const ATTACKER: Origin = Origin::Direct(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 66)));
const FRIEND: Origin = Origin::Direct(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));

#[test]
fn under_a_direct_flood_a_cookie_lets_a_peer_in_at_once() {
    let (mut a, mut b) = pair();
    let (now, mut reply) = (Instant::now(), [0; COOKIE_REPLY_LEN]);
    let mut gate = HandshakeGate::new(wireguard(&B).public(), [5; 32], now);
    let mut stranger = wireguard(&[8; 32]).session(keys(&B), 1);
    let flood = initiate(&mut stranger, now);
    let verdicts: Vec<_> = (0..1000)
        .map(|_| gate.admit(now, ATTACKER, &flood, &mut reply))
        .collect();
    assert_eq!(
        verdicts
            .iter()
            .filter(|verdict| **verdict == Admission::Admitted)
            .count(),
        250
    );
    assert_eq!(verdicts[999], Admission::Cookie(COOKIE_REPLY_LEN));

    let initiation = initiate(&mut a, now);
    assert_eq!(
        gate.admit(now, FRIEND, &initiation, &mut reply),
        Admission::Cookie(COOKIE_REPLY_LEN)
    );
    assert!(answer(&mut a, now, &reply).is_empty());
    assert_eq!(a.poll_timeout(), Some(now), "with the cookie at once");
    let mut out = [0; INITIATION_LEN];
    assert_eq!(
        a.handle_timeout(now, &mut out),
        TimeoutDone::Initiation(INITIATION_LEN)
    );
    assert_eq!(gate.admit(now, FRIEND, &out, &mut reply), Admission::Admitted);
    let response = answer(&mut b, now, &out);
    answer(&mut a, now, &response);
    assert!(a.is_ready());
}

#[test]
fn two_nodes_under_load_do_not_send_cookies_in_a_circle() {
    let (mut a, _) = pair();
    let (now, mut reply, mut out) = (Instant::now(), [0; COOKIE_REPLY_LEN], [0; INITIATION_LEN]);
    let mut gate = HandshakeGate::new(wireguard(&B).public(), [5; 32], now);
    let flood = initiate(&mut wireguard(&[8; 32]).session(keys(&B), 1), now);
    while gate.admit(now, ATTACKER, &flood, &mut reply) == Admission::Admitted {}
    let mut initiation = initiate(&mut a, now);
    // the address changes under way, so that no cookie ever fits
    for round in 0..4u8 {
        let origin = Origin::Direct(Ipv4Addr::new(203, 0, 113, round).into());
        assert_eq!(
            gate.admit(now, origin, &initiation, &mut reply),
            Admission::Cookie(COOKIE_REPLY_LEN)
        );
        answer(&mut a, now, &reply);
        let expected = if round == 0 {
            TimeoutDone::Initiation(INITIATION_LEN)
        } else {
            TimeoutDone::Nothing
        };
        assert_eq!(a.handle_timeout(now, &mut out), expected);
        initiation = out.to_vec();
    }
    assert_eq!(a.poll_timeout(), Some(now + Duration::from_millis(300)));
}

#[test]
fn a_relayed_flood_uses_up_its_own_share_only() {
    let (mut a, _) = pair();
    let (now, mut reply) = (Instant::now(), [0; COOKIE_REPLY_LEN]);
    let relay = "192.0.2.9:3478".parse().unwrap();
    let mut gate = HandshakeGate::new(wireguard(&B).public(), [5; 32], now);
    let flood = initiate(&mut wireguard(&[8; 32]).session(keys(&B), 1), now);
    let admitted = (0..1000)
        .filter(|_| gate.admit(now, Origin::Relayed(relay, 66), &flood, &mut reply) == Admission::Admitted)
        .count();
    assert_eq!(admitted, 10);
    let initiation = initiate(&mut a, now);
    assert_eq!(
        gate.admit(now, Origin::Relayed(relay, 1), &initiation, &mut reply),
        Admission::Admitted
    );
    assert_eq!(
        gate.admit(now, FRIEND, &initiation, &mut reply),
        Admission::Admitted
    );
    let later = now + Duration::from_secs(2);
    assert_eq!(
        gate.admit(later, Origin::Relayed(relay, 66), &flood, &mut reply),
        Admission::Admitted
    );
}

#[test]
fn without_our_public_key_nothing_passes_and_nothing_is_answered() {
    let (now, mut reply) = (Instant::now(), [0; COOKIE_REPLY_LEN]);
    let mut gate = HandshakeGate::new(wireguard(&B).public(), [5; 32], now);
    let mut to_another = wireguard(&A).session(keys(&[7; 32]), 1);
    let initiation = initiate(&mut to_another, now);
    for origin in [ATTACKER, Origin::Relayed("192.0.2.9:1".parse().unwrap(), 1)] {
        for bytes in [&initiation[..], &initiation[..147], &[], &[1, 0, 0, 0]] {
            let verdict = gate.admit(now, origin, bytes, &mut reply);
            assert_eq!(verdict, Admission::Refused(DropReason::HandshakeInvalid));
        }
    }
}
