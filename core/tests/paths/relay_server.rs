//! The relay's decisions, message by message.

use std::time::Duration;

use meshd_core::demux::{relay_header, split_relay};
use meshd_core::relay::frame::{Control, ControlFrame, Frame, RefusalCode, parse};
use meshd_core::relay::{RelayConfig, RelayDrop, RelayServer, Verdict, bind_key};

use crate::relay_bench::*;

#[test]
fn a_packet_reaches_the_peer_and_the_answer_comes_back() {
    let mut bench = Bench::new();
    bench.bind(1);
    bench.bind(2);
    let there = bench.session(1, 2);
    let (verdict, forwarded) = bench.send(channel(1), there, PACKET);
    assert!(matches!(verdict, Verdict::Forward { to } if to == channel(2)));
    let Some(Frame::Data {
        session: back,
        payload,
    }) = parse(&forwarded)
    else {
        panic!()
    };
    assert_eq!(payload, PACKET);
    assert_ne!(back, there);
    assert_eq!(
        bench.session(2, 1),
        back,
        "the id received is the one to answer with"
    );
    let (verdict, answered) = bench.send(channel(2), back, PACKET);
    assert!(matches!(verdict, Verdict::Forward { to } if to == channel(1)));
    assert!(matches!(parse(&answered), Some(Frame::Data { session, .. }) if session == there));
    assert_eq!(bench.relay.traffic(NETWORK, node(1)).unwrap().packets, 1);
}

#[test]
fn nobody_binds_without_cookie_key_or_membership() {
    let mut bench = Bench::new();
    let Some(Control::BindCookie { cookie, .. }) = bench.bind_with(NETWORK, node(1), channel(1), [0; 16])
    else {
        panic!()
    };
    let stolen = bench.bind_with(NETWORK, node(1), channel(2), cookie);
    assert!(
        matches!(stolen, Some(Control::BindCookie { .. })),
        "a cookie is good at its address only"
    );
    let forged = ControlFrame::bind_request(
        NETWORK,
        node(1),
        [0; 8],
        &cookie,
        &bind_key(&SECRET, NETWORK, node(2)),
    );
    assert!(bench.control(channel(1), &forged).is_none());
    let stranger = bench.bind_in(NETWORK, node(99), channel(9));
    assert!(matches!(
        stranger,
        Some(Control::Refused {
            code: RefusalCode::NotAMember,
            ..
        })
    ));
    assert_eq!(bench.relay.bindings(bench.now), 0);
}

#[test]
fn a_cookie_is_good_for_one_to_two_minutes() {
    let mut bench = Bench::new();
    let Some(Control::BindCookie { cookie, .. }) = bench.bind_with(NETWORK, node(1), channel(1), [0; 16])
    else {
        panic!()
    };
    for (after, bound) in [(60, true), (60, false)] {
        bench.now += Duration::from_secs(after);
        bench.relay.handle_timeout(bench.now);
        let answer = bench.bind_with(NETWORK, node(1), channel(1), cookie);
        assert_eq!(matches!(answer, Some(Control::Bound { .. })), bound);
    }
}

#[test]
fn frames_stay_inside_their_network() {
    let mut bench = Bench::new();
    bench.bind(1);
    bench.bind_in(OTHER_NETWORK, node(20), channel(20));
    let across = bench.open(NETWORK, node(1), channel(1), node(20));
    assert!(matches!(
        across,
        Some(Control::Refused {
            code: RefusalCode::NotAMember,
            ..
        })
    ));
    let from_outside = bench.open(NETWORK, node(20), channel(20), node(1));
    assert!(matches!(
        from_outside,
        Some(Control::Refused {
            code: RefusalCode::NotAMember,
            ..
        })
    ));
    let own = bench.open(NETWORK, node(1), channel(1), node(1));
    assert!(matches!(
        own,
        Some(Control::Refused {
            code: RefusalCode::NotAMember,
            ..
        })
    ));
}

#[test]
fn refusals_say_what_to_do() {
    let mut bench = Bench::new();
    bench.bind(1);
    let unbound = bench.open(NETWORK, node(1), channel(1), node(2));
    assert!(matches!(
        unbound,
        Some(Control::Refused {
            code: RefusalCode::PeerNotBound,
            ..
        })
    ));
    bench.bind(2);
    let session = bench.session(1, 2);
    assert_eq!(bench.refusal(channel(3), session), Some(RefusalCode::NotBound));
    assert_eq!(
        bench.refusal(channel(1), session ^ 1),
        Some(RefusalCode::UnknownSession)
    );
    bench.now += Duration::from_secs(59);
    bench.bind(1);
    bench.now += Duration::from_secs(1);
    assert_eq!(
        bench.refusal(channel(1), session),
        Some(RefusalCode::PeerNotBound)
    );
}

