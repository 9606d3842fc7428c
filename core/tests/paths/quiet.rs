//! Idle peers cost nothing.

use meshd_core::id::{NetworkId, NodeId};
use meshd_core::keys::{DiscoverySecret, LanKey};
use meshd_core::path::{Agent, AgentConfig, Local, PathKind, PeerInfo};
use meshd_core::sim::{Link, NatKind, Ports, World, node_id};
use meshd_core::statement::{Candidate, CandidateKind};

use crate::clock::start;
use crate::places::{MS, S, arrived, kind, longest_gap, two_public};

#[test]
fn a_node_with_many_idle_peers_sends_only_what_keeps_its_relay_binding() {
    let mut world = World::new(start(), 9);
    world.add_relay(&["203.0.113.1"]);
    let site = world.add_site(None, Link::delay_ms(10));
    let hosts: Vec<_> = (1..=30)
        .map(|n| world.add_node(site, &[&format!("198.51.100.{n}/24")]))
        .collect();
    world.run(60 * S);
    let sent = |world: &World| world.node(hosts[0]).unwrap().agent.counters().sent;
    let (before, received) = (sent(&world), world.count(hosts[0]));
    world.run(600 * S);
    let beacons = sent(&world) - before;
    assert!(
        beacons <= 26,
        "{beacons} datagrams of its own in ten minutes, all beacons"
    );
    let renewals = world.count(hosts[0]) - received;
    assert!(
        renewals <= 2 * 48,
        "{renewals} answers of the relay in ten minutes"
    );
}

/// Home and the next relay are renewed for the NAT's sake, the other six only so that they do not forget.
#[test]
fn with_eight_relays_a_node_keeps_two_bindings_warm_and_the_others_alive() {
    let mut world = World::new(start(), 10);
    let addresses: Vec<String> = (1..=8).map(|n| format!("203.0.113.{n}")).collect();
    for address in &addresses {
        world.add_relay(&[address]);
    }
    let site = world.add_site(Some((NatKind::HOME, "198.51.100.1")), Link::delay_ms(10));
    let host = world.add_node(site, &["192.168.1.10/24"]);
    world.run(60 * S);
    let before = world.count(host);
    world.run(600 * S);
    let renewals = world.count(host) - before;
    // two every 14 s, six every 44 s, and a fresh cookie for each within every two minutes; all of them every 14 s were 380
    assert!(
        (160..=230).contains(&renewals),
        "{renewals} answers of eight relays in ten minutes"
    );
    let agent = &world.node(host).unwrap().agent;
    assert_eq!(
        agent.relays().filter(|relay| relay.bound_to.is_some()).count(),
        8,
        "bound at all"
    );
}

#[test]
fn a_pair_that_fell_silent_stops_its_pings_and_starts_again_at_once() {
    let (mut world, ann, bob) = two_public();
    world.run(2 * S);
    world.flow(ann, bob, 100 * MS, 5 * S);
    world.run(6 * S);
    assert_eq!(kind(&world, ann, bob), PathKind::Direct);
    world.run(150 * S);
    let path = world.node(ann).unwrap().path(node_id(bob));
    assert!(
        path.primary.unwrap().is_relay() && path.direct().is_some(),
        "both, for the next packet"
    );
    let sent = |world: &World| world.node(ann).unwrap().agent.counters().sent;
    world.run(150 * S);
    assert_eq!(
        world.node(ann).unwrap().path(node_id(bob)).direct(),
        None,
        "the proof is too old"
    );
    let before = sent(&world);
    world.run(3600 * S);
    assert!(sent(&world) - before <= 151, "beacons only");
    let before = arrived(&world, ann, bob);
    world.flow(ann, bob, 100 * MS, 5 * S);
    assert!(world.run_until(300 * MS, |world| arrived(world, ann, bob) > before));
    assert!(world.run_until(500 * MS, |world| kind(world, ann, bob) == PathKind::Direct));
}

