//! The simulated world under any sequence of misfortunes and datagrams: no panic, no timer that never advances, no more
//! to a bystander than the limits, and where the relay is left standing the two nodes reach each other in the end.
#![no_main]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use meshd_core::path::{PER_HOST, PER_SECOND_BIRTHDAY};
use meshd_core::sim::{Dependence, HostId, INTERNET, Link, NatKind, NODE_PORT, Ports, SiteId, World, node_id};

const S: Duration = Duration::from_secs(1);

fn nat(byte: u8) -> NatKind {
    let dependence = |bits: u8| match bits & 3 {
        0 => Dependence::None,
        1 => Dependence::Address,
        _ => Dependence::AddressAndPort,
    };
    NatKind {
        mapping: dependence(byte),
        filtering: dependence(byte >> 2),
        expiry: Duration::from_secs(10 + u64::from(byte >> 4) * 10),
        hairpin: byte & 0x80 != 0,
        ports: [Ports::Preserving, Ports::Counted(1), Ports::Random, Ports::Counted(-3)][usize::from(byte >> 5 & 3)],
        two_faced: byte & 0x10 != 0,
    }
}

fn befall(world: &mut World, nodes: [HostId; 2], victim: HostId, what: u8, more: u8) {
    let node = nodes[usize::from(more & 1)];
    match what % 10 {
        0 => world.stop_relay(0),
        1 => world.start_relay(0),
        2 => world.cut(nodes[0], nodes[1]),
        3 => world.mend(nodes[0], nodes[1]),
        4 => world.reboot_nat(SiteId::nth(usize::from(more & 1) + 1)),
        5 => {
            let addresses = world.addresses(node);
            let hints = world.kill(node);
            world.run(Duration::from_millis(u64::from(more) * 10));
            world.boot(node, &addresses, &hints);
        }
        6 => world.link(SiteId::nth(usize::from(more & 1) + 1)).blocked ^= true,
        7 => world.with_node(node, |node, now| node.agent.network_changed(now)),
        8 => {
            let lie = SocketAddr::new(world.addresses(victim)[0].addr(), NODE_PORT + u16::from(more));
            world.lie(node, &[lie]);
        }
        _ => {
            let recorded = world.record();
            for packet in recorded.iter().rev().take(usize::from(more)) {
                world.inject(node, packet.from, packet.bytes.clone());
            }
            world.record();
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let [seed, here, there, delay, happenings @ ..] = data else { return };
    let mut world = World::new(Instant::now(), u64::from(*seed));
    world.add_relay(&["203.0.113.1"]);
    let link = Link { jitter: Duration::from_millis(u64::from(delay >> 4)), ..Link::delay_ms(u64::from(delay & 31)) };
    let home = world.add_site(Some((nat(*here), "198.51.100.1")), link);
    let office = world.add_site(Some((nat(*there), "198.51.100.2")), link);
    let nodes = [world.add_node(home, &["192.168.1.10/24"]), world.add_node(office, &["192.168.2.10/24"])];
    let victim = world.add_bystander(INTERNET, "203.0.113.66");
    world.record();
    world.flow(nodes[0], nodes[1], Duration::from_millis(200), 600 * S);
    world.flow(nodes[1], nodes[0], Duration::from_millis(500), 600 * S);
    let (mut minute, mut before) = (world.elapsed(), 0);
    for pair in happenings.chunks_exact(2).take(12) {
        befall(&mut world, nodes, victim, pair[0], pair[1]);
        world.run(Duration::from_millis(u64::from(pair[1]) * 20));
        if world.elapsed() - minute >= 60 * S {
            (minute, before) = (world.elapsed(), world.count(victim));
        }
        let most = 4 * PER_HOST + 2 * PER_SECOND_BIRTHDAY;
        assert!(world.count(victim) - before <= most as u64, "a reflector");
    }
    for site in [1, 2] {
        world.link(SiteId::nth(site)).blocked = false;
    }
    world.start_relay(0);
    let got = |world: &World| {
        let node = world.node(nodes[1]).expect("it runs");
        node.deliveries.iter().filter(|delivery| delivery.from == node_id(nodes[0])).count()
    };
    let before = got(&world);
    assert!(world.run_until(40 * S, |world| got(world) > before), "never whole again");
});