#[test]
fn a_node_that_moved_is_found_at_its_new_address() {
    let mut bench = Bench::new();
    bench.bind(1);
    bench.bind(2);
    let session = bench.session(1, 2);
    bench.bind_in(NETWORK, node(1), channel(30));
    assert_eq!(bench.refusal(channel(1), session), Some(RefusalCode::NotBound));
    let (verdict, forwarded) = bench.send(channel(30), session, PACKET);
    assert!(matches!(verdict, Verdict::Forward { .. }));
    let back = split_relay(&forwarded).unwrap().0;
    let (verdict, _) = bench.send(channel(2), back, PACKET);
    assert!(matches!(verdict, Verdict::Forward { to } if to == channel(30)));
}

#[test]
fn a_replayed_bind_does_not_move_a_node_back() {
    let mut bench = Bench::new();
    let key = bind_key(&SECRET, NETWORK, node(1));
    let Some(Control::BindCookie { cookie, .. }) = bench.bind_with(NETWORK, node(1), channel(1), [0; 16])
    else {
        panic!()
    };
    let request = ControlFrame::bind_request(NETWORK, node(1), [77; 8], &cookie, &key);
    assert!(bench.control(channel(1), &request).is_some());
    assert!(
        bench.control(channel(1), &request).is_some(),
        "asked again after a lost answer"
    );
    bench.bind_in(NETWORK, node(1), channel(30));
    assert!(bench.control(channel(1), &request).is_none());
    assert_eq!(
        bench.relay.binding(bench.now, NETWORK, node(1)),
        Some(channel(30))
    );
}

#[test]
fn who_is_removed_is_gone_at_once() {
    let mut bench = Bench::new();
    for number in 1..=3 {
        bench.bind(number);
    }
    let (to_gone, from_gone, kept) = (bench.session(1, 2), bench.session(2, 1), bench.session(1, 3));
    bench.relay.set_members(NETWORK, [node(1), node(3)]);
    assert_eq!(
        bench.refusal(channel(1), to_gone),
        Some(RefusalCode::UnknownSession)
    );
    assert_eq!(
        bench.refusal(channel(2), from_gone),
        Some(RefusalCode::UnknownSession)
    );
    assert!(matches!(
        bench.send(channel(1), kept, PACKET).0,
        Verdict::Forward { .. }
    ));
    let again = bench.bind_in(NETWORK, node(2), channel(2));
    assert!(matches!(
        again,
        Some(Control::Refused {
            code: RefusalCode::NotAMember,
            ..
        })
    ));
    bench.relay.add_member(NETWORK, node(4));
    assert_eq!(
        bench.refusal(channel(1), to_gone),
        Some(RefusalCode::UnknownSession)
    );
    assert_eq!(bench.relay.sessions(), 2);
}

#[test]
fn what_is_no_packet_is_not_forwarded() {
    let mut bench = Bench::new();
    bench.bind(1);
    bench.bind(2);
    let session = bench.session(1, 2);
    let nested = [&relay_header(9)[..], PACKET].concat();
    for payload in [&nested[..], b"", b"\x04", b"GET / HTTP/1.1"] {
        let (verdict, _) = bench.send(channel(1), session, payload);
        assert!(
            matches!(verdict, Verdict::Drop(RelayDrop::ForeignPayload)),
            "{payload:?}"
        );
    }
    assert!(matches!(
        bench.send(channel(1), session, b"msh\x01rest").0,
        Verdict::Forward { .. }
    ));
}

#[test]
fn a_restarted_relay_knows_no_session_and_binds_again() {
    let mut bench = Bench::new();
    bench.bind(1);
    bench.bind(2);
    let session = bench.session(1, 2);
    bench.relay = RelayServer::new(bench.now, SECRET, [10; 32], RelayConfig::default());
    bench.relay.set_members(NETWORK, (1..=9).map(node));
    assert_eq!(
        bench.refusal(channel(1), session),
        Some(RefusalCode::UnknownSession)
    );
    bench.bind(1);
    bench.bind(2);
    bench.session(1, 2);
}

#[test]
fn a_member_with_another_key_binds_anew_and_others_stay_bound() {
    let mut bench = Bench::new();
    (1..=2).for_each(|number| bench.bind(number));
    let own = |number| (node(number), bind_key(&SECRET, NETWORK, node(number)));
    let other = bind_key(&[8; 32], NETWORK, node(1));
    bench
        .relay
        .set_keyed_members(NETWORK, [(node(1), other), own(2), own(3)]);
    let bound = |bench: &Bench, number| bench.relay.binding(bench.now, NETWORK, node(number)).is_some();
    assert!(!bound(&bench, 1) && bound(&bench, 2));
    assert_eq!(
        bench.bind_with(NETWORK, node(1), channel(1), [0; 16]).map(|_| ()),
        Some(()),
        "a cookie"
    );
    assert!(
        bench.bind_in(NETWORK, node(1), channel(1)).is_none(),
        "the old key is no key"
    );
    assert!(!bench.relay.is_member(NETWORK, node(4)) && bench.relay.is_member(NETWORK, node(3)));
}