/// A NAT that forgets after ten seconds would leave an idle node unreachable for a third of the time.
#[test]
fn an_idle_node_behind_a_forgetful_nat_can_be_called() {
    let mut world = World::new(start(), 11);
    world.add_relay(&["203.0.113.1"]);
    let forgetful = NatKind {
        expiry: 10 * S,
        // that it forgot shows in another port
        ports: Ports::Counted(7),
        ..NatKind::HOME
    };
    let home = world.add_site(Some((forgetful, "198.51.100.1")), Link::delay_ms(10));
    let office = world.add_site(None, Link::delay_ms(10));
    let idle = world.add_node(home, &["192.168.1.10/24"]);
    let caller = world.add_node(office, &["192.0.2.10/24"]);
    world.run(100 * S);
    for _ in 0..20 {
        world.run(307 * S + 700 * MS);
        let before = arrived(&world, caller, idle);
        world.flow(caller, idle, 100 * MS, S);
        assert!(world.run_until(500 * MS, |world| arrived(world, caller, idle) > before));
    }
}

/// Both families, as on most machines: the beacons, the relay and the paths of either do not get in each other's way.
#[test]
fn with_both_families_ipv6_is_used_and_ipv4_takes_over() {
    let mut world = World::new(start(), 12);
    world.add_relay(&["203.0.113.1", "2001:db8::1"]);
    let (here, there) = (
        world.add_site(None, Link::delay_ms(10)),
        world.add_site(None, Link::delay_ms(10)),
    );
    let ann = world.add_node(here, &["198.51.100.10/24", "2001:db8:1::10/64"]);
    let bob = world.add_node(there, &["192.0.2.10/24", "2001:db8:2::10/64"]);
    world.run(2 * S);
    world.flow(ann, bob, 50 * MS, 60 * S);
    world.flow(bob, ann, 50 * MS, 60 * S);
    world.run(5 * S);
    let way = |world: &World| world.node(ann).unwrap().path(node_id(bob)).primary.unwrap();
    assert!(!way(&world).is_relay() && way(&world).address().is_ipv6());
    world.move_to(ann, here, &["198.51.100.10/24"], false);
    world.run(5 * S);
    assert!(!way(&world).is_relay() && way(&world).address().is_ipv4());
    assert!(longest_gap(&world, ann, bob, 4 * S) <= 2 * S);
}

/// What a driver with a thousand idle peers wakes up for in ten minutes.
#[test]
fn a_thousand_idle_peers_have_no_timers() {
    let now = start();
    let secret = |number: u32| {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        DiscoverySecret::from_seed(&seed)
    };
    let config = AgentConfig {
        node: NodeId::from_bytes([0xee; 16]),
        network: NetworkId::from_bytes([1; 16]),
        discovery: secret(0),
        lan_key: Some(LanKey::from_bytes([2; 32])),
        seed: [3; 32],
    };
    let mut agent = Agent::new(now, config);
    agent.set_local(
        now,
        Local {
            addresses: vec!["192.0.2.1/24".parse().unwrap()],
            port: 51820,
            meshes: Vec::new(),
        },
    );
    agent.set_peers(
        now,
        (1..=1000).map(|number: u32| {
            let mut node = [0; 16];
            node[..4].copy_from_slice(&number.to_le_bytes());
            let addr = std::net::SocketAddr::from((
                [198, 51, (100 + number / 250) as u8, (number % 250) as u8 + 1],
                51820,
            ));
            let candidates = vec![Candidate {
                kind: CandidateKind::Host,
                addr,
            }];
            PeerInfo {
                node: node.into(),
                discovery: secret(number).public(),
                candidates,
                home_relay: None,
            }
        }),
    );
    agent.set_tunnel_mtu(1408);
    let (mut wakes, mut sent, end) = (0, 0, now + 600 * S);
    while let Some(due) = agent.poll_timeout().filter(|due| *due < end) {
        agent.handle_timeout(due);
        while agent.poll_transmit().is_some() {
            sent += 1;
        }
        wakes += 1;
    }
    println!("1,000 idle peers, ten minutes: {wakes} wakes, {sent} datagrams");
    assert!(sent <= 30, "{sent} datagrams in ten minutes, all of them beacons");
    assert!(wakes <= 30, "{wakes} wakes in ten minutes, all of them beacons");
}
