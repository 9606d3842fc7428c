//! A node at its relay: bound, renewed, refused, bound again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use meshd_core::demux::relay_header;
use meshd_core::id::{NetworkId, NodeId};
use meshd_core::relay::frame::{ControlFrame, RefusalCode};
use meshd_core::relay::{
    Channel, RelayClient, RelayConfig, RelayEvent, RelayInfo, RelayServer, Verdict, bind_key,
};

use crate::clock::start;

const NETWORK: NetworkId = NetworkId::from_bytes([1; 16]);
const SECRET: [u8; 32] = [7; 32];

const fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn relay_address() -> SocketAddr {
    "203.0.113.1:3478".parse().unwrap()
}

/// A relay and its clients, ten milliseconds apart.
struct Bench {
    now: Instant,
    relay: Option<RelayServer>,
    clients: Vec<(SocketAddr, RelayClient)>,
    events: Vec<(u8, RelayEvent)>,
    requests: usize,
    /// Clients whose UDP goes nowhere.
    blocked: Vec<u8>,
}

/// Where a client's carrier over TLS is.
fn carrier() -> SocketAddr {
    "127.0.0.1:4000".parse().unwrap()
}

impl Bench {
    fn new() -> Self {
        let now = start();
        let clients = (1..=2u8).map(|number| {
            let info = RelayInfo {
                id: [9; 8].into(),
                addresses: vec![relay_address(), "203.0.113.1:3479".parse().unwrap()],
                key: bind_key(&SECRET, NETWORK, node(number)),
                node: None,
            };
            let client = RelayClient::new(now, info, NETWORK, node(number), [number; 32]);
            (SocketAddr::from(([192, 0, 2, number], 5000)), client)
        });
        let clients = clients.collect();
        let mut bench = Self {
            now,
            relay: None,
            clients,
            events: Vec::new(),
            requests: 0,
            blocked: Vec::new(),
        };
        bench.start_relay(1);
        bench
    }

    fn start_relay(&mut self, seed: u8) {
        let mut relay = RelayServer::new(self.now, SECRET, [seed; 32], RelayConfig::default());
        relay.set_members(NETWORK, [node(1), node(2)]);
        self.relay = Some(relay);
    }

    fn run(&mut self, for_ms: u64) {
        for _ in 0..for_ms / 10 {
            self.now += Duration::from_millis(10);
            for index in 0..self.clients.len() {
                self.step(index);
            }
        }
    }

    fn step(&mut self, index: usize) {
        let (address, client) = &mut self.clients[index];
        if client.poll_timeout().is_some_and(|due| due <= self.now) {
            client.handle_timeout(self.now);
        }
        let sent: Vec<_> = std::iter::from_fn(|| client.poll_transmit()).collect();
        self.requests += sent.len();
        for (to, frame) in sent {
            let from = if to == carrier() {
                Channel::of_stream(index as u64)
            } else {
                Channel {
                    listener: u32::from(to.port()),
                    address: *address,
                    local: None,
                }
            };
            if to != carrier() && self.blocked.contains(&(index as u8 + 1)) {
                continue;
            }
            let Some(relay) = self.relay.as_mut() else {
                continue;
            };
            // what is not awaited may be dropped, as a node does that is flooded in the relay's name
            if let Verdict::Reply(reply) = relay.handle_datagram(self.now, from, &mut frame.to_vec())
                && client.awaits(&reply)
            {
                client.handle_frame(self.now, to, &reply);
            }
        }
        while let Some(event) = client.poll_event() {
            self.events.push((index as u8 + 1, event));
        }
    }

    fn opened(&self, who: u8) -> Option<u64> {
        self.events.iter().rev().find_map(|(number, event)| match event {
            RelayEvent::Opened { session, .. } if *number == who => Some(*session),
            _ => None,
        })
    }

