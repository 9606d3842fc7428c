//! What a node tells of itself before anybody has seen it in this life.

use meshd_core::demux::{Class, classify};
use meshd_core::id::{NetworkId, NodeId, RelayId};
use meshd_core::keys::{BindKey, DiscoverySecret};
use meshd_core::path::{Agent, AgentConfig, Local, Remote, Source};
use meshd_core::relay::RelayInfo;
use meshd_core::statement::{Candidate, CandidateKind};
use meshd_core::stun;
use proptest::prelude::*;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::clock::start;

const SEEN: &str = "198.51.100.10:51820";
const RELAY: &str = "203.0.113.1:3478";

fn agent(own: &[&str]) -> Agent {
    let config = AgentConfig {
        node: NodeId::from_bytes([1; 16]),
        network: NetworkId::from_bytes([2; 16]),
        discovery: DiscoverySecret::from_seed(&[3; 32]),
        lan_key: None,
        seed: [4; 32],
    };
    let now = start();
    let mut agent = Agent::new(now, config);
    agent.set_local(now, local(own));
    agent
}

fn local(own: &[&str]) -> Local {
    Local {
        addresses: own.iter().map(|text| text.parse().unwrap()).collect(),
        port: 51820,
        meshes: Vec::new(),
    }
}

fn told(agent: &Agent) -> Vec<String> {
    let all = agent.candidates().into_iter();
    all.map(|known| known.addr.to_string()).collect()
}

fn earlier() -> [Candidate; 2] {
    let candidate = |kind, addr: &str| Candidate {
        kind,
        addr: addr.parse().unwrap(),
    };
    [
        candidate(CandidateKind::Host, "192.168.1.5:51820"),
        candidate(CandidateKind::ServerReflexive, SEEN),
    ]
}

/// The relay says where it sees the node.
fn is_seen(agent: &mut Agent, at: &str) {
    is_seen_after(agent, Duration::ZERO, at);
}

fn is_seen_after(agent: &mut Agent, after: Duration, at: &str) {
    let now = start() + after;
    let relay = RelayInfo {
        id: RelayId::from_bytes([5; 8]),
        addresses: vec![RELAY.parse().unwrap()],
        key: BindKey::from_bytes([6; 32]),
        node: None,
    };
    agent.set_relays(now, &[relay]);
    agent.handle_timeout(now);
    let mut answers = Vec::new();
    while let Some(sent) = agent.poll_transmit() {
        if classify(&sent.bytes) == Class::Stun {
            answers.extend(stun::binding_answer(&sent.bytes, at.parse().unwrap()));
        }
    }
    assert!(!answers.is_empty(), "it asks");
    for answer in answers {
        let from = Remote::from(RELAY.parse::<std::net::SocketAddr>().unwrap());
        agent.handle_datagram(now, Source::Socket(from), &answer);
    }
}

#[test]
fn a_node_that_starts_again_tells_where_it_was_seen_before_until_it_is_seen_anew() {
    let mut agent = agent(&["192.168.1.5/24"]);
    agent.import_candidates(&earlier());
    assert_eq!(told(&agent), ["192.168.1.5:51820", SEEN]);
    is_seen(&mut agent, "198.51.100.10:40000");
    assert_eq!(told(&agent), ["192.168.1.5:51820", "198.51.100.10:40000"]);
}

#[test]
fn a_machine_that_was_carried_elsewhere_tells_nothing_of_where_it_was() {
    let mut carried = agent(&["192.168.7.5/24"]);
    carried.import_candidates(&earlier());
    assert_eq!(told(&carried), ["192.168.7.5:51820"]);
    let mut moving = agent(&["192.168.1.5/24"]);
    moving.import_candidates(&earlier());
    moving.set_local(start(), local(&["192.168.1.5/24", "10.1.1.1/24"]));
    assert!(
        told(&moving).contains(&SEEN.to_owned()),
        "another interface is no other place"
    );
    moving.set_local(start(), local(&["172.16.0.9/16"]));
    assert_eq!(told(&moving), ["172.16.0.9:51820"]);
}

