//! Idle peers cost nothing.

use meshd_core::path::PathKind;
use meshd_core::sim::{Link, World, node_id};

use crate::clock::start;
use crate::places::{MS, S, arrived, kind, two_public};

#[test]
fn a_node_with_many_idle_peers_sends_only_what_keeps_its_relay_binding() {
    let mut world = World::new(start(), 9);
    world.add_relay(&["203.0.113.1"]);
    let site = world.add_site(None, Link::delay_ms(10));
    let hosts: Vec<_> = (1..=30)
        .map(|n| world.add_node(site, &[&format!("198.51.100.{n}/24")]))
        .collect();
    world.run(60 * S);
    let sent = |world: &World| world.node(hosts[0]).unwrap().agent.counters().sent;
    let (before, received) = (sent(&world), world.count(hosts[0]));
    world.run(600 * S);
    let beacons = sent(&world) - before;
    assert!(
        beacons <= 26,
        "{beacons} datagrams of its own in ten minutes, all beacons"
    );
    let renewals = world.count(hosts[0]) - received;
    assert!(
        renewals <= 2 * 48,
        "{renewals} answers of the relay in ten minutes"
    );
}

#[test]
fn a_pair_that_fell_silent_stops_its_pings_and_starts_again_at_once() {
    let (mut world, ann, bob) = two_public();
    world.run(2 * S);
    world.flow(ann, bob, 100 * MS, 5 * S);
    world.run(6 * S);
    assert_eq!(kind(&world, ann, bob), PathKind::Direct);
    world.run(150 * S);
    let path = world.node(ann).unwrap().path(node_id(bob));
    assert!(
        path.primary.unwrap().is_relay() && path.direct().is_some(),
        "both, for the next packet"
    );
    let sent = |world: &World| world.node(ann).unwrap().agent.counters().sent;
    world.run(150 * S);
    assert_eq!(
        world.node(ann).unwrap().path(node_id(bob)).direct(),
        None,
        "the proof is too old"
    );
    let before = sent(&world);
    world.run(3600 * S);
    assert!(sent(&world) - before <= 151, "beacons only");
    let before = arrived(&world, ann, bob);
    world.flow(ann, bob, 100 * MS, 5 * S);
    assert!(world.run_until(300 * MS, |world| arrived(world, ann, bob) > before));
    assert!(world.run_until(500 * MS, |world| kind(world, ann, bob) == PathKind::Direct));
}
