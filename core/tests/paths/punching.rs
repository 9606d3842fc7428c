//! Every pair of NATs comes to the best path that there can be, and soon.

use std::time::Duration;

use meshd_core::path::{Method, Outcome, PathKind};
use meshd_core::sim::{Dependence, HostId, Link, NatKind, SiteId, World, node_id};

use crate::clock::start;
use crate::places::{MS, S, arrived, kind, longest_gap};

/// The kinds of sites, as the lab has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Site {
    Public,
    Firewall,
    Cone,
    AddressRestricted,
    Home,
    Linux,
    Symmetric,
    Counting,
    CarrierHome,
    CarrierLinux,
    CarrierCone,
    CarrierSymmetric,
}

use Site::*;

const ALL: [Site; 12] = [
    Public,
    Firewall,
    Cone,
    AddressRestricted,
    Home,
    Linux,
    Symmetric,
    Counting,
    CarrierHome,
    CarrierLinux,
    CarrierCone,
    CarrierSymmetric,
];

/// What can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Best {
    /// Direct by punching, on the old port or on a fresh one.
    Direct,
    /// By prediction or birthday.
    Hard,
    Relay,
}

impl Site {
    /// The home's NAT and the carrier's.
    fn nats(self) -> (Option<NatKind>, Option<NatKind>) {
        match self {
            Public => (None, None),
            Firewall | Home => (Some(NatKind::HOME), None),
            Cone => (Some(NatKind::CONE), None),
            AddressRestricted => {
                let filtering = Dependence::Address;
                (
                    Some(NatKind {
                        filtering,
                        ..NatKind::HOME
                    }),
                    None,
                )
            }
            Linux => (Some(NatKind::LINUX), None),
            Symmetric => (Some(NatKind::SYMMETRIC), None),
            Counting => (Some(NatKind::COUNTING), None),
            CarrierHome => (Some(NatKind::HOME), Some(NatKind::HOME)),
            CarrierLinux => (Some(NatKind::HOME), Some(NatKind::LINUX)),
            CarrierCone => (Some(NatKind::HOME), Some(NatKind::CONE)),
            CarrierSymmetric => (Some(NatKind::HOME), Some(NatKind::SYMMETRIC)),
        }
    }

    fn add(self, world: &mut World, number: u8, delay: u64) -> HostId {
        let link = Link::delay_ms(delay);
        let outside = format!("198.51.100.{number}");
        let inside = format!("192.168.{number}.10/24");
        match (self, self.nats()) {
            (Public, _) => {
                let site = world.add_site(None, link);
                world.add_node(site, &[&format!("{outside}/24")])
            }
            // a firewall's address is the host's own
            (Firewall, (Some(kind), _)) => {
                let site = world.add_site(Some((kind, &outside)), link);
                world.add_node(site, &[&format!("{outside}/24")])
            }
            (_, (Some(home), Some(carrier))) => {
                let shared = world.add_site(Some((carrier, &outside)), link);
                let address = format!("100.64.{number}.2");
                let site = world.add_site_behind(shared, Some((home, &address)), Link::delay_ms(1));
                world.add_node(site, &[&inside])
            }
            (_, (home, _)) => {
                let site = world.add_site(home.map(|home| (home, outside.as_str())), link);
                world.add_node(site, &[&inside])
            }
        }
    }

    fn is_symmetric(self) -> bool {
        matches!(self, Symmetric | CarrierSymmetric)
    }

    /// Whether somebody who was never sent to by this port gets in.
    fn is_open(self) -> bool {
        matches!(self, Public | Cone | AddressRestricted)
    }

    fn best_with(self, other: Site) -> Best {
        match (self, other) {
            (one, other) if one.is_open() || other.is_open() => Best::Direct,
            (one, other) if one.is_symmetric() && other.is_symmetric() => Best::Relay,
            (one, Counting) | (Counting, one) if one.is_symmetric() => Best::Relay,
            (one, other) if one.is_symmetric() || other.is_symmetric() => Best::Hard,
            (Counting, _) | (_, Counting) => Best::Hard,
            _ => Best::Direct,
        }
    }
}

