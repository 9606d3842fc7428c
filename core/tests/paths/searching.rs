//! Several searches for ports of one node: one after the other.

use meshd_core::path::PathKind;
use meshd_core::sim::{HostId, Link, NatKind, World};

use crate::clock::start;
use crate::places::{MS, S, kind};

/// A node behind a NAT of the first kind, and two behind ones of the second that it wants to talk to; one of them cannot be found.
fn one_and_two((own, theirs): (NatKind, NatKind), seed: u64, lost: usize) -> (World, HostId, HostId) {
    let mut world = World::new(start(), seed);
    world.add_relay(&["203.0.113.1"]);
    let site = world.add_site(Some((own, "198.51.100.9")), Link::delay_ms(10));
    let ann = world.add_node(site, &["192.168.9.10/24"]);
    let others = [1, 2].map(|number| {
        let outside = format!("198.51.100.{number}");
        let site = world.add_site(Some((theirs, &outside)), Link::delay_ms(10));
        world.add_node(site, &[&format!("192.168.{number}.10/24")])
    });
    world.cut(ann, others[lost]);
    world.run(2 * S);
    for other in others {
        world.flow(ann, other, 50 * MS, 100 * S);
        world.flow(other, ann, 50 * MS, 100 * S);
    }
    (world, ann, others[1 - lost])
}

/// The one who can be found is, whoever of the two it is.
fn the_other_is_direct(kinds: (NatKind, NatKind), seed: u64) {
    for lost in 0..2 {
        let (mut world, ann, bob) = one_and_two(kinds, seed, lost);
        let begin = world.elapsed();
        let direct = world.run_until(10 * S, |world| kind(world, ann, bob) == PathKind::Direct);
        println!("beside number {lost}, who is lost: {:?}", world.elapsed() - begin);
        assert!(direct, "beside number {lost}, who is lost");
    }
}

#[test]
fn who_waits_for_a_search_in_vain_is_searched_for_after_it() {
    the_other_is_direct((NatKind::SYMMETRIC, NatKind::HOME), 11);
}

#[test]
fn who_calls_for_a_search_while_another_is_searched_for_in_vain_has_its_turn_too() {
    the_other_is_direct((NatKind::HOME, NatKind::SYMMETRIC), 12);
}
