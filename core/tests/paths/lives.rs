//! Processes end and begin.

use std::time::Duration;

use meshd_core::path::{Event, PathKind};
use meshd_core::sim::{HostId, NatKind, World, node_id};

use crate::places::{MS, S, arrived, kind, longest_gap, two_homes, two_public};

fn events(world: &World, of: HostId, since: Duration, which: impl Fn(&Event) -> bool) -> usize {
    let begin = world.now() - world.elapsed() + since;
    let events = &world.node(of).unwrap().events;
    events
        .iter()
        .filter(|(at, event)| *at >= begin && which(event))
        .count()
}

fn restarted(mut world: World, ann: HostId, bob: HostId, address: &str) {
    world.run(2 * S);
    world.flow(ann, bob, 10 * MS, 60 * S);
    world.flow(bob, ann, 10 * MS, 60 * S);
    world.run(10 * S);
    let hints = world.kill(bob);
    world.run(100 * MS);
    world.boot(bob, &[address.parse().unwrap()], &hints);
    world.run(5 * S);
    let gap = longest_gap(&world, ann, bob, 10 * S);
    assert!(gap <= S, "{gap:?} to the restarted node");
    let silence = longest_gap(&world, bob, ann, 10 * S);
    assert!(silence <= S, "{silence:?} from the restarted node");
    let restarted = Event::PeerRestarted { peer: node_id(bob) };
    assert_eq!(events(&world, ann, 10 * S, |event| *event == restarted), 1);
}

#[test]
fn a_restart_costs_less_than_a_second_on_a_direct_path() {
    let (world, ann, bob) = two_public();
    restarted(world, ann, bob, "192.0.2.10/24");
}

#[test]
fn a_restart_costs_less_than_a_second_through_the_relay() {
    let (world, ann, bob) = two_homes([NatKind::SYMMETRIC, NatKind::SYMMETRIC]);
    restarted(world, ann, bob, "192.168.2.10/24");
}

#[test]
fn a_node_whose_clock_went_back_is_let_in_within_two_seconds() {
    let (mut world, ann, bob) = two_public();
    world.with_node(bob, |node, _| node.clock_ahead_us = 0);
    world.run(2 * S);
    world.flow(ann, bob, 100 * MS, 5 * S);
    world.run(10 * S);
    world.kill(ann);
    world.boot(ann, &["198.51.100.10/24".parse().unwrap()], &[]);
    world.with_node(ann, |node, _| node.clock_ahead_us = -500_000_000_000);
    world.run(S);
    let before = arrived(&world, ann, bob);
    world.flow(ann, bob, 100 * MS, 20 * S);
    assert!(
        world.run_until(2 * S, |world| arrived(world, ann, bob) > before),
        "asked the other side to initiate"
    );
}

#[test]
fn a_goodbye_ends_the_path_and_demand_finds_it_again() {
    let (mut world, ann, bob) = two_public();
    world.run(2 * S);
    world.flow(ann, bob, 100 * MS, 5 * S);
    world.run(10 * S);
    world.with_node(bob, |node, _| node.agent.goodbye());
    world.run(100 * MS);
    assert_eq!(kind(&world, ann, bob), PathKind::None);
    assert_eq!(
        events(&world, ann, 9 * S, |event| matches!(event, Event::Goodbye { .. })),
        1
    );
    world.kill(bob);
    world.run(S);
    world.boot(bob, &["192.0.2.10/24".parse().unwrap()], &[]);
    world.run(S);
    let before = arrived(&world, ann, bob);
    world.flow(ann, bob, 100 * MS, 5 * S);
    assert!(world.run_until(2 * S, |world| arrived(world, ann, bob) > before));
}

#[test]
fn a_newer_map_is_told_of_once() {
    let (mut world, ann, bob) = two_public();
    world.run(2 * S);
    world.with_node(bob, |node, _| node.agent.set_map((1, 9).into()));
    world.flow(ann, bob, 100 * MS, 20 * S);
    world.run(20 * S);
    let newer = Event::MapNewer {
        peer: node_id(bob),
        map: (1, 9).into(),
    };
    assert_eq!(events(&world, ann, Duration::ZERO, |event| *event == newer), 1);
    assert_eq!(
        events(&world, bob, Duration::ZERO, |event| matches!(
            event,
            Event::MapNewer { .. }
        )),
        0
    );
}
