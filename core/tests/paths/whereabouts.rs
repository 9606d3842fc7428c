//! Where a relay sees a node, which it tells the others; and that nobody has others search for ports where he is not.

use std::net::SocketAddr;
use std::time::Duration;

use meshd_core::demux::{Class, classify};
use meshd_core::relay::frame::{Control, ControlFrame, Cookie, RefusalCode};
use meshd_core::relay::{Channel, RelayClient, RelayEvent, RelayInfo, Verdict, bind_key};
use meshd_core::sim::{INTERNET, Link, NatKind, World};
use meshd_core::stun;

use crate::clock::start;
use crate::places::{MS, S};
use crate::relay_bench::*;

impl Bench {
    fn whereabouts(&mut self, who: u8, from: Channel, of: u8) -> Option<Control> {
        let (key, nonce) = (bind_key(&SECRET, NETWORK, node(who)), self.nonce());
        let question = ControlFrame::where_request(NETWORK, node(who), nonce, node(of), &key);
        self.control(from, &question)
    }

    fn seen(&mut self, of: u8) -> Option<SocketAddr> {
        match self.whereabouts(1, channel(1), of) {
            Some(Control::Where { peer, seen, .. }) if peer == node(of) => Some(seen),
            _ => None,
        }
    }

    fn witness(&mut self, who: u8, from: Channel, cookie: Cookie) -> Option<Control> {
        let (key, nonce) = (bind_key(&SECRET, NETWORK, node(who)), self.nonce());
        self.control(
            from,
            &ControlFrame::witness(NETWORK, node(who), nonce, &cookie, &key),
        )
    }
}

fn over_ipv6(number: u8) -> Channel {
    let address = format!("[2001:db8::{number}]:4000").parse().unwrap();
    Channel {
        address,
        ..channel(number)
    }
}

#[test]
fn who_is_bound_is_told_where_the_others_are_bound() {
    let mut bench = Bench::new();
    bench.bind(1);
    let refused = |answer: Option<Control>| match answer {
        Some(Control::Refused { code, .. }) => Some(code),
        _ => None,
    };
    let unbound = bench.whereabouts(1, channel(1), 2);
    assert_eq!(refused(unbound), Some(RefusalCode::PeerNotBound));
    let stranger = bench.whereabouts(1, channel(1), 20);
    assert_eq!(
        refused(stranger),
        Some(RefusalCode::NotAMember),
        "of another network"
    );
    bench.bind(2);
    assert_eq!(bench.seen(2), Some(channel(2).address));
    let elsewhere = bench.whereabouts(1, channel(3), 2);
    assert_eq!(refused(elsewhere), Some(RefusalCode::NotBound));
    bench.now += 61 * S;
    bench.bind(1);
    assert_eq!(bench.seen(2), None, "nor where it was once");
    bench.bind_in(NETWORK, node(3), Channel::of_stream(7));
    let nowhere = bench.seen(3).unwrap();
    assert!(nowhere.ip().is_unspecified(), "a stream tells no address");
}

#[test]
fn who_is_bound_over_ipv6_can_show_that_it_is_at_an_ipv4_address() {
    let mut bench = Bench::new();
    bench.bind(1);
    bench.bind_in(NETWORK, node(2), over_ipv6(2));
    let there = bench.session(1, 2);
    assert_eq!(bench.seen(2), Some(over_ipv6(2).address));
    let Some(Control::BindCookie { cookie, .. }) = bench.witness(2, channel(2), [0; 16]) else {
        panic!()
    };
    assert!(matches!(
        bench.witness(2, channel(9), cookie),
        Some(Control::BindCookie { .. })
    ));
    assert_eq!(
        bench.seen(2),
        Some(over_ipv6(2).address),
        "with no cookie for that address"
    );
    assert!(
        matches!(bench.witness(2, channel(2), cookie), Some(Control::Where { seen, .. })
        if seen == channel(2).address)
    );
    assert_eq!(bench.seen(2), Some(channel(2).address));
    let (verdict, _) = bench.send(channel(1), there, PACKET);
    assert!(
        matches!(verdict, Verdict::Forward { to } if to == over_ipv6(2)),
        "it is bound where it was"
    );
    bench.now += 50 * S;
    bench.bind(1);
    bench.bind_in(NETWORK, node(2), over_ipv6(2));
    bench.now += 11 * S;
    assert_eq!(bench.seen(2), Some(over_ipv6(2).address), "for a minute");
}

