//! Roaming: a node gets other addresses under traffic.

use meshd_core::path::PathKind;
use meshd_core::sim::{Link, NatKind, SiteId};

use crate::places::{MS, S, kind, longest_gap, one_lan, two_homes, two_public};

#[test]
fn a_node_that_moves_is_missed_for_less_than_two_seconds() {
    for silently in [false, true] {
        let (mut world, ann, bob) = two_public();
        let elsewhere = world.add_site(None, Link::delay_ms(20));
        world.run(2 * S);
        world.flow(ann, bob, 50 * MS, 60 * S);
        world.flow(bob, ann, 50 * MS, 60 * S);
        world.run(10 * S);
        world.move_to(ann, elsewhere, &["198.18.0.10/24"], silently);
        world.run(20 * S);
        for (from, to) in [(ann, bob), (bob, ann)] {
            let gap = longest_gap(&world, from, to, 9 * S);
            assert!(gap <= 2 * S, "{gap:?}, silently: {silently}");
            assert_eq!(kind(&world, from, to), PathKind::Direct);
        }
    }
}

#[test]
fn a_node_that_moves_without_a_relay_is_found_by_its_own_packets() {
    let (mut world, ann, bob) = two_public();
    let elsewhere = world.add_site(None, Link::delay_ms(20));
    world.run(2 * S);
    world.flow(ann, bob, 50 * MS, 60 * S);
    world.flow(bob, ann, 50 * MS, 60 * S);
    world.run(10 * S);
    world.stop_relay(0);
    world.set_coordinator(false);
    world.run(5 * S);
    world.move_to(ann, elsewhere, &["198.18.0.10/24"], false);
    world.run(20 * S);
    for (from, to) in [(ann, bob), (bob, ann)] {
        let gap = longest_gap(&world, from, to, 14 * S);
        assert!(gap <= 2 * S, "{gap:?}");
    }
}

#[test]
fn leaving_the_lan_and_coming_home_costs_little() {
    let (mut world, ann, bob) = one_lan();
    let cafe = world.add_site(Some((NatKind::HOME, "198.51.100.9")), Link::delay_ms(20));
    world.run(2 * S);
    world.flow(ann, bob, 50 * MS, 100 * S);
    world.flow(bob, ann, 50 * MS, 100 * S);
    world.run(10 * S);
    world.move_to(ann, cafe, &["172.16.0.9/24"], false);
    world.run(20 * S);
    for (from, to) in [(ann, bob), (bob, ann)] {
        let gap = longest_gap(&world, from, to, 9 * S);
        assert!(gap <= 2 * S, "{gap:?} into the cafe");
    }
    world.move_to(ann, SiteId::nth(1), &["192.168.1.10/24"], false);
    world.run(20 * S);
    for (from, to) in [(ann, bob), (bob, ann)] {
        let gap = longest_gap(&world, from, to, 29 * S);
        assert!(gap <= 2 * S, "{gap:?} home again");
    }
}

#[test]
fn a_binding_that_the_nat_changed_is_renewed_by_the_refusal() {
    let (mut world, ann, bob) = two_homes([NatKind::SYMMETRIC, NatKind::SYMMETRIC]);
    world.run(2 * S);
    world.flow(ann, bob, 50 * MS, 60 * S);
    world.run(10 * S);
    assert_eq!(kind(&world, ann, bob), PathKind::Relay);
    world.reboot_nat(SiteId::nth(1));
    world.run(5 * S);
    let gap = longest_gap(&world, ann, bob, 9 * S);
    assert!(gap < S, "{gap:?} at the sender");
    world.reboot_nat(SiteId::nth(2));
    world.run(5 * S);
    let gap = longest_gap(&world, ann, bob, 14 * S);
    assert!(gap < S, "{gap:?} at the receiver");
}
