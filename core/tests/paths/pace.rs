//! When an address that does not answer is tried, and how often again.

use std::net::SocketAddr;
use std::time::Duration;

use meshd_core::nat::NatBehaviour;
use meshd_core::path::PathKind;
use meshd_core::sim::{HostId, Link, NatKind, World, node_id};

use crate::clock::start;
use crate::places::{MS, S, kind, two_homes, victim};

/// Ann talks to Bob behind his router, who says that he is at an address where nobody answers, and cannot be reached where he
/// is; and that address.
fn a_false_address() -> (World, HostId, HostId) {
    let mut world = World::new(start(), 3);
    world.add_relay(&["203.0.113.1"]);
    let here = world.add_site(None, Link::delay_ms(10));
    let home = world.add_site(Some((NatKind::HOME, "198.51.100.2")), Link::delay_ms(15));
    let ann = world.add_node(here, &["192.0.2.10/24"]);
    let bob = world.add_node(home, &["192.168.2.10/24"]);
    let victim = victim(&mut world);
    let target: SocketAddr = "203.0.113.66:51820".parse().unwrap();
    world.cut(ann, bob);
    world.lie(bob, &[target]);
    world.run(2 * S);
    world.flow(ann, bob, 1000 * MS, 20 * 3600 * S);
    world.flow(bob, ann, 1000 * MS, 20 * 3600 * S);
    (world, ann, victim)
}

/// When datagrams came to a host, since now.
fn times(world: &mut World, host: HostId, step: Duration, lasting: Duration) -> Vec<Duration> {
    let (begin, mut seen, mut times) = (world.elapsed(), world.count(host), Vec::new());
    while world.elapsed() - begin < lasting {
        world.run(step);
        let count = world.count(host);
        times.extend((seen..count).map(|_| world.elapsed() - begin));
        seen = count;
    }
    times
}

#[test]
fn an_address_is_tried_at_0_50_100_200_and_400_ms() {
    let (mut world, _, victim) = a_false_address();
    let times = times(&mut world, victim, MS, 50 * S);
    let [primer, first, ..] = times[..] else {
        panic!("{times:?}")
    };
    let tries: Vec<u128> = times[1..].iter().map(|at| (*at - first).as_millis()).collect();
    assert_eq!(
        tries,
        [0, 50, 100, 200, 400],
        "in milliseconds; and not once more"
    );
    assert!(first - primer <= 150 * MS, "both have primed: {times:?}");
}

#[test]
fn that_udp_is_blocked_is_not_believed_while_a_relay_answers_over_it() {
    let (mut world, ann, bob) = two_homes([NatKind::HOME, NatKind::LINUX]);
    world.run(2 * S);
    let blocked = NatBehaviour {
        udp_blocked: true,
        ..NatBehaviour::default()
    };
    for node in [ann, bob] {
        world.with_node(node, |node, now| node.agent.set_nat_behaviour(now, blocked));
    }
    world.flow(ann, bob, 50 * MS, 20 * S);
    world.run(5 * S);
    let explained = world.node(ann).unwrap().agent.explain(world.now(), node_id(bob));
    let explained = explained.unwrap();
    assert!(!explained.ours.udp_blocked && explained.theirs.is_some_and(|nat| !nat.udp_blocked));
    assert_eq!(kind(&world, ann, bob), PathKind::Direct);
}

/// The beginnings of what came in a row, in whole minutes.
fn rounds(times: &[Duration]) -> Vec<u64> {
    let mut rounds: Vec<u64> = times.iter().map(|at| at.as_secs() / 60).collect();
    rounds.dedup();
    rounds
}

#[test]
fn who_stays_relayed_tries_again_after_a_minute_and_then_ever_more_seldom_up_to_an_hour() {
    let (mut world, ann, victim) = a_false_address();
    let seen = times(&mut world, victim, 250 * MS, 4 * 3600 * S);
    assert_eq!(rounds(&seen), [0, 1, 3, 7, 15, 31, 63, 123, 183]);
    assert!(seen.len() <= 9 * 6, "{} datagrams in 9 rounds", seen.len());
    // each from its beginning to its end
    assert!(seen.iter().all(|at| at.as_secs() % 60 <= 2), "{seen:?}");
    world.with_node(ann, |node, now| node.agent.network_changed(now));
    let seen = times(&mut world, victim, 250 * MS, 600 * S);
    assert_eq!(
        rounds(&seen),
        [0, 1, 3, 7],
        "after a network change from the start"
    );
}
