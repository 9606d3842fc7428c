//! Checks against relays and NATs that behave as told.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use meshd_core::id::RelayId;
use meshd_core::nat::{Allocation, Filtering, Mapping};
use meshd_core::netcheck::{HAIRPIN_TRIES, Netcheck, Observer, Report, SocketNumber, Transmit};
use meshd_core::stun;

/// What of a destination a mapping depends on.
type Scope = (Option<IpAddr>, Option<u16>);
type Scoped = fn(SocketAddr) -> Scope;
/// The port of the n-th mapping of a socket's port.
type Ports = fn(u16, u16) -> u16;
/// Whether an answer comes in from there, where one was asked here.
type Filter = fn(SocketAddr, SocketAddr) -> bool;

#[expect(clippy::disallowed_methods, reason = "a test begins now")]
fn start() -> Instant {
    Instant::now()
}

/// A NAT, or none, and what a check meets behind it.
struct World {
    /// What the mapping depends on, given the destination; none without a NAT.
    key: Option<Scoped>,
    port: Ports,
    filter: Filter,
    hairpins: bool,
    honours_change: bool,
    relays: Vec<SocketAddr>,
    silent: bool,
    /// What a lying relay address says.
    lie: Option<(SocketAddr, SocketAddr)>,
}

type Key = (u8, Scope);

const OUTSIDE: &str = "198.51.100.9";
const INSIDE: &str = "192.168.1.5";
const ONE: [&str; 2] = ["203.0.113.1:3478", "203.0.113.1:3479"];
const TWO: [&str; 4] = [ONE[0], ONE[1], "203.0.113.2:3478", "203.0.113.2:3479"];

fn independent(_: SocketAddr) -> Scope {
    (None, None)
}
fn dependent(to: SocketAddr) -> Scope {
    (Some(to.ip()), Some(to.port()))
}

impl World {
    fn new(relays: &[&str]) -> Self {
        Self {
            key: Some(independent),
            port: |own, _| own,
            filter: |asked, from| asked == from,
            hairpins: false,
            honours_change: true,
            relays: relays.iter().map(|text| text.parse().unwrap()).collect(),
            silent: false,
            lie: None,
        }
    }

    /// Runs a check; its report, and where it sent what no relay has.
    fn check(&self) -> (Report, BTreeMap<SocketAddr, usize>) {
        let relay = RelayId::from_bytes([1; 8]);
        let observers = self
            .relays
            .iter()
            .map(|&address| Observer { relay, address })
            .collect();
        let mut now = start();
        let mut check = Netcheck::new(now, observers, vec![INSIDE.parse().unwrap()], [3; 32]);
        let (mut mappings, mut elsewhere) = (BTreeMap::<Key, u16>::new(), BTreeMap::new());
        loop {
            while let Some(sent) = check.poll_transmit() {
                let own = 40_000 + u16::from(sent.socket.0);
                let count = mappings.len() as u16;
                let seen = match self.key {
                    None => SocketAddr::new(INSIDE.parse().unwrap(), own),
                    Some(key) => {
                        let port = mappings
                            .entry((sent.socket.0, key(sent.to)))
                            .or_insert_with(|| (self.port)(own, count));
                        SocketAddr::new(OUTSIDE.parse().unwrap(), *port)
                    }
                };
                if !self.relays.contains(&sent.to) {
                    *elsewhere.entry(sent.to).or_insert(0) += 1;
                    if self.hairpins {
                        check.handle_datagram(now, (SocketNumber(5), 40_005), seen, &sent.bytes);
                    }
                    continue;
                }
                if let Some((from, answer)) = self.answer(&sent, seen) {
                    check.handle_datagram(now, (sent.socket, own), from, &answer);
                }
            }
            if let Some(report) = check.report(now) {
                return (report, elsewhere);
            }
            now = now.max(check.poll_timeout()) + Duration::from_millis(1);
            check.handle_timeout(now);
        }
    }

