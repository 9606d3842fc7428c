//! Liars, forgers and replayers.

use std::net::SocketAddr;

use meshd_core::demux::{Class, classify};
use meshd_core::path::{Endpoint, PER_ADDRESS, PathKind, Remote, SocketId, Source};
use meshd_core::sim::{Arrived, HostId, INTERNET, Link, NODE_PORT, World, node_id};

use crate::clock::start;
use crate::places::{MS, S, arrived, kind, longest_gap, two_public, victim};

/// Thirty nodes, one of which says in its record and in its calls that it is to be found at the victim.
#[test]
fn a_lying_member_cannot_make_a_victim_receive_more_than_the_limits() {
    let mut world = World::new(start(), 4);
    world.add_relay(&["203.0.113.1"]);
    let site = world.add_site(None, Link::delay_ms(10));
    let liar = world.add_node(INTERNET, &["203.0.113.50/24"]);
    let hosts: Vec<HostId> = (1..=29)
        .map(|n| world.add_node(site, &[&format!("198.51.100.{n}/24")]))
        .collect();
    let victim = victim(&mut world);
    world.run(2 * S);
    let target: SocketAddr = format!("203.0.113.66:{NODE_PORT}").parse().unwrap();
    let lies: Vec<SocketAddr> = (0..16)
        .map(|n| SocketAddr::new(target.ip(), NODE_PORT + n))
        .collect();
    world.lie(liar, &lies);
    for &host in &hosts {
        world.flow(host, liar, 200 * MS, 300 * S);
        world.flow(liar, host, 200 * MS, 300 * S);
    }
    let mut worst = 0;
    for _ in 0..5 {
        let before = world.count(victim);
        world.run(60 * S);
        worst = worst.max(world.count(victim) - before);
    }
    let limit = hosts.len() as u64 * 64;
    assert!(worst <= limit, "{worst} datagrams in a minute, more than {limit}");
    assert!(worst > 0, "the test tests something");
}

#[test]
fn one_address_gets_eight_datagrams_a_minute() {
    let (mut world, ann, bob) = two_public();
    let victim = victim(&mut world);
    world.run(2 * S);
    let target: SocketAddr = format!("203.0.113.66:{NODE_PORT}").parse().unwrap();
    world.lie(bob, &[target]);
    world.flow(ann, bob, 100 * MS, 600 * S);
    world.flow(bob, ann, 100 * MS, 600 * S);
    let mut worst = 0;
    for _ in 0..600 {
        // whatever makes them try again
        world.with_node(ann, |node, now| node.agent.network_changed(now));
        let before = world.count(victim);
        world.run(S);
        worst = worst.max(world.count(victim) - before);
    }
    assert!(
        world.count(victim) <= 11 * PER_ADDRESS as u64,
        "{} in ten minutes",
        world.count(victim)
    );
    assert!(worst <= PER_ADDRESS as u64);
    let _ = kind;
}

/// The discovery packet that came to a host last.
fn last_discovery(recorded: &[Arrived], to: HostId) -> Arrived {
    let discovery = |packet: &&Arrived| packet.to == to && classify(&packet.bytes) == Class::Discovery;
    recorded.iter().rev().find(discovery).unwrap().clone()
}

