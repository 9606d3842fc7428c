//! Programs that `wg` configures: wireguard-go, gotatun-cli, boringtun-cli.

use std::net::IpAddr;

use meshd_tests::World;
use meshd_tests::measure::wireguard::{INTERFACE, WireGuard};

use super::{Bed, INNER, MTU, OUTER, WIREGUARD_GO, pair};

/// The program on two machines, each the other's peer.
pub fn bed(world: &World, name: &'static str, program: &str) -> Bed {
    let machines = pair(world, name);
    let started = machines
        .each_ref()
        .map(|machine| WireGuard::start(machine, &argv(name, program), MTU));
    for (own, peer) in [(0, 1), (1, 0)] {
        started[own].add_peer(&started[peer], OUTER[peer].into(), &format!("{}/32", INNER[peer]));
        machines[own].run(&[
            "ip",
            "addr",
            "add",
            &format!("{}/24", INNER[own]),
            "dev",
            INTERFACE,
        ]);
    }
    let agents = started.iter().map(|own| own.process().pid()).collect();
    Bed::new(
        name,
        &machines,
        INNER.map(IpAddr::V4),
        (agents, Box::new(started)),
    )
}

/// Everything else is as the program has it by default.
fn argv<'a>(name: &str, program: &'a str) -> Vec<&'a str> {
    match name {
        WIREGUARD_GO => vec![program, "-f", INTERFACE],
        _ => vec![program, "-f", "--disable-drop-privileges", INTERFACE],
    }
}
