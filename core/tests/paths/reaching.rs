//! How nodes come to talk, and directly where that can be.

use meshd_core::id::{NetworkId, NodeId};
use meshd_core::keys::DiscoverySecret;
use meshd_core::path::{Agent, AgentConfig, Destination, Local, PathKind, PeerInfo, Transmit};
use meshd_core::sim::NatKind;
use meshd_core::statement::{Candidate, CandidateKind};

use crate::clock::start;
use crate::places::{MS, S, arrived, kind, longest_gap, one_lan, two_homes, two_public};

#[test]
fn the_first_packet_goes_through_the_relay() {
    let (mut world, ann, bob) = two_homes([NatKind::SYMMETRIC, NatKind::SYMMETRIC]);
    world.run(2 * S);
    world.flow(ann, bob, 100 * MS, 10 * S);
    assert!(world.run_until(500 * MS, |world| arrived(world, ann, bob) > 0));
    assert_eq!(kind(&world, ann, bob), PathKind::Relay);
    world.run(9 * S);
    assert_eq!(kind(&world, ann, bob), PathKind::Relay, "there is no other way");
    assert!(arrived(&world, ann, bob) >= 90);
}

#[test]
fn nodes_on_one_lan_talk_directly() {
    let (mut world, ann, bob) = one_lan();
    world.run(2 * S);
    world.flow(ann, bob, 100 * MS, 10 * S);
    assert!(world.run_until(200 * MS, |world| kind(world, ann, bob) == PathKind::Direct));
    assert!(world.run_until(200 * MS, |world| kind(world, bob, ann) == PathKind::Direct));
    world.run(5 * S);
    assert!(longest_gap(&world, ann, bob, 3 * S) < 150 * MS);
}

#[test]
fn public_nodes_talk_directly() {
    let (mut world, ann, bob) = two_public();
    world.run(2 * S);
    world.flow(ann, bob, 100 * MS, 10 * S);
    assert!(world.run_until(500 * MS, |world| kind(world, ann, bob) == PathKind::Direct));
    world.run(5 * S);
    assert!(longest_gap(&world, ann, bob, 3 * S) < 150 * MS);
}

#[test]
fn homes_behind_ordinary_nats_talk_directly() {
    let (mut world, ann, bob) = two_homes([NatKind::HOME, NatKind::HOME]);
    world.run(2 * S);
    world.flow(ann, bob, 100 * MS, 60 * S);
    let direct =
        |world: &_| kind(world, ann, bob) == PathKind::Direct && kind(world, bob, ann) == PathKind::Direct;
    assert!(world.run_until(2 * S, direct));
    world.run(57 * S);
    assert!(direct(&world));
    assert!(longest_gap(&world, ann, bob, 3 * S) < 200 * MS);
}

#[test]
fn a_record_that_tells_a_host_address_as_seen_from_outside_is_believed() {
    let now = start();
    let mut agent = Agent::new(
        now,
        AgentConfig {
            node: NodeId::from_bytes([1; 16]),
            network: NetworkId::from_bytes([2; 16]),
            discovery: DiscoverySecret::from_seed(&[3; 32]),
            lan_key: None,
            seed: [4; 32],
        },
    );
    let local = Local {
        addresses: vec!["192.168.1.5/24".parse().unwrap()],
        port: 51820,
        meshes: Vec::new(),
    };
    agent.set_local(now, local);
    let (peer, addr) = (NodeId::from_bytes([5; 16]), "192.168.9.5:51820".parse().unwrap());
    let tell = |agent: &mut Agent, kind| {
        let info = PeerInfo {
            node: peer,
            discovery: DiscoverySecret::from_seed(&[6; 32]).public(),
            candidates: vec![Candidate { kind, addr }],
            home_relay: None,
        };
        agent.set_peer(now, info);
        agent.handle_activity(now, peer);
        let to = |sent: &Transmit| matches!(sent.to, Destination::Socket(remote) if remote.address == addr);
        std::iter::from_fn(|| agent.poll_transmit()).any(|sent| to(&sent))
    };
    assert!(
        !tell(&mut agent, CandidateKind::Host),
        "a private address elsewhere is not tried"
    );
    assert!(
        tell(&mut agent, CandidateKind::ServerReflexive),
        "it leads there after all"
    );
}