/// Everything that a node ever got is played to it again, from where it came and from elsewhere.
#[test]
fn replayed_packets_change_nothing() {
    let (mut world, ann, bob) = two_public();
    world.record();
    world.run(2 * S);
    world.flow(ann, bob, 100 * MS, 60 * S);
    world.flow(bob, ann, 100 * MS, 60 * S);
    world.run(10 * S);
    let recorded = world.record();
    let path = world.node(bob).unwrap().path(node_id(ann));
    let strange: SocketAddr = "203.0.113.66:4444".parse().unwrap();
    let victim = victim(&mut world);
    let before = world.node(bob).unwrap().agent.counters();
    let discovery = |bytes: &[u8]| classify(bytes) == Class::Discovery;
    let packets: Vec<_> = recorded
        .into_iter()
        .filter(|packet| packet.to == bob && discovery(&packet.bytes))
        .collect();
    assert!(packets.len() >= 2, "{} packets", packets.len());
    for packet in &packets {
        world.inject(bob, packet.from, packet.bytes.clone());
        world.inject(bob, strange, packet.bytes.clone());
        world.run(20 * MS);
    }
    world.run(5 * S);
    let after = world.node(bob).unwrap().agent.counters();
    assert_eq!(world.node(bob).unwrap().path(node_id(ann)), path);
    assert!(after.replayed + after.unasked > before.replayed + before.unasked);
    assert_eq!(world.count(victim), 0, "not one answer to the strange address");
    assert!(longest_gap(&world, ann, bob, 9 * S) <= 150 * MS);
}

#[test]
fn packets_sent_back_to_their_sender_change_nothing() {
    let (mut world, ann, bob) = two_public();
    world.record();
    world.run(2 * S);
    world.flow(ann, bob, 100 * MS, 60 * S);
    world.run(5 * S);
    let recorded = world.record();
    let path = world.node(ann).unwrap().path(node_id(bob));
    let sent: Vec<_> = recorded
        .into_iter()
        .filter(|packet| packet.to == bob && classify(&packet.bytes) == Class::Discovery)
        .collect();
    for packet in sent {
        world.inject(ann, "192.0.2.10:51820".parse().unwrap(), packet.bytes);
    }
    world.run(S);
    assert_eq!(world.node(ann).unwrap().path(node_id(bob)), path);
    assert!(world.node(ann).unwrap().agent.counters().strangers > 0);
}

#[test]
fn forged_bytes_change_nothing() {
    let (mut world, ann, bob) = two_public();
    world.record();
    world.run(2 * S);
    world.flow(ann, bob, 100 * MS, 60 * S);
    world.run(5 * S);
    let recorded = world.record();
    let path = world.node(bob).unwrap().path(node_id(ann));
    for (index, packet) in recorded.iter().filter(|packet| packet.to == bob).enumerate() {
        let mut bytes = packet.bytes.clone();
        if classify(&bytes) == Class::Data || bytes.len() < 50 {
            continue;
        }
        let at = 40 + index % (bytes.len() - 40);
        bytes[at] ^= 1 << (index % 8);
        world.inject(bob, packet.from, bytes);
    }
    world.run(S);
    assert_eq!(world.node(bob).unwrap().path(node_id(ann)), path);
    let before = arrived(&world, ann, bob);
    world.run(S);
    assert!(arrived(&world, ann, bob) >= before + 9);
}

/// A ping of a life that is over is answered, for it may be of the next one. Played again and again from ever new addresses it
/// uses up what that peer may cause, and nobody else's tries.
#[test]
fn an_old_ping_from_ever_new_addresses_keeps_no_other_peer_from_becoming_direct() {
    let (mut world, ann, bob) = two_public();
    let eve = world.add_node(INTERNET, &["203.0.113.50/24"]);
    world.record();
    world.run(2 * S);
    world.flow(eve, ann, 100 * MS, 60 * S);
    world.run(2 * S);
    let is_ping = |bytes: &[u8]| classify(bytes) == Class::Discovery;
    let of_eve = |from: SocketAddr| from.ip() == "203.0.113.50".parse::<std::net::IpAddr>().unwrap();
    let old: Vec<_> = world
        .record()
        .into_iter()
        .filter(|packet| packet.to == ann && of_eve(packet.from) && is_ping(&packet.bytes))
        .collect();
    assert!(!old.is_empty());
    let addresses = world.addresses(eve);
    let hints = world.kill(eve);
    world.run(S);
    world.boot(eve, &addresses, &hints);
    world.flow(eve, ann, 100 * MS, 60 * S);
    world.run(5 * S);
    let mut from = 0_u32;
    let mut flood = |world: &mut World, times: u32| {
        for _ in 0..times {
            for _ in 0..8 {
                from += 1;
                let [_, a, b, c] = from.to_be_bytes();
                let from = SocketAddr::from(([100, a, b, c], 4444));
                let packet = &old[c as usize % old.len()];
                world.inject(ann, from, packet.bytes.clone());
            }
            world.run(20 * MS);
        }
    };
    flood(&mut world, 400);
    world.flow(ann, bob, 100 * MS, 60 * S);
    world.flow(bob, ann, 100 * MS, 60 * S);
    flood(&mut world, 100);
    assert_eq!(kind(&world, ann, bob), PathKind::Direct);
}