/// Carries what a client has to say to the relay, from where each of the relay's addresses sees it, and back.
fn carry(bench: &mut Bench, client: &mut RelayClient, number: u8) -> Vec<RelayEvent> {
    client.handle_timeout(bench.now);
    while let Some((to, frame)) = client.poll_transmit() {
        let from = if to.is_ipv6() {
            over_ipv6(number)
        } else {
            channel(number)
        };
        let verdict = bench.relay.handle_datagram(bench.now, from, &mut frame.to_vec());
        if let Verdict::Reply(reply) = verdict
            && client.awaits(&reply)
        {
            client.handle_frame(bench.now, to, &reply);
        }
    }
    std::iter::from_fn(|| client.poll_event()).collect()
}

#[test]
fn a_client_learns_where_its_peer_is_and_shows_itself() {
    let mut bench = Bench::new();
    let mut clients = [1, 2].map(|number| {
        let info = RelayInfo {
            id: [9; 8].into(),
            addresses: vec![
                "[2001:db8::99]:3478".parse().unwrap(),
                "203.0.113.1:3478".parse().unwrap(),
            ],
            key: bind_key(&SECRET, NETWORK, node(number)),
            node: None,
        };
        RelayClient::new(bench.now, info, NETWORK, node(number), [number; 32])
    });
    for (client, number) in clients.iter_mut().zip(1..) {
        carry(&mut bench, client, number);
        assert!(client.bound_to().is_some_and(|to| to.is_ipv6()));
    }
    let [one, two] = &mut clients;
    one.ask_whereabouts(node(2));
    let seen = |seen: SocketAddr| RelayEvent::Seen { peer: node(2), seen };
    assert_eq!(carry(&mut bench, one, 1), [seen(over_ipv6(2).address)]);
    two.ask_whereabouts(node(1));
    let peer = node(1);
    let shown = RelayEvent::Seen {
        peer,
        seen: channel(1).address,
    };
    assert_eq!(carry(&mut bench, two, 2), [shown], "the first has shown itself");
    one.ask_whereabouts(node(2));
    assert_eq!(carry(&mut bench, one, 1), [seen(channel(2).address)]);
    assert!(one.bound_to().is_some_and(|to| to.is_ipv6()));
}

/// An observer tells a node that it is where somebody else is, and the node says so when it has its peer search there.
#[test]
fn nobody_has_others_search_for_ports_where_he_is_not() {
    let mut world = World::new(start(), 8);
    world.add_relay(&["203.0.113.1", "203.0.113.2"]);
    let link = Link::delay_ms(10);
    let home = world.add_site(Some((NatKind::HOME, "198.51.100.1")), link);
    let office = world.add_site(Some((NatKind::SYMMETRIC, "198.51.100.2")), link);
    let victim = world.add_bystander(INTERNET, "198.18.0.66");
    let ann = world.add_node(home, &["192.168.1.10/24"]);
    world.run(S);
    world.record();
    let liar = world.add_node(office, &["192.168.2.10/24"]);
    world.run(15 * MS);
    let liars = |from: SocketAddr| from.ip() == "198.51.100.2".parse::<std::net::IpAddr>().unwrap();
    let questions: Vec<_> = world
        .record()
        .into_iter()
        .filter(|packet| classify(&packet.bytes) == Class::Stun && liars(packet.from))
        .collect();
    assert!(!questions.is_empty());
    for question in questions {
        let lie = stun::binding_answer(&question.bytes, "198.18.0.66:4444".parse().unwrap()).unwrap();
        for observer in ["203.0.113.1:3478", "203.0.113.2:3478"] {
            world.inject(liar, observer.parse().unwrap(), lie.clone());
        }
    }
    world.run(2 * S);
    world.flow(ann, liar, 50 * MS, 100 * S);
    world.flow(liar, ann, 50 * MS, 100 * S);
    assert!(
        world.run_until(5 * S, |world| world.open_sockets(liar) >= 256),
        "it has itself searched"
    );
    world.run(Duration::from_secs(50));
    let told = world.count(victim);
    assert!((1..=64).contains(&told), "{told} datagrams at the victim");
}
