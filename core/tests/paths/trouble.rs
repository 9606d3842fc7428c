//! What dies, and how soon nobody notices any more.

use meshd_core::path::{Event, PathKind};
use meshd_core::sim::{NatKind, World};

use crate::places::{MS, S, arrived, kind, longest_gap, one_lan, two_homes, two_public};

#[test]
fn when_the_direct_path_dies_the_relay_takes_over_within_a_second() {
    for every in [10, 100, 1000] {
        let (mut world, ann, bob) = two_public();
        world.run(2 * S);
        world.flow(ann, bob, every * MS, 60 * S);
        world.flow(bob, ann, every * MS, 60 * S);
        world.run(20 * S + 5 * MS);
        assert_eq!(kind(&world, ann, bob), PathKind::Direct);
        world.cut(ann, bob);
        world.run(10 * S);
        for (from, to) in [(ann, bob), (bob, ann)] {
            assert_eq!(kind(&world, from, to), PathKind::Relay);
            let gap = longest_gap(&world, from, to, 15 * S);
            assert!(
                gap <= S + (every + 50) * MS,
                "{gap:?} at one packet in {every} ms"
            );
        }
    }
}

#[test]
fn a_one_way_stream_survives_as_well() {
    let (mut world, ann, bob) = two_public();
    world.run(2 * S);
    world.flow(ann, bob, 10 * MS, 60 * S);
    world.run(20 * S);
    world.cut(ann, bob);
    world.run(10 * S);
    let gap = longest_gap(&world, ann, bob, 15 * S);
    assert!(gap <= S, "{gap:?}");
    assert_eq!(kind(&world, ann, bob), PathKind::Relay);
}

#[test]
fn a_path_that_dies_in_one_direction_is_noticed() {
    for against_the_stream in [false, true] {
        let (mut world, ann, bob) = two_public();
        world.run(2 * S);
        world.flow(ann, bob, 10 * MS, 60 * S);
        world.flow(bob, ann, 10 * MS, 60 * S);
        world.run(20 * S);
        if against_the_stream {
            world.cut_one_way(bob, ann)
        } else {
            world.cut_one_way(ann, bob)
        }
        world.run(10 * S);
        for (from, to) in [(ann, bob), (bob, ann)] {
            let gap = longest_gap(&world, from, to, 15 * S);
            assert!(gap <= S, "{gap:?}");
        }
    }
}

#[test]
fn when_the_direct_path_comes_back_it_is_used_again() {
    let (mut world, ann, bob) = two_public();
    world.run(2 * S);
    world.flow(ann, bob, 100 * MS, 400 * S);
    world.run(10 * S);
    world.cut(ann, bob);
    world.run(20 * S);
    assert_eq!(kind(&world, ann, bob), PathKind::Relay);
    world.mend(ann, bob);
    assert!(world.run_until(100 * S, |world| kind(world, ann, bob) == PathKind::Direct));
    world.run(5 * S);
    assert!(
        longest_gap(&world, ann, bob, world.elapsed() - 5 * S) <= 200 * MS,
        "nothing lost on the way back"
    );
}

fn relay_restarted(both_ways: bool) {
    let (mut world, ann, bob) = two_homes([NatKind::SYMMETRIC, NatKind::SYMMETRIC]);
    world.run(2 * S);
    world.flow(ann, bob, 20 * MS, 60 * S);
    if both_ways {
        world.flow(bob, ann, 20 * MS, 60 * S);
    }
    world.run(10 * S);
    world.stop_relay(0);
    world.run(50 * MS);
    world.start_relay(0);
    world.run(5 * S);
    let gap = longest_gap(&world, ann, bob, 8 * S);
    assert!(gap < S, "{gap:?}, both ways: {both_ways}");
}

#[test]
fn a_relay_that_is_restarted_is_missed_for_less_than_a_second() {
    relay_restarted(true);
}

#[test]
fn a_relay_that_is_restarted_under_a_one_way_stream_is_missed_for_less_than_a_second() {
    relay_restarted(false);
}

#[test]
fn when_a_relay_dies_another_takes_over_within_three_seconds() {
    let (mut world, ann, bob) = two_homes([NatKind::SYMMETRIC, NatKind::SYMMETRIC]);
    world.add_relay(&["203.0.113.2"]);
    world.publish();
    world.run(2 * S);
    world.flow(ann, bob, 20 * MS, 60 * S);
    world.run(10 * S);
    assert!(arrived(&world, ann, bob) > 450);
    let in_use = |world: &World| {
        let node = world.node(ann).unwrap();
        let relay = node
            .path(meshd_core::sim::node_id(bob))
            .primary
            .unwrap()
            .address();
        usize::from(relay.ip().to_string() == "203.0.113.2")
    };
    let dead = in_use(&world);
    world.stop_relay(dead);
    world.run(10 * S);
    let gap = longest_gap(&world, ann, bob, 8 * S);
    assert!(gap <= 3 * S, "{gap:?}");
    assert_ne!(in_use(&world), dead);
}