/// A flood in the name of a peer's address is dropped by the driver; what that peer itself sends by its proven way is told from it.
#[test]
fn what_a_peer_sends_by_its_proven_way_is_known_among_a_flood() {
    let (mut world, ann, bob) = two_public();
    world.record();
    world.run(2 * S);
    world.flow(ann, bob, 100 * MS, 60 * S);
    world.run(5 * S);
    let packet = &last_discovery(&world.record(), bob);
    let by = |address: SocketAddr| {
        let socket = SocketId::PRIMARY;
        Source::Socket(Remote { address, socket })
    };
    let mut elsewhere = packet.from;
    elsewhere.set_port(4444);
    let mut stranger = packet.bytes.clone();
    stranger[10] ^= 1;
    let agent = &world.node(bob).unwrap().agent;
    assert!(agent.awaits(by(packet.from), &packet.bytes));
    assert!(!agent.awaits(by(elsewhere), &packet.bytes), "another port");
    assert!(!agent.awaits(by(packet.from), &stranger), "another key");
    assert!(!agent.awaits(by(packet.from), &[0; 64]), "anything");
}

/// The packet path may hand over what came by a socket that was closed meanwhile.
#[test]
fn what_comes_by_a_closed_socket_makes_no_path() {
    let (mut world, ann, bob) = two_public();
    world.record();
    world.run(2 * S);
    world.flow(ann, bob, 100 * MS, 60 * S);
    assert!(world.run_until(500 * MS, |world| kind(world, ann, bob) == PathKind::Direct));
    world.run(S);
    let recorded = world.record();
    let path = world.node(bob).unwrap().path(node_id(ann));
    let packet = last_discovery(&recorded, bob);
    world.with_node(bob, |node, now| {
        let closed = Remote {
            address: packet.from,
            socket: SocketId(9),
        };
        let before = node.agent.counters();
        node.agent
            .handle_datagram(now, Source::Socket(closed), &packet.bytes);
        node.agent
            .note_received(now, node_id(ann), Endpoint::Direct(closed));
        assert_eq!(node.agent.counters().foreign, before.foreign + 1);
        assert!(node.agent.poll_transmit().is_none());
    });
    world.run(5 * S);
    assert_eq!(world.node(bob).unwrap().path(node_id(ann)), path);
}

#[test]
fn a_member_with_anothers_discovery_key_takes_nothing_from_it() {
    let (mut world, ann, bob) = two_public();
    world.run(2 * S);
    let thief = world.steal_key(bob);
    world.flow(ann, bob, 100 * MS, 10 * S);
    assert!(world.run_until(500 * MS, |world| kind(world, ann, bob) == PathKind::Direct));
    assert_eq!(kind(&world, ann, thief), PathKind::None);
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let run = |seed: u64| {
        let mut world = World::new(start(), seed);
        world.add_relay(&["203.0.113.1"]);
        let site = world.add_site(
            None,
            Link {
                loss_permille: 100,
                jitter: 20 * MS,
                ..Link::delay_ms(10)
            },
        );
        let hosts: Vec<HostId> = (1..=5)
            .map(|n| world.add_node(site, &[&format!("198.51.100.{n}/24")]))
            .collect();
        for pair in hosts.windows(2) {
            world.flow(pair[0], pair[1], 50 * MS, 20 * S);
        }
        world.run(30 * S);
        world.trace()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