fn meet(sites: [Site; 2], delays: [u64; 2], seed: u64) -> (World, HostId, HostId) {
    let mut world = World::new(start(), seed);
    world.add_relay(&["203.0.113.1"]);
    let ann = sites[0].add(&mut world, 1, delays[0]);
    let bob = sites[1].add(&mut world, 2, delays[1]);
    world.run(2 * S);
    (world, ann, bob)
}

fn both_direct(world: &World, ann: HostId, bob: HostId) -> bool {
    kind(world, ann, bob) == PathKind::Direct && kind(world, bob, ann) == PathKind::Direct
}

/// How long the pair needed, if it became direct.
fn time_to_direct(sites: [Site; 2], delays: [u64; 2], seed: u64) -> Option<Duration> {
    time_to_direct_without((0, 0), sites, delays, seed)
}

/// The same where the relay carries so many of their discovery packets, and loses the next ones.
fn time_to_direct_without(
    (through, lost): (u64, u64),
    sites: [Site; 2],
    delays: [u64; 2],
    seed: u64,
) -> Option<Duration> {
    let (mut world, ann, bob) = meet(sites, delays, seed);
    world.lose(through, lost);
    let begin = world.elapsed();
    world.flow(ann, bob, 50 * MS, 12 * S);
    if lost > 0 {
        // who hears something asks nothing
        world.flow(bob, ann, 50 * MS, 12 * S);
    }
    assert!(
        world.run_until(S, |world| arrived(world, ann, bob) > 0),
        "{sites:?}: the first packet goes through the relay"
    );
    let direct = world.run_until(10 * S, |world| both_direct(world, ann, bob));
    direct.then(|| world.elapsed() - begin)
}

#[test]
fn every_pair_of_nats_comes_to_what_can_be_had() {
    for (number, one) in ALL.into_iter().enumerate() {
        for other in ALL.into_iter().skip(number) {
            for (sites, delays) in [([one, other], [10, 15]), ([other, one], [20, 5])] {
                let time = time_to_direct(sites, delays, number as u64);
                match one.best_with(other) {
                    Best::Direct => {
                        // the first primers end between a home's NAT and its carrier's
                        let farther = [one, other].contains(&CarrierLinux);
                        let bar = if farther { 4 * S } else { 2 * S };
                        assert!(time.is_some_and(|time| time <= bar), "{sites:?}: {time:?}");
                    }
                    Best::Hard => assert!(time.is_some(), "{sites:?} stays relayed"),
                    Best::Relay => {}
                }
            }
        }
    }
}

/// Of what may fail by bad luck, nearly everything succeeds; before a Linux router no primer may take a port.
#[test]
fn birthday_probing_hardly_ever_fails() {
    for sites in [
        [Home, Symmetric],
        [Linux, Symmetric],
        [CarrierSymmetric, Linux],
        [CarrierHome, CarrierSymmetric],
    ] {
        let found = (0..20).filter(|&seed| time_to_direct(sites, [10, 10], seed).is_some());
        let found = found.count();
        assert!(found >= 19, "{sites:?}: {found} of 20");
    }
}

#[test]
fn whatever_packets_the_relay_loses_the_bars_hold() {
    for (sites, bar) in [
        ([Home, Home], 2 * S),
        ([Linux, Linux], 2 * S),
        ([Home, Linux], 2 * S),
        ([Public, Home], 2 * S),
        ([Cone, Symmetric], 2 * S),
        ([CarrierHome, Firewall], 2 * S),
        ([Counting, Home], 10 * S),
        ([Symmetric, Home], 10 * S),
    ] {
        for (through, lost) in (0..14).flat_map(|through| [(through, 1), (through, 3)]) {
            let time = time_to_direct_without((through, lost), sites, [10, 15], through);
            assert!(
                time.is_some_and(|time| time <= bar),
                "{sites:?}: {time:?}, without {lost} packets after {through}"
            );
        }
    }
}