    /// Sends a data frame of client 1; whether it went through. A refusal is delivered.
    fn send(&mut self, session: u64) -> bool {
        let mut frame = [&relay_header(session)[..], &[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
        let (address, client) = &mut self.clients[0];
        let from = Channel {
            listener: 3478,
            address: *address,
            local: None,
        };
        match self
            .relay
            .as_mut()
            .map(|relay| relay.handle_datagram(self.now, from, &mut frame))
        {
            Some(Verdict::Forward { .. }) => true,
            Some(Verdict::Reply(reply)) => {
                assert!(client.awaits(&reply), "it names the session");
                client.handle_frame(self.now, relay_address(), &reply);
                false
            }
            _ => false,
        }
    }
}

#[test]
fn bound_within_two_round_trips_and_renewed() {
    let mut bench = Bench::new();
    bench.run(50);
    let (address, client) = &bench.clients[0];
    assert!(client.bound_to().is_some());
    assert!(matches!(bench.events[0].1, RelayEvent::Bound { seen, .. } if seen == *address));
    let before = bench.requests;
    bench.run(120_000);
    assert!(bench.clients[0].1.bound_to().is_some());
    let (requests, per_renewal) = (bench.requests - before, 2);
    assert!(
        requests <= 2 * 9 * per_renewal,
        "{requests} requests of two idle clients in two minutes"
    );
    assert!(!bench.events.iter().any(|(_, event)| *event == RelayEvent::Lost));
}

#[test]
fn a_session_is_opened_when_both_are_bound() {
    let mut bench = Bench::new();
    let (now, peer) = (bench.now, node(2));
    bench.clients[0].1.open(now, peer);
    bench.run(500);
    let session = bench.opened(1).unwrap();
    assert_eq!(bench.clients[0].1.session(peer), Some(session));
    assert_eq!(bench.clients[0].1.peer_of(session), Some(peer));
    assert!(bench.send(session));
}

#[test]
fn a_restarted_relay_is_whole_again_within_a_second() {
    let mut bench = Bench::new();
    let now = bench.now;
    bench.clients[0].1.open(now, node(2));
    bench.run(600);
    let old = bench.opened(1).unwrap();
    bench.start_relay(2);
    assert!(!bench.send(old), "refused");
    let now = bench.now;
    bench.clients[1].1.check(now);
    bench.run(900);
    let fresh = bench.opened(1).unwrap();
    assert_ne!(fresh, old);
    assert!(bench.send(fresh));
    assert_eq!(bench.clients[0].1.peer_of(old), None);
}

#[test]
fn a_dead_relay_is_noticed_in_a_second_and_found_again() {
    let mut bench = Bench::new();
    bench.run(5_000);
    bench.relay = None;
    let now = bench.now;
    bench.clients[0].1.check(now);
    bench.run(1_300);
    assert!(bench.events.contains(&(1, RelayEvent::Lost)));
    assert_eq!(bench.clients[0].1.bound_to(), None);
    bench.run(30_000);
    bench.start_relay(3);
    let now = bench.now;
    bench.clients[0].1.open(now, node(2));
    bench.run(1_500);
    assert!(bench.clients[0].1.bound_to().is_some());
}

#[test]
fn a_new_address_is_bound_at_once() {
    let mut bench = Bench::new();
    bench.run(500);
    bench.clients[0].0 = "192.0.2.77:5000".parse().unwrap();
    let now = bench.now;
    bench.clients[0].1.network_changed(now);
    bench.run(50);
    let bound = bench
        .relay
        .as_ref()
        .unwrap()
        .binding(bench.now, NETWORK, node(1))
        .unwrap();
    assert_eq!(bound.address, bench.clients[0].0);
}

#[test]
fn forged_answers_change_nothing() {
    let mut bench = Bench::new();
    let now = bench.now;
    bench.clients[0].1.open(now, node(2));
    bench.run(500);
    let session = bench.opened(1).unwrap();
    let key = &bind_key(&SECRET, NETWORK, node(1));
    let other = &bind_key(&SECRET, NETWORK, node(2));
    for forged in [
        ControlFrame::bound([1; 8], 60, relay_address(), key),
        ControlFrame::bound([1; 8], 60, relay_address(), other),
        ControlFrame::opened([1; 8], node(2), 666, key),
        ControlFrame::bind_cookie([1; 8], &[3; 16]),
        ControlFrame::refused([1; 8], RefusalCode::NotBound),
        ControlFrame::refused([1; 8], RefusalCode::UnknownSession),
        ControlFrame::refused([1; 8], RefusalCode::NotAMember),
    ] {
        let before = (bench.events.len(), bench.requests);
        let now = bench.now;
        assert!(!bench.clients[0].1.awaits(&forged), "{forged:?}");
        bench.clients[0].1.handle_frame(now, relay_address(), &forged);
        bench.run(20);
        assert_eq!((bench.events.len(), bench.requests), before, "{forged:?}");
        assert_eq!(bench.clients[0].1.session(node(2)), Some(session));
    }
}

#[test]
fn a_peer_that_the_relay_does_not_know_is_asked_for_ever_more_seldom_however_often_it_is_wanted() {
    let mut bench = Bench::new();
    bench.run(500);
    let before = bench.requests;
    for _ in 0..1_000 {
        let now = bench.now;
        bench.clients[0].1.open(now, node(3));
        bench.run(10);
    }
    let refused = bench.events.iter().filter(|(_, event)| {
        matches!(event, RelayEvent::Refused { peer, code: RefusalCode::NotAMember } if *peer == node(3))
    });
    assert!(refused.count() >= 3, "it is told, and asks again");
    assert!(
        bench.requests - before < 15,
        "{} requests",
        bench.requests - before
    );
}

/// UDP of the first client is blocked, and it was just given the carrier that it asked for.
fn over_a_carrier() -> Bench {
    let mut bench = Bench::new();
    bench.blocked.push(1);
    bench.run(1_200);
    let now = bench.now;
    bench.clients[0].1.set_carrier(now, Some(carrier()));
    bench
}

#[test]
fn where_udp_is_blocked_a_carrier_is_asked_for_within_1200_ms_and_binds() {
    let mut bench = Bench::new();
    bench.blocked.push(1);
    bench.run(1_200);
    assert_eq!(bench.events.iter().filter(|(who, _)| *who == 1).count(), 1);
    assert!(bench.events.contains(&(1, RelayEvent::Carrier { wanted: true })));
    let (now, address) = (bench.now, bench.clients[0].0);
    bench.clients[0].1.set_carrier(now, Some(carrier()));
    bench.run(50);
    assert_eq!(bench.clients[0].1.bound_to(), Some(carrier()));
    assert!(bench.clients[0].1.is_over_tls());
    let told = |event: &RelayEvent| matches!(event, RelayEvent::Bound { seen, .. } if *seen == address);
    assert!(
        !bench.events.iter().any(|(_, event)| told(event)),
        "it is told no address"
    );
    bench.run(120_000);
    assert_eq!(bench.clients[0].1.bound_to(), Some(carrier()), "and it stays");
    assert!(!bench.events.contains(&(1, RelayEvent::Lost)));
}

#[test]
fn when_udp_works_again_the_binding_moves_back_and_the_carrier_is_let_go() {
    let mut bench = over_a_carrier();
    let now = bench.now;
    bench.clients[0].1.open(now, node(2));
    bench.run(300);
    let session = bench.opened(1).unwrap();
    bench.blocked.clear();
    bench.run(31_000);
    assert_eq!(
        bench.clients[0].1.bound_to().map(|to| to.ip()),
        Some(relay_address().ip())
    );
    assert!(bench.send(session), "the session lives on");
    bench.run(21_000);
    assert!(bench.events.contains(&(1, RelayEvent::Carrier { wanted: false })));
    assert!(!bench.events.contains(&(1, RelayEvent::Lost)));
}

#[test]
fn a_carrier_that_breaks_is_a_lost_relay_until_it_is_back() {
    let mut bench = over_a_carrier();
    bench.run(50);
    let now = bench.now;
    bench.clients[0].1.set_carrier(now, None);
    bench.run(10);
    assert_eq!(bench.events.last(), Some(&(1, RelayEvent::Lost)));
    let now = bench.now;
    bench.clients[0].1.set_carrier(now, Some(carrier()));
    bench.run(50);
    assert_eq!(bench.clients[0].1.bound_to(), Some(carrier()));
}

#[test]
fn a_datagram_that_says_it_is_from_a_stream_is_not_of_the_stream() {
    let mut bench = over_a_carrier();
    let now = bench.now;
    bench.clients[0].1.open(now, node(2));
    bench.run(300);
    let session = bench.opened(1).unwrap();
    let forged = Channel {
        listener: 3478,
        ..Channel::of_stream(0)
    };
    let mut frame = [&relay_header(session)[..], &[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    let relay = bench.relay.as_mut().unwrap();
    let through = |verdict| matches!(verdict, Verdict::Forward { .. });
    assert!(!through(relay.handle_datagram(
        bench.now,
        forged,
        &mut frame.clone()
    )));
    assert!(through(relay.handle_datagram(
        bench.now,
        Channel::of_stream(0),
        &mut frame
    )));
}