#[test]
fn direct_paths_do_not_need_the_relay() {
    let (mut world, ann, bob) = one_lan();
    world.run(2 * S);
    world.flow(ann, bob, 100 * MS, 300 * S);
    world.run(5 * S);
    world.stop_relay(0);
    world.set_coordinator(false);
    world.run(200 * S);
    assert_eq!(kind(&world, ann, bob), PathKind::Direct);
    assert!(longest_gap(&world, ann, bob, 4 * S) <= 150 * MS);
}

#[test]
fn a_nat_that_is_rebooted_costs_less_than_two_seconds() {
    let (mut world, ann, bob) = two_homes([NatKind::HOME, NatKind::HOME]);
    world.run(2 * S);
    world.flow(ann, bob, 50 * MS, 100 * S);
    world.flow(bob, ann, 50 * MS, 100 * S);
    world.run(10 * S);
    assert_eq!(kind(&world, ann, bob), PathKind::Direct);
    world.reboot_nat(meshd_core::sim::SiteId::nth(1));
    world.run(20 * S);
    for (from, to) in [(ann, bob), (bob, ann)] {
        let gap = longest_gap(&world, from, to, 9 * S);
        assert!(gap <= 2 * S, "{gap:?}");
    }
}

#[test]
fn a_lossy_jittery_link_keeps_its_direct_path() {
    let (mut world, ann, bob) = two_public();
    for site in [1, 2] {
        let link = world.link(meshd_core::sim::SiteId::nth(site));
        link.loss_permille = 50;
        link.jitter = 30 * MS;
    }
    world.run(2 * S);
    world.flow(ann, bob, 20 * MS, 100 * S);
    world.run(90 * S);
    assert_eq!(kind(&world, ann, bob), PathKind::Direct);
    let got = arrived(&world, ann, bob);
    assert!(got > 4500 * 85 / 100, "{got} of 4500 at 10 % loss");
}

#[test]
fn a_partition_heals() {
    let (mut world, ann, bob) = two_public();
    world.run(2 * S);
    world.flow(ann, bob, 100 * MS, 300 * S);
    world.run(5 * S);
    world.link(meshd_core::sim::SiteId::nth(1)).blocked = true;
    world.run(60 * S);
    let before = arrived(&world, ann, bob);
    assert!(before < 60);
    world.link(meshd_core::sim::SiteId::nth(1)).blocked = false;
    assert!(world.run_until(3 * S, |world| arrived(world, ann, bob) > before));
    assert!(world.run_until(20 * S, |world| kind(world, ann, bob) == PathKind::Direct));
}

#[test]
fn after_ten_idle_seconds_the_first_packet_takes_a_second_relay_too() {
    let (mut world, ann, bob) = two_homes([NatKind::SYMMETRIC; 2]);
    world.add_relay(&["203.0.113.2"]);
    world.publish();
    world.run(2 * S);
    world.flow(ann, bob, 100 * MS, 5 * S);
    world.flow(bob, ann, 100 * MS, 5 * S);
    world.run(30 * S);
    let path = world.node(ann).unwrap().path(meshd_core::sim::node_id(bob));
    let relays = [path.primary, path.duplicate].map(|way| way.map(|way| way.address()));
    assert!(
        relays[0].is_some() && relays[1].is_some() && relays[0] != relays[1],
        "{relays:?}"
    );
    let before = arrived(&world, ann, bob);
    let home = usize::from(relays[0].unwrap().ip().to_string() == "203.0.113.2");
    world.stop_relay(home);
    world.flow(ann, bob, 10 * S, S);
    world.run(S / 2);
    assert_eq!(
        arrived(&world, ann, bob),
        before + 1,
        "the first packet is through, once"
    );
}

#[test]
fn who_only_receives_a_packet_now_and_then_notices_within_three_seconds_that_its_udp_is_blocked() {
    for phase in 0..10 {
        let (mut world, ann, bob) = two_homes([NatKind::SYMMETRIC; 2]);
        world.run(2 * S);
        world.flow(ann, bob, 5 * S, 60 * S);
        world.run(20 * S + 500 * MS * phase);
        assert_eq!(kind(&world, ann, bob), PathKind::Relay);
        world.link(meshd_core::sim::SiteId::nth(2)).blocked = true;
        let asks = |world: &World| {
            let events = &world.node(bob).unwrap().events;
            events
                .iter()
                .any(|(_, event)| matches!(event, Event::Carrier { wanted: true, .. }))
        };
        assert!(!asks(&world));
        assert!(world.run_until(3 * S, asks), "phase {phase}: nothing is noticed");
    }
}
