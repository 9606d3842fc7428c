//! How nodes come to talk, and directly where that can be.

use meshd_core::path::PathKind;
use meshd_core::sim::NatKind;

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