#[test]
fn what_needs_no_luck_is_quick_on_slow_links_too() {
    for sites in [
        [Linux, Linux],
        [Home, Linux],
        [Firewall, Linux],
        [CarrierHome, Home],
    ] {
        let time = time_to_direct(sites, [60, 80], 1);
        assert!(time.is_some_and(|time| time <= 2 * S), "{sites:?}: {time:?}");
    }
}

#[test]
fn after_the_search_one_socket_is_left_and_it_carries() {
    let (mut world, ann, bob) = meet([Symmetric, Home], [10, 10], 3);
    world.flow(ann, bob, 50 * MS, 100 * S);
    world.flow(bob, ann, 50 * MS, 100 * S);
    assert!(world.run_until(10 * S, |world| both_direct(world, ann, bob)));
    world.run(20 * S);
    assert!(both_direct(&world, ann, bob));
    assert!(longest_gap(&world, ann, bob, world.elapsed() - 15 * S) < 200 * MS);
    assert_eq!(world.open_sockets(ann), 1);
    assert_eq!(world.open_sockets(bob), 0);
}

#[test]
fn sockets_are_closed_when_nobody_needs_them() {
    for sites in [[Symmetric, Home], [Counting, Home], [Symmetric, Symmetric]] {
        let (mut world, ann, bob) = meet(sites, [10, 10], 4);
        world.flow(ann, bob, 50 * MS, 20 * S);
        world.run(400 * S);
        assert_eq!(
            (world.open_sockets(ann), world.open_sockets(bob)),
            (0, 0),
            "{sites:?}"
        );
    }
}

#[test]
fn what_is_hopeless_is_not_tried_and_the_explanation_says_so() {
    let (mut world, ann, bob) = meet([Symmetric, Symmetric], [10, 10], 5);
    world.flow(ann, bob, 50 * MS, 20 * S);
    world.run(10 * S);
    let now = world.now();
    let explained = world.node(ann).unwrap().agent.explain(now, node_id(bob)).unwrap();
    assert!(explained.theirs.is_some_and(|nat| nat.is_dependent()));
    let outcome = |method: Method| {
        let attempts = explained
            .attempts
            .iter()
            .filter(|attempt| attempt.method == method);
        attempts.map(|attempt| attempt.outcome).next_back()
    };
    assert_eq!(outcome(Method::FreshPort), Some(Outcome::Hopeless));
    assert_eq!(outcome(Method::Birthday), Some(Outcome::Hopeless));
    assert!(explained.next_attempt.is_some() && !explained.help.is_empty());
}

/// A path may be found on the old port and on a fresh one in the same moment: neither side closes what the other sends by.
#[test]
fn whenever_the_way_opens_the_change_loses_no_packet() {
    for sites in [[Firewall, Firewall], [Cone, CarrierHome], [Linux, Home]] {
        for moment in 0..60 {
            let (mut world, ann, bob) = meet(sites, [10, 15], 7);
            for site in [1, 2] {
                world.link(SiteId::nth(site)).jitter = 40 * MS;
            }
            let begin = world.elapsed();
            world.cut(ann, bob);
            world.flow(ann, bob, 10 * MS, 14 * S);
            world.flow(bob, ann, 10 * MS, 14 * S);
            world.run(S + moment * 20 * MS);
            world.mend(ann, bob);
            // something new: the old ports are tried beside the fresh ones
            world.with_node(bob, |node, now| {
                node.agent.set_nat_behaviour(now, Default::default())
            });
            // the second fresh port's primers go far, for carriers' NATs: at worst it is found by the third
            assert!(
                world.run_until(7 * S, |world| both_direct(world, ann, bob)),
                "{sites:?} after {moment}"
            );
            world.run(4 * S);
            for (from, to) in [(ann, bob), (bob, ann)] {
                let gap = longest_gap(&world, from, to, begin + S);
                assert!(gap < 200 * MS, "{sites:?} after {moment}: {gap:?}");
            }
        }
    }
}

