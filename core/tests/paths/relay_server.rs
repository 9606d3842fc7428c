//! The relay's decisions, message by message.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use meshd_core::id::{NetworkId, NodeId};
use meshd_core::relay::frame::ControlFrame;
use meshd_core::relay::{Channel, RelayConfig, RelayDrop, RelayServer, Verdict, bind_key};

use crate::clock::start;
use meshd_core::demux::{relay_header, split_relay};
use meshd_core::relay::frame::{Control, Cookie, Frame, RefusalCode, parse};

const NETWORK: NetworkId = NetworkId::from_bytes([1; 16]);
const OTHER_NETWORK: NetworkId = NetworkId::from_bytes([2; 16]);
const SECRET: [u8; 32] = [7; 32];

const fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn channel(number: u8) -> Channel {
    Channel {
        listener: 0,
        address: SocketAddr::from(([192, 0, 2, number], 4000)),
        local: None,
    }
}

struct Bench {
    relay: RelayServer,
    now: Instant,
    nonce: u64,
}

impl Bench {
    fn new() -> Self {
        Self::with(RelayConfig::default())
    }

    fn with(config: RelayConfig) -> Self {
        let now = start();
        let mut relay = RelayServer::new(now, SECRET, [9; 32], config);
        relay.set_members(NETWORK, (1..=9).map(node));
        relay.set_members(OTHER_NETWORK, [node(20)]);
        Self { relay, now, nonce: 0 }
    }

    fn control(&mut self, from: Channel, frame: &[u8]) -> Option<Control> {
        let mut datagram = frame.to_vec();
        match self.relay.handle_datagram(self.now, from, &mut datagram) {
            Verdict::Reply(reply) => {
                assert!(reply.len() <= frame.len(), "an answer longer than its question");
                match parse(&reply) {
                    Some(Frame::Control(control)) => Some(control),
                    other => panic!("{other:?}"),
                }
            }
            _ => None,
        }
    }

    fn nonce(&mut self) -> [u8; 8] {
        self.nonce += 1;
        self.nonce.to_le_bytes()
    }

    fn bind_with(
        &mut self,
        network: NetworkId,
        who: NodeId,
        from: Channel,
        cookie: Cookie,
    ) -> Option<Control> {
        let key = bind_key(&SECRET, network, who);
        let nonce = self.nonce();
        self.control(
            from,
            &ControlFrame::bind_request(network, who, nonce, &cookie, &key),
        )
    }

    fn bind_in(&mut self, network: NetworkId, who: NodeId, from: Channel) -> Option<Control> {
        match self.bind_with(network, who, from, [0; 16]) {
            Some(Control::BindCookie { cookie, .. }) => self.bind_with(network, who, from, cookie),
            other => other,
        }
    }

    fn bind(&mut self, number: u8) {
        let bound = self.bind_in(NETWORK, node(number), channel(number));
        assert!(matches!(bound, Some(Control::Bound { seen, .. }) if seen == channel(number).address));
    }

    fn open(&mut self, network: NetworkId, who: NodeId, from: Channel, peer: NodeId) -> Option<Control> {
        let key = bind_key(&SECRET, network, who);
        let nonce = self.nonce();
        self.control(from, &ControlFrame::open_request(network, who, nonce, peer, &key))
    }

    fn session(&mut self, from: u8, to: u8) -> u64 {
        match self.open(NETWORK, node(from), channel(from), node(to)) {
            Some(Control::Opened { session, peer, .. }) if peer == node(to) => session,
            other => panic!("{other:?}"),
        }
    }

    fn send(&mut self, from: Channel, session: u64, payload: &[u8]) -> (Verdict, Vec<u8>) {
        let mut datagram = [&relay_header(session)[..], payload].concat();
        let verdict = self.relay.handle_datagram(self.now, from, &mut datagram);
        (verdict, datagram)
    }

    fn refusal(&mut self, from: Channel, session: u64) -> Option<RefusalCode> {
        let datagram = [&relay_header(session)[..], PACKET].concat();
        match self.control(from, &datagram)? {
            Control::Refused { subject, code } => {
                assert_eq!(subject, session.to_le_bytes());
                Some(code)
            }
            other => panic!("{other:?}"),
        }
    }
}