#[test]
fn what_an_observer_says_that_cannot_be_true_is_told_to_nobody_and_counted() {
    for lie in [
        "224.0.0.1:51820",
        "0.0.0.0:51820",
        "0.1.2.3:51820",
        "127.0.0.1:51820",
        "255.255.255.255:51820",
        "169.254.169.254:51820",
        "198.51.100.10:0",
        "[::]:51820",
        "[::1]:51820",
        "[fe80::1]:51820",
        "[ff02::1]:51820",
    ] {
        let mut agent = agent(&["192.168.1.5/24"]);
        is_seen(&mut agent, lie);
        assert_eq!(told(&agent), ["192.168.1.5:51820"], "{lie}");
        assert_eq!(agent.counters().implausible, 1, "{lie}");
        is_seen_after(&mut agent, Duration::from_secs(1), SEEN);
        assert_eq!(
            told(&agent),
            ["192.168.1.5:51820", SEEN],
            "{lie}: it is asked again"
        );
    }
}

#[test]
fn private_addresses_behind_a_carriers_nat_are_believed() {
    for seen in [
        "100.64.0.9:51820",
        "10.1.2.3:51820",
        "[fd00::9]:51820",
        "240.0.0.1:51820",
    ] {
        let mut agent = agent(&["192.168.1.5/24"]);
        is_seen(&mut agent, seen);
        assert_eq!(told(&agent), ["192.168.1.5:51820", seen]);
        assert_eq!(agent.counters().implausible, 0);
    }
}

/// Whether a node can be at an address: by the ranges of RFC 6890, and not by the library that the code asks.
fn can_be(address: SocketAddr) -> bool {
    let at = match address.ip() {
        IpAddr::V4(ip) => u128::from(u32::from(ip)) << 96,
        IpAddr::V6(ip) => u128::from(ip),
    };
    let starts = |with: u128, bits: u32| at >> (128 - bits) == with;
    let never = match address.ip() {
        IpAddr::V4(_) => {
            let first = |octet: u128| starts(octet, 8);
            let ends = starts(0xffff_ffff, 32) || starts(0xa9fe, 16);
            first(0) || first(127) || starts(0xe, 4) || ends
        }
        IpAddr::V6(_) => at <= 1 || starts(0xff, 8) || starts(0xfe80 >> 6, 10),
    };
    address.port() != 0 && !never
}

/// Any address, and more often one of those that are none.
fn anywhere() -> impl Strategy<Value = SocketAddr> {
    let first = prop_oneof![
        Just(0_u8),
        Just(127),
        Just(169),
        Just(224),
        Just(239),
        Just(255),
        any::<u8>()
    ];
    let v4 = (first, prop_oneof![Just(254_u8), any::<u8>()], any::<[u8; 2]>())
        .prop_map(|(first, second, rest)| IpAddr::from([first, second, rest[0], rest[1]]));
    let head = prop_oneof![
        Just(0_u16),
        Just(0xfe80),
        Just(0xfebf),
        Just(0xff02),
        any::<u16>()
    ];
    let v6 = (head, prop_oneof![Just([0_u16; 7]), any::<[u16; 7]>()]).prop_map(|(head, rest)| {
        let mut segments = [head; 8];
        segments[1..].copy_from_slice(&rest);
        IpAddr::from(segments).to_canonical()
    });
    (prop_oneof![v4, v6], prop_oneof![1 => Just(0), 9 => any::<u16>()]).prop_map(SocketAddr::from)
}

proptest! {
    #[test]
    fn a_node_tells_where_it_is_seen_where_it_can_be_there_and_nowhere_else(seen in anywhere()) {
        let own = "192.168.1.5:51820";
        prop_assume!(seen.to_string() != own);
        let mut agent = agent(&["192.168.1.5/24"]);
        is_seen(&mut agent, &seen.to_string());
        let expected = if can_be(seen) { vec![own.to_owned(), seen.to_string()] } else { vec![own.to_owned()] };
        prop_assert_eq!(told(&agent), expected);
        prop_assert_eq!(agent.counters().implausible, u64::from(!can_be(seen)));
    }
}