    fn answer(&self, sent: &Transmit, seen: SocketAddr) -> Option<(SocketAddr, Vec<u8>)> {
        let change = stun::wanted_change(&sent.bytes);
        let wanted = |at: &&SocketAddr| {
            (at.ip() != sent.to.ip()) == change.ip && (at.port() != sent.to.port()) == change.port
        };
        let from = *self
            .relays
            .iter()
            .find(wanted)
            .filter(|_| self.honours_change)
            .unwrap_or(&sent.to);
        let seen = self
            .lie
            .filter(|(liar, _)| *liar == sent.to)
            .map_or(seen, |(_, said)| said);
        let answer = stun::binding_answer(&sent.bytes, seen)?;
        (!self.silent && (self.filter)(sent.to, from)).then_some((from, answer))
    }
}

#[test]
fn with_two_addresses_everything_can_be_told() {
    let (report, _) = World::new(&TWO).check();
    assert!(report.udp && !report.ipv6 && !report.contradiction);
    assert_eq!(report.nat.mapping, Mapping::EndpointIndependent);
    assert_eq!(report.nat.filtering, Filtering::AddressAndPortDependent);
    assert_eq!(report.nat.allocation, Allocation::Preserving);
    assert_eq!(
        (report.port_preserving, report.hairpin),
        (Some(true), Some(false))
    );
    assert_eq!(report.seen_v4().unwrap().ip().to_string(), OUTSIDE);
    assert!(report.relays.iter().all(|relay| relay.rtt.is_some()));
}

#[test]
fn each_filtering_is_told_apart() {
    let filters: [(Filter, Filtering); 3] = [
        (|_, _| true, Filtering::EndpointIndependent),
        (|asked, from| asked.ip() == from.ip(), Filtering::AddressDependent),
        (|asked, from| asked == from, Filtering::AddressAndPortDependent),
    ];
    for (filter, expected) in filters {
        let world = World {
            filter,
            hairpins: true,
            ..World::new(&TWO)
        };
        let (report, _) = world.check();
        assert_eq!((report.nat.filtering, report.hairpin), (expected, Some(true)));
    }
}

#[test]
fn with_one_address_only_dependence_on_the_port_is_told() {
    let (report, _) = World::new(&ONE).check();
    assert_eq!(report.nat.mapping, Mapping::Unknown);
    assert_eq!(report.nat.filtering, Filtering::AddressAndPortDependent);
    let (report, _) = World {
        filter: |_, _| true,
        ..World::new(&ONE)
    }
    .check();
    assert_eq!(report.nat.filtering, Filtering::Unknown);
    let (report, _) = World {
        key: Some(dependent),
        port: |_, count| 30_000 + count,
        ..World::new(&ONE)
    }
    .check();
    assert_eq!(report.nat.mapping, Mapping::AddressAndPortDependent);
    assert_eq!(report.nat.allocation, Allocation::Sequential { step: 1 });
}

#[test]
fn ports_that_count_are_told_from_random_ones() {
    let world = |port| World {
        key: Some(dependent),
        port,
        ..World::new(&TWO)
    };
    let cases: [(Ports, Allocation); 3] = [
        (|_, count| 30_000 + count, Allocation::Sequential { step: 1 }),
        (|_, count| 60_000 - 2 * count, Allocation::Sequential { step: -2 }),
        (
            |own, count| (own ^ count.wrapping_mul(40_503)) | 1024,
            Allocation::Random,
        ),
    ];
    for (port, expected) in cases {
        let (report, _) = world(port).check();
        assert_eq!(report.nat.mapping, Mapping::AddressAndPortDependent);
        assert_eq!(
            (report.nat.allocation, report.port_preserving),
            (expected, Some(false))
        );
    }
    let by_address: Scoped = |to| (Some(to.ip()), None);
    let (report, _) = World {
        key: Some(by_address),
        ..world(|_, count| 30_000 + count)
    }
    .check();
    assert_eq!(report.nat.mapping, Mapping::AddressDependent);
}

