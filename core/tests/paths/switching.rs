//! The change from the relay to a direct path loses nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use meshd_core::path::{Endpoint, Path, PathKind, Switch};
use meshd_core::sim::{HostId, Link, NatKind, World, node_id};

use crate::clock::start;
use crate::places::{MS, S, arrived, kind};

/// Two homes 20 ms from each other, and a relay through which it takes 50 ms more.
fn far_from_the_relay(seed: u64) -> (World, HostId, HostId) {
    let mut world = World::new(start(), seed);
    let cloud = world.add_site(None, Link::delay_ms(25));
    world.add_relay_at(cloud, &["203.0.113.1"]);
    let home = world.add_site(Some((NatKind::HOME, "198.51.100.1")), Link::delay_ms(10));
    let office = world.add_site(Some((NatKind::HOME, "198.51.100.2")), Link::delay_ms(10));
    let ann = world.add_node(home, &["192.168.1.10/24"]);
    let bob = world.add_node(office, &["192.168.2.10/24"]);
    world.run(2 * S);
    (world, ann, bob)
}

/// Numbers that came more than once, and those between the first and the last that did not come.
fn doubled_and_missing(world: &World, from: HostId, to: HostId) -> (usize, Vec<u64>) {
    let from = node_id(from);
    let deliveries = &world.node(to).unwrap().deliveries;
    let came: Vec<u64> = deliveries
        .iter()
        .filter(|delivery| delivery.from == from)
        .map(|delivery| delivery.number)
        .collect();
    let once: BTreeSet<u64> = came.iter().copied().collect();
    let (first, last) = (*once.first().unwrap(), *once.last().unwrap());
    let missing = (first..=last).filter(|number| !once.contains(number)).collect();
    (came.len() - once.len(), missing)
}

#[test]
fn at_20_000_packets_a_second_the_upgrade_loses_none() {
    for seed in 0..20 {
        let (mut world, ann, bob) = far_from_the_relay(seed);
        // the session is there before the load, as after a join
        world.flow(ann, bob, 10 * MS, 60 * MS);
        assert!(world.run_until(S, |world| arrived(world, ann, bob) > 0));
        world.flow(ann, bob, Duration::from_micros(50), 600 * MS);
        assert_eq!(
            kind(&world, ann, bob),
            PathKind::Relay,
            "seed {seed}: the test tests something"
        );
        world.run(S);
        assert_eq!(kind(&world, ann, bob), PathKind::Direct);
        let (doubled, missing) = doubled_and_missing(&world, ann, bob);
        assert!(
            missing.is_empty(),
            "seed {seed}: {} missing, {:?} first",
            missing.len(),
            missing.first()
        );
        assert_eq!(doubled, 0, "seed {seed}");
    }
}

#[test]
fn with_load_both_ways_it_loses_none_either() {
    let (mut world, ann, bob) = far_from_the_relay(3);
    world.flow(ann, bob, 10 * MS, 60 * MS);
    world.flow(bob, ann, 10 * MS, 60 * MS);
    assert!(world.run_until(S, |world| arrived(world, ann, bob) > 0
        && arrived(world, bob, ann) > 0));
    for (from, to) in [(ann, bob), (bob, ann)] {
        world.flow(from, to, Duration::from_micros(100), 1_500 * MS);
    }
    world.run(2 * S);
    let count = |from: HostId, to: HostId| {
        let deliveries = &world.node(to).unwrap().deliveries;
        deliveries
            .iter()
            .filter(|delivery| delivery.from == node_id(from))
            .count()
    };
    for (from, to) in [(ann, bob), (bob, ann)] {
        assert_eq!(kind(&world, from, to), PathKind::Direct);
        assert_eq!(count(from, to), 6 + 15_000);
    }
}

fn paths() -> [Path; 3] {
    let relay = Endpoint::Relay {
        relay: "203.0.113.1:3478".parse().unwrap(),
        session: 7,
    };
    let direct = |text: &str| Endpoint::direct(text.parse().unwrap());
    [relay, direct("192.0.2.1:1"), direct("192.0.2.2:1")].map(|endpoint| Path {
        primary: Some(endpoint),
        ..Path::default()
    })
}

#[test]
fn what_is_under_way_is_waited_for_and_nothing_else() {
    let ([relay, direct, other], now) = (paths(), start());
    let mut switch = Switch::default();
    assert!(!switch.set(now, relay, None));
    assert!(!switch.set(now, direct, None), "no session, nothing under way");
    assert_eq!(switch.path(), direct);
    assert!(!switch.set(now, relay, Some(now)), "a fall back never waits");
    assert_eq!(switch.path(), relay);
    assert!(switch.set(now, direct, Some(now)));
    assert!(!switch.set(now, other, Some(now)), "one handshake is enough");
    assert_eq!(switch.path(), relay);
    switch.session_began();
    assert_eq!(switch.path(), other);
    assert!(
        !switch.set(now, direct, Some(now)),
        "between direct paths there is nothing to wait for"
    );
}

#[test]
fn it_waits_for_no_handshake_that_never_ends_and_not_once_the_path_is_gone() {
    let ([relay, direct, _], now) = (paths(), start());
    let mut switch = Switch::default();
    switch.set(now, relay, None);
    assert!(switch.set(now, direct, Some(now)));
    assert!(!switch.set(now, relay, Some(now)));
    switch.session_began();
    assert_eq!(switch.path(), relay, "it was taken back");
    assert!(switch.set(now, direct, Some(now)));
    assert_eq!(switch.poll_timeout(), Some(now + 2 * S));
    switch.handle_timeout(now + 2 * S);
    assert_eq!(switch.path(), direct);
}
