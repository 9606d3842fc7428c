//! What is too large for a way is found out, and counts for nothing else.

use meshd_core::path::{PathKind, PeerView};
use meshd_core::sim::{HostId, NatKind, SiteId, World, node_id};

use crate::places::{MS, S, arrived, kind, two_homes};

/// MTU of every network that says nothing else.
const TUNNEL: u16 = 1408;

/// Two homes, the first behind a link of `mtu` bytes, and nodes that measure.
fn narrow(nat: NatKind, mtu: usize) -> (World, HostId, HostId) {
    let (mut world, ann, bob) = two_homes([nat, nat]);
    world.link(SiteId::nth(1)).mtu = mtu;
    for host in [ann, bob] {
        world.with_node(host, |node, _| node.agent.set_tunnel_mtu(TUNNEL));
    }
    world.run(2 * S);
    (world, ann, bob)
}

fn flows(world: &mut World, ann: HostId, bob: HostId) {
    world.flow(ann, bob, 20 * MS, 100 * S);
    world.flow(bob, ann, 20 * MS, 100 * S);
}

fn largest(world: &World, from: HostId, to: HostId) -> Option<u16> {
    world.node(from).unwrap().path(node_id(to)).max_packet
}

fn view(world: &World, from: HostId, to: HostId) -> PeerView {
    let node = world.node(from).unwrap();
    node.agent.peer(world.now(), node_id(to)).unwrap()
}

fn probes(world: &World, host: HostId) -> u64 {
    world.node(host).unwrap().agent.counters().mtu_probes
}

#[test]
fn a_way_that_carries_everything_costs_one_ping_and_is_not_restricted() {
    let (mut world, ann, bob) = narrow(NatKind::HOME, 1500);
    flows(&mut world, ann, bob);
    world.run(5 * S);
    assert_eq!(kind(&world, ann, bob), PathKind::Direct);
    assert_eq!(largest(&world, ann, bob), None);
    assert_eq!(view(&world, ann, bob).mtu, Some(1408 + 32 + 28));
    assert!(
        probes(&world, ann) <= 2,
        "one for the relay, one for the direct way"
    );
}

#[test]
fn a_narrow_way_restricts_packets_both_ways_within_a_second() {
    for (nat, expected) in [
        (NatKind::HOME, PathKind::Direct),
        (NatKind::SYMMETRIC, PathKind::Relay),
    ] {
        let (mut world, ann, bob) = narrow(nat, 1400);
        flows(&mut world, ann, bob);
        world.run(S);
        assert_eq!(kind(&world, ann, bob), expected);
        for (from, to) in [(ann, bob), (bob, ann)] {
            assert_eq!(largest(&world, from, to), Some(1328), "{expected:?}");
            let mtu = view(&world, from, to).mtu.unwrap();
            assert!((1384..=1400).contains(&mtu), "{mtu}");
        }
    }
}

#[test]
fn a_way_that_becomes_narrow_is_noticed_and_so_is_one_that_becomes_wide() {
    let (mut world, ann, bob) = narrow(NatKind::HOME, 1500);
    world.flow(ann, bob, 20 * MS, 1_000 * S);
    world.flow(bob, ann, 20 * MS, 1_000 * S);
    world.run(5 * S);
    world.link(SiteId::nth(1)).mtu = 1300;
    world.run(11 * S);
    assert_eq!(largest(&world, ann, bob), Some(1232));
    assert_eq!(
        kind(&world, ann, bob),
        PathKind::Direct,
        "small packets get through as ever"
    );
    world.link(SiteId::nth(1)).mtu = 1500;
    world.run(610 * S);
    assert_eq!(largest(&world, ann, bob), None);
}

#[test]
fn loss_makes_nothing_smaller_and_idle_peers_are_not_measured() {
    let (mut world, ann, bob) = narrow(NatKind::HOME, 1500);
    world.link(SiteId::nth(1)).loss_permille = 50;
    world.flow(ann, bob, 50 * MS, 60 * S);
    world.flow(bob, ann, 50 * MS, 60 * S);
    for _ in 0..60 {
        world.run(S);
        assert_eq!(largest(&world, ann, bob), None);
    }
    assert!(arrived(&world, ann, bob) > 1_000);
    world.run(200 * S);
    let before = probes(&world, ann);
    world.run(3_600 * S);
    assert_eq!(probes(&world, ann), before);
}