#[test]
fn without_a_nat_and_without_udp() {
    let (report, elsewhere) = World {
        key: None,
        filter: |_, _| true,
        ..World::new(&ONE)
    }
    .check();
    assert_eq!(report.nat.mapping, Mapping::NoNat);
    assert_eq!(report.hairpin, None, "there is nothing to turn round");
    assert!(elsewhere.is_empty());
    let (report, _) = World {
        silent: true,
        ..World::new(&TWO)
    }
    .check();
    assert!(!report.udp && report.nat == Default::default() && report.hairpin.is_none());
    assert!(report.meaning().contains("UDP"));
}

#[test]
fn a_relay_that_cannot_answer_from_elsewhere_tells_nothing_of_filtering() {
    let (report, _) = World {
        honours_change: false,
        ..World::new(&TWO)
    }
    .check();
    assert_eq!(report.nat.filtering, Filtering::Unknown);
    assert_eq!(report.nat.mapping, Mapping::EndpointIndependent);
}

#[test]
fn a_lie_about_our_address_reaches_nobody_with_more_than_two_datagrams() {
    let victim: SocketAddr = "192.0.2.66:53".parse().unwrap();
    let all_lie = World {
        lie: Some((TWO[0].parse().unwrap(), victim)),
        ..World::new(&[TWO[0]])
    };
    let (_, elsewhere) = all_lie.check();
    assert!(
        elsewhere.values().sum::<usize>() <= HAIRPIN_TRIES,
        "{elsewhere:?}"
    );
    let (report, elsewhere) = World {
        relays: World::new(&TWO).relays,
        ..all_lie
    }
    .check();
    assert!(report.contradiction);
    assert!(
        elsewhere.is_empty(),
        "relays that disagree are not followed: {elsewhere:?}"
    );
}

#[test]
fn an_address_at_which_no_node_can_be_is_refused_and_shown() {
    for lie in ["224.0.0.1:5", "127.0.0.1:5", "198.51.100.9:0"] {
        let said: SocketAddr = lie.parse().unwrap();
        let world = World {
            lie: Some((TWO[0].parse().unwrap(), said)),
            ..World::new(&TWO)
        };
        let (report, elsewhere) = world.check();
        assert!(!elsewhere.contains_key(&said), "{elsewhere:?}");
        assert!(!report.contradiction, "it counts for nothing");
        assert_eq!(
            report.nat.mapping,
            Mapping::EndpointIndependent,
            "of what the others say"
        );
        let refused: Vec<_> = report
            .relays
            .iter()
            .map(|relay| (relay.refused, relay.seen))
            .collect();
        assert_eq!(refused[0], (Some(said), None));
        assert!(
            refused[1..]
                .iter()
                .all(|(refused, seen)| refused.is_none() && seen.is_some())
        );
        let alone = World {
            relays: vec![TWO[0].parse().unwrap()],
            ..world
        };
        let (report, _) = alone.check();
        assert!(report.udp, "it answered");
        assert!(report.meaning().contains("lie"), "{}", report.meaning());
    }
}

#[test]
fn it_ends_in_three_seconds_and_sends_few_datagrams() {
    let begin = start();
    let world = World {
        silent: true,
        ..World::new(&TWO)
    };
    let observers = world.relays.iter().map(|&address| Observer {
        relay: RelayId::from_bytes([1; 8]),
        address,
    });
    let mut check = Netcheck::new(begin, observers.collect(), Vec::new(), [3; 32]);
    let (mut now, mut sent) = (begin, 0);
    while check.report(now).is_none() {
        sent += std::iter::from_fn(|| check.poll_transmit()).count();
        now = now.max(check.poll_timeout()) + Duration::from_millis(1);
        check.handle_timeout(now);
    }
    assert!(now <= begin + Duration::from_millis(3_010));
    assert_eq!(sent, TWO.len() * 3);
}