const PACKET: &[u8] = &[4, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

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
fn each_node_has_its_own_quota() {
    let mut bench = Bench::new();
    for number in 1..=3 {
        bench.bind(number);
    }
    bench.relay.set_quota(NETWORK, NonZeroU64::new(1_000_000));
    let (greedy, modest) = (bench.session(1, 2), bench.session(3, 2));
    let packet = [PACKET, &[0; 972]].concat();
    let forwarded = |bench: &mut Bench, from: u8, session: u64, count: usize| {
        let send = |_: &usize| {
            matches!(
                bench.send(channel(from), session, &packet).0,
                Verdict::Forward { .. }
            )
        };
        (0..count).filter(send).count()
    };
    assert_eq!(forwarded(&mut bench, 1, greedy, 1000), 250, "the burst");
    assert_eq!(forwarded(&mut bench, 3, modest, 100), 100);
    bench.now += Duration::from_millis(100);
    assert_eq!(
        forwarded(&mut bench, 1, greedy, 1000),
        100,
        "what came to it since"
    );
    bench.relay.set_quota(NETWORK, None);
    assert_eq!(forwarded(&mut bench, 1, greedy, 1000), 1000);
}

#[test]
fn sessions_are_bounded_and_unused_ones_make_room() {
    let mut bench = Bench::with(RelayConfig {
        max_sessions: 4,
        max_sessions_per_node: 8,
    });
    for number in 1..=4 {
        bench.bind(number);
    }
    let (used, _) = (bench.session(1, 2), bench.session(1, 3));
    let full = bench.open(NETWORK, node(1), channel(1), node(4));
    assert!(matches!(
        full,
        Some(Control::Refused {
            code: RefusalCode::OverQuota,
            ..
        })
    ));
    for _ in 0..20 {
        bench.now += Duration::from_secs(40);
        (1..=4).for_each(|number| bench.bind(number));
        assert!(matches!(
            bench.send(channel(1), used, PACKET).0,
            Verdict::Forward { .. }
        ));
    }
    bench.session(1, 4);
    assert_eq!(bench.relay.sessions(), 4);
    assert!(matches!(
        bench.send(channel(1), used, PACKET).0,
        Verdict::Forward { .. }
    ));
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
fn refusals_to_an_address_are_limited() {
    let mut bench = Bench::new();
    let answered = (0..100)
        .filter(|_| bench.refusal(channel(5), 77).is_some())
        .count();
    assert_eq!(answered, 10);
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
fn the_relay_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<RelayServer>();
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_survived_and_never_answered_with_more(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120),
        framed in proptest::prelude::any::<bool>(),
    ) {
        let mut bench = Bench::new();
        let mut datagram = if framed { relay_header(0).to_vec() } else { Vec::new() };
        datagram.extend(&bytes);
        let asked = datagram.len();
        if let Verdict::Reply(reply) = bench.relay.handle_datagram(bench.now, channel(1), &mut datagram) {
            assert!(reply.len() <= asked);
        }
    }
}

/// Has senders offer these bytes/s for two seconds in packets of 1,000 bytes, after half a second of it; what each gets,
/// bytes/s.
fn overload(bench: &mut Bench, senders: &[(u8, u64)]) -> Vec<u64> {
    let payload = [PACKET, &[0; 1_000 - 12][PACKET.len()..]].concat();
    let sessions: Vec<u64> = senders
        .iter()
        .map(|(sender, _)| bench.session(*sender, 9))
        .collect();
    let (mut owed, mut got) = (vec![0; senders.len()], vec![0; senders.len()]);
    for ms in 0..2_500 {
        bench.now += Duration::from_millis(1);
        if bench.relay.shares_due(bench.now) {
            bench.relay.make_shares(bench.now);
        }
        for (nth, (sender, rate)) in senders.iter().enumerate() {
            owed[nth] += rate / 1_000;
            while owed[nth] >= 1_000 {
                owed[nth] -= 1_000;
                let (verdict, datagram) = bench.send(channel(*sender), sessions[nth], &payload);
                if matches!(verdict, Verdict::Forward { .. }) && ms >= 500 {
                    got[nth] += datagram.len() as u64;
                }
            }
        }
    }
    got.into_iter().map(|bytes| bytes / 2).collect()
}

#[test]
fn under_overload_each_node_gets_its_share_and_who_asks_for_less_gets_all_of_it() {
    let mut bench = Bench::new();
    (1..=9).for_each(|number| bench.bind(number));
    bench.relay.set_capacity(NonZeroU64::new(10_000_000));
    let near = |got: u64, wanted: u64| got.abs_diff(wanted) <= wanted / 20;
    let got = overload(&mut bench, &[(1, 50_000_000), (2, 8_000_000), (3, 1_000_000)]);
    assert!(
        near(got[0], 4_500_000) && near(got[1], 4_500_000) && near(got[2], 1_000_000),
        "{got:?}"
    );
    assert!(
        bench
            .relay
            .traffic(NETWORK, node(1))
            .is_some_and(|traffic| traffic.shed > 0)
    );
    assert_eq!(
        bench.relay.traffic(NETWORK, node(3)).map(|traffic| traffic.shed),
        Some(0)
    );
    let got = overload(&mut bench, &[(1, 6_000_000), (3, 1_000_000)]);
    assert!(
        near(got[0], 6_000_000) && near(got[1], 1_000_000),
        "there is room: {got:?}"
    );
    bench.relay.set_capacity(None);
    let got = overload(&mut bench, &[(1, 30_000_000)]);
    assert!(near(got[0], 30_000_000), "no limit: {got:?}");
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
