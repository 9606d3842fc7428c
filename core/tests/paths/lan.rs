//! A site on its own: the cloud is gone.

use meshd_core::path::PathKind;
use meshd_core::sim::SiteId;

use crate::places::{MS, S, arrived, kind, one_lan};

/// The cloud is gone, and everybody rebooted into other addresses.
#[test]
fn neighbours_find_one_another_by_beacons() {
    let (mut world, ann, bob) = one_lan();
    world.run(5 * S);
    world.stop_relay(0);
    world.set_coordinator(false);
    let site = SiteId::nth(1);
    world.kill(ann);
    world.kill(bob);
    world.move_to(ann, site, &["192.168.7.20/24"], true);
    world.move_to(bob, site, &["192.168.7.21/24"], true);
    world.boot(ann, &["192.168.7.20/24".parse().unwrap()], &[]);
    world.run(3 * S);
    world.flow(ann, bob, 100 * MS, 100 * S);
    world.boot(bob, &["192.168.7.21/24".parse().unwrap()], &[]);
    assert!(world.run_until(2 * S, |world| arrived(world, ann, bob) > 0));
    assert_eq!(kind(&world, ann, bob), PathKind::Direct);
    let before = arrived(&world, bob, ann);
    world.flow(bob, ann, 100 * MS, 10 * S);
    assert!(world.run_until(S, |world| arrived(world, bob, ann) > before));
}

#[test]
fn a_neighbour_that_was_off_for_long_is_found_when_it_comes_back() {
    let (mut world, ann, bob) = one_lan();
    world.run(5 * S);
    world.stop_relay(0);
    world.set_coordinator(false);
    world.flow(ann, bob, 100 * MS, 2000 * S);
    world.run(5 * S);
    let hints = world.kill(bob);
    world.run(1000 * S);
    let before = arrived(&world, ann, bob);
    world.boot(bob, &["192.168.1.11/24".parse().unwrap()], &hints);
    assert!(world.run_until(2 * S, |world| arrived(world, ann, bob) > before));
}

#[test]
fn without_beacons_a_peer_with_a_known_address_is_found_all_the_same() {
    let (mut world, ann, bob) = crate::places::two_public();
    world.run(2 * S);
    world.flow(ann, bob, 100 * MS, 100 * S);
    world.run(5 * S);
    let hints = (world.kill(ann), world.kill(bob));
    world.stop_relay(0);
    world.set_coordinator(false);
    world.run(S);
    let before = arrived(&world, ann, bob);
    world.boot(bob, &["192.0.2.10/24".parse().unwrap()], &hints.1);
    world.boot(ann, &["198.51.100.10/24".parse().unwrap()], &hints.0);
    assert!(world.run_until(10 * S, |world| arrived(world, ann, bob) > before));
}
