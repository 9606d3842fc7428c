//! What a node tells of itself before anybody has seen it in this life.

use meshd_core::demux::{Class, classify};
use meshd_core::id::{NetworkId, NodeId, RelayId};
use meshd_core::keys::{BindKey, DiscoverySecret};
use meshd_core::path::{Agent, AgentConfig, Local, Remote, Source};
use meshd_core::relay::RelayInfo;
use meshd_core::statement::{Candidate, CandidateKind};
use meshd_core::stun;

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
    let now = start();
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
