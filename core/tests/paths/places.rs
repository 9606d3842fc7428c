//! Worlds that tests share.

use std::time::Duration;

use meshd_core::path::PathKind;
use meshd_core::sim::{HostId, INTERNET, Link, NatKind, World, node_id};

use crate::clock::start;

pub const MS: Duration = Duration::from_millis(1);
pub const S: Duration = Duration::from_secs(1);

/// A relay 20 ms away from two homes behind NATs, in each a node.
pub fn two_homes(nat: [NatKind; 2]) -> (World, HostId, HostId) {
    let mut world = World::new(start(), 1);
    world.add_relay(&["203.0.113.1"]);
    let home = world.add_site(Some((nat[0], "198.51.100.1")), Link::delay_ms(10));
    let office = world.add_site(Some((nat[1], "198.51.100.2")), Link::delay_ms(10));
    let ann = world.add_node(home, &["192.168.1.10/24"]);
    let bob = world.add_node(office, &["192.168.2.10/24"]);
    (world, ann, bob)
}

/// A relay, and two nodes on one LAN behind a NAT.
pub fn one_lan() -> (World, HostId, HostId) {
    let mut world = World::new(start(), 2);
    world.add_relay(&["203.0.113.1"]);
    let home = world.add_site(Some((NatKind::HOME, "198.51.100.1")), Link::delay_ms(10));
    let ann = world.add_node(home, &["192.168.1.10/24"]);
    let bob = world.add_node(home, &["192.168.1.11/24"]);
    (world, ann, bob)
}

/// A relay, and two nodes with public addresses.
pub fn two_public() -> (World, HostId, HostId) {
    let mut world = World::new(start(), 3);
    world.add_relay(&["203.0.113.1"]);
    let here = world.add_site(None, Link::delay_ms(10));
    let there = world.add_site(None, Link::delay_ms(15));
    let ann = world.add_node(here, &["198.51.100.10/24"]);
    let bob = world.add_node(there, &["192.0.2.10/24"]);
    (world, ann, bob)
}

/// The way that packets of `from` take to `to`.
pub fn kind(world: &World, from: HostId, to: HostId) -> PathKind {
    world
        .node(from)
        .map_or(PathKind::None, |node| node.path(node_id(to)).kind())
}

/// How many packets of `from` have arrived at `to`.
pub fn arrived(world: &World, from: HostId, to: HostId) -> usize {
    let from = node_id(from);
    world.node(to).map_or(0, |node| {
        node.deliveries
            .iter()
            .filter(|delivery| delivery.from == from)
            .count()
    })
}

/// The longest time without a packet of `from` at `to`, from `since` (time since the start) to now.
pub fn longest_gap(world: &World, from: HostId, to: HostId, since: Duration) -> Duration {
    let begin = world.now() - world.elapsed() + since;
    let from = node_id(from);
    let deliveries = world
        .node(to)
        .map(|node| node.deliveries.as_slice())
        .unwrap_or_default();
    let times = deliveries
        .iter()
        .filter(|delivery| delivery.from == from && delivery.at >= begin);
    let mut times: Vec<_> = times.map(|delivery| delivery.at).collect();
    times.push(world.now());
    let mut last = begin;
    let gaps = times.into_iter().map(|at| at - std::mem::replace(&mut last, at));
    gaps.max().unwrap_or_default()
}

/// A bystander on the public network.
pub fn victim(world: &mut World) -> HostId {
    world.add_bystander(INTERNET, "203.0.113.66")
}
