//! Several searches for ports of one node: one after the other.

use meshd_core::path::PathKind;
use meshd_core::sim::{HostId, Link, NatKind, World};

use crate::clock::start;
use crate::places::{MS, S, kind};

/// A node behind a NAT with a port for each remote, and two behind home routers that it wants to talk to; one of them cannot be
/// found.
fn two_to_search_for(lost: usize) -> (World, HostId, HostId) {
    let mut world = World::new(start(), 11);
    world.add_relay(&["203.0.113.1"]);
    let office = world.add_site(Some((NatKind::SYMMETRIC, "198.51.100.9")), Link::delay_ms(10));
    let ann = world.add_node(office, &["192.168.9.10/24"]);
    let others = [1, 2].map(|number| {
        let outside = format!("198.51.100.{number}");
        let home = world.add_site(Some((NatKind::HOME, &outside)), Link::delay_ms(10));
        world.add_node(home, &[&format!("192.168.{number}.10/24")])
    });
    world.cut(ann, others[lost]);
    world.run(2 * S);
    for other in others {
        world.flow(ann, other, 50 * MS, 100 * S);
        world.flow(other, ann, 50 * MS, 100 * S);
    }
    (world, ann, others[1 - lost])
}

#[test]
fn who_waits_for_a_search_in_vain_is_searched_for_after_it() {
    for lost in 0..2 {
        let (mut world, ann, bob) = two_to_search_for(lost);
        let begin = world.elapsed();
        let direct = world.run_until(10 * S, |world| kind(world, ann, bob) == PathKind::Direct);
        println!("beside number {lost}, who is lost: {:?}", world.elapsed() - begin);
        assert!(direct, "beside number {lost}, who is lost");
    }
}

/// A node behind a home router, and two behind NATs with a port for each remote, one of which cannot be found.
fn two_that_search(lost: usize) -> (World, HostId, HostId) {
    let mut world = World::new(start(), 12);
    world.add_relay(&["203.0.113.1"]);
    let home = world.add_site(Some((NatKind::HOME, "198.51.100.9")), Link::delay_ms(10));
    let ann = world.add_node(home, &["192.168.9.10/24"]);
    let others = [1, 2].map(|number| {
        let outside = format!("198.51.100.{number}");
        let office = world.add_site(Some((NatKind::SYMMETRIC, &outside)), Link::delay_ms(10));
        world.add_node(office, &[&format!("192.168.{number}.10/24")])
    });
    world.cut(ann, others[lost]);
    world.run(2 * S);
    for other in others {
        world.flow(ann, other, 50 * MS, 100 * S);
        world.flow(other, ann, 50 * MS, 100 * S);
    }
    (world, ann, others[1 - lost])
}

#[test]
fn who_calls_for_a_search_while_another_is_searched_for_in_vain_has_its_turn_too() {
    for lost in 0..2 {
        let (mut world, ann, bob) = two_that_search(lost);
        let begin = world.elapsed();
        let direct = world.run_until(10 * S, |world| kind(world, ann, bob) == PathKind::Direct);
        println!("beside number {lost}, who is lost: {:?}", world.elapsed() - begin);
        assert!(direct, "beside number {lost}, who is lost");
    }
}
