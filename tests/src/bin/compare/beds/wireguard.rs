//! Programs that `wg` configures: wireguard-go, gotatun-cli, boringtun-cli.

use std::fmt::Write as _;
use std::net::IpAddr;

use data_encoding::BASE64;
use meshd_tests::beside::bridged_pod;
use meshd_tests::measure::load::Place;
use meshd_tests::measure::wireguard::{INTERFACE, WireGuard};
use meshd_tests::{Machine, World, eventually};

use super::star::{Star, inner};
use super::{Bed, MTU, SOON, Shape, WIREGUARD_GO};

/// The program on the hub with everybody as a peer, and on each machine around it with the hub.
pub fn bed(world: &World, name: &'static str, program: &str, shape: Shape) -> Bed {
    let star = Star::new(world, name, shape.spokes);
    let start = |machine| WireGuard::start(machine, &argv(name, program), MTU);
    let started: Vec<WireGuard> = star.machines.iter().map(start).collect();
    add_idle(&star.machines[0], shape.idle);
    for spoke in 1..=shape.spokes {
        started[0].add_peer(&started[spoke], star.spoke(spoke), &allowed(spoke, shape.pods));
        started[spoke].add_peer(&started[0], star.hub(spoke), &allowed(0, shape.pods));
    }
    for (number, machine) in star.machines.iter().enumerate() {
        let address = format!("{}/24", inner(number));
        machine.run(&["ip", "addr", "add", &address, "dev", INTERFACE]);
    }
    let agents = started.iter().map(|own| own.process().pid()).collect();
    let addresses = (0..=shape.spokes).map(inner).collect();
    let mut bed = Bed::new(name, &star, addresses, (agents, Box::new(started)));
    bed.pods = shape.pods.then(|| pods(&star.machines));
    bed
}

/// Everything else is as the program has it by default.
fn argv<'a>(name: &str, program: &'a str) -> Vec<&'a str> {
    match name {
        WIREGUARD_GO => vec![program, "-f", INTERFACE],
        _ => vec![program, "-f", "--disable-drop-privileges", INTERFACE],
    }
}

/// What a machine may send from: its own address, and its pods' /24.
fn allowed(machine: usize, pods: bool) -> String {
    let own = format!("{}/32", inner(machine));
    if pods {
        format!("{own},{}.0/24", pods_of(machine))
    } else {
        own
    }
}

fn pods_of(machine: usize) -> String {
    format!("10.104.{machine}")
}

/// Peers that have an address and a key, and nobody behind them.
fn add_idle(machine: &Machine, count: usize) {
    let mut config = String::new();
    for number in 0..count as u32 {
        let mut key = [7; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        let [_, _, high, low] = number.to_be_bytes();
        let _ = writeln!(
            config,
            "[Peer]\nPublicKey = {}\nAllowedIPs = 10.78.{high}.{low}/32",
            BASE64.encode(&key)
        );
    }
    if count > 0 {
        std::fs::write(machine.file("/run/peers.conf"), config).expect("the lab's folder is writable");
        machine.run(&["wg", "addconf", INTERFACE, "/run/peers.conf"]);
    }
}

/// A pod on the hub and one on the first machine around it, each on a bridge, as most CNI plugins connect them.
fn pods(machines: &[Machine]) -> ([Place; 2], IpAddr) {
    let [(from, _), (to, address)] = [0, 1].map(|number| {
        machines[number].run(&[
            "ip",
            "route",
            "add",
            &format!("{}.0/24", pods_of(1 - number)),
            "dev",
            INTERFACE,
        ]);
        bridged_pod(&machines[number], &pods_of(number), MTU.into())
    });
    eventually(SOON, "the pods reach each other", || {
        from.pings(address).then_some(())
    });
    ([from, to].map(Place::Pod), address)
}