/// As after a start: the node measures its NAT while packets wait already.
#[test]
fn a_nat_that_is_measured_late_is_got_over_all_the_same() {
    for sites in [[Counting, Counting], [Symmetric, Linux], [Counting, Home]] {
        let mut world = World::new(start(), 7);
        world.add_relay(&["203.0.113.1"]);
        world.set_nats_known(false);
        let nodes = [sites[0].add(&mut world, 1, 10), sites[1].add(&mut world, 2, 10)];
        world.run(2 * S);
        world.flow(nodes[0], nodes[1], 50 * MS, 30 * S);
        world.flow(nodes[1], nodes[0], 50 * MS, 30 * S);
        for (node, wait) in nodes.into_iter().zip([3 * S, 2 * S]) {
            world.run(wait);
            let nat = world.behaviour(node);
            world.with_node(node, |node, now| node.agent.set_nat_behaviour(now, nat));
        }
        assert!(
            world.run_until(10 * S, |world| both_direct(world, nodes[0], nodes[1])),
            "{sites:?}"
        );
    }
}

/// Several ports of a counting NAT may have answered: none of them is trusted any more when one falls silent.
#[test]
fn when_a_guessed_path_dies_the_relay_takes_over_within_a_second() {
    let (mut world, ann, bob) = meet([Counting, Home], [1, 1], 0);
    world.flow(ann, bob, 100 * MS, 60 * S);
    world.flow(bob, ann, 100 * MS, 60 * S);
    assert!(world.run_until(5 * S, |world| both_direct(world, ann, bob)));
    world.run(3 * S);
    world.cut(ann, bob);
    let since = world.elapsed();
    world.run(10 * S);
    for (from, to) in [(ann, bob), (bob, ann)] {
        let gap = longest_gap(&world, from, to, since);
        assert!(gap <= S + 150 * MS, "{gap:?}");
    }
}

/// Bob's packets go directly to Ann, and again within a second after her router was restarted.
#[track_caller]
fn outlives_a_restart(world: &mut World, ann: HostId, bob: HostId) {
    world.flow(bob, ann, 20 * MS, 100 * S);
    assert!(world.run_until(2 * S, |world| both_direct(world, ann, bob)));
    world.run(5 * S);
    world.reboot_nat(SiteId::nth(1));
    world.run(30 * S);
    let gap = longest_gap(world, bob, ann, 8 * S);
    assert!(gap <= S, "{gap:?}");
    assert!(both_direct(world, ann, bob), "not for the relay's sake");
}

/// The NAT's memory is lost, and the peer's packets come before the host's own: only another port helps.
#[test]
fn a_linux_router_that_was_restarted_is_got_over_by_a_fresh_port() {
    let (mut world, ann, bob) = meet([Linux, Home], [10, 10], 6);
    outlives_a_restart(&mut world, ann, bob);
}

/// The same over IPv6, where there is no other way.
#[test]
fn a_router_that_was_restarted_is_got_over_by_a_fresh_port_over_ipv6_too() {
    let mut world = World::new(start(), 4);
    world.add_relay(&["2001:db8::1"]);
    let home = world.add_site(Some((NatKind::LINUX, "2001:db8:1::1")), Link::delay_ms(10));
    let office = world.add_site(Some((NatKind::HOME, "2001:db8:2::1")), Link::delay_ms(10));
    let ann = world.add_node(home, &["fd00:1::10/64"]);
    let bob = world.add_node(office, &["fd00:2::10/64"]);
    world.run(2 * S);
    outlives_a_restart(&mut world, ann, bob);
    let way = world.node(bob).unwrap().path(node_id(ann)).primary.unwrap();
    assert!(way.address().is_ipv6() && !way.socket().is_primary());
}
