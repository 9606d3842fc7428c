//! What is compared: for each program two machines with one cable between them, and its tunnel over that.
//!
//! The cable is a veth pair as the kernel makes it, segmentation offloads on. Every tunnel has the MTU [`MTU`]. All programs run all
//! the time; which is measured has traffic, the others are idle.

mod mesh;
mod nebula;
mod wireguard;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use meshd_tests::measure::load::Place;
use meshd_tests::measure::usage::{peak_rss, rss};
use meshd_tests::{Machine, World, eventually};

/// For what takes a moment on a busy computer.
const SOON: Duration = Duration::from_secs(30);
/// Of every tunnel, in bytes: meshd's default.
pub const MTU: u16 = 1408;
/// The ends of the cable.
const OUTER: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2)];
/// The ends of a tunnel whose program does not choose them.
const INNER: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2)];

/// Ours.
pub const MESHD: &str = "meshd";
/// The limit: the cable alone.
pub const NO_TUNNEL: &str = "no tunnel";
/// The one that the bars are about most.
pub const WIREGUARD_GO: &str = "wireguard-go";
/// Cloudflare's.
pub const BORINGTUN: &str = "boringtun-cli";
/// Mullvad's.
pub const GOTATUN: &str = "gotatun-cli";
/// Slack's.
pub const NEBULA: &str = "nebula";
/// All, in the order of the table.
pub const PROGRAMS: [&str; 6] = [MESHD, WIREGUARD_GO, GOTATUN, BORINGTUN, NEBULA, NO_TUNNEL];

/// One program between two machines.
pub struct Bed {
    /// What it is called.
    pub name: &'static str,
    /// The machines.
    pub ends: [Place; 2],
    /// Their addresses inside the tunnel.
    pub addresses: [IpAddr; 2],
    /// The daemons.
    pub agents: Vec<u32>,
    /// Memory of the larger daemon before any traffic, MiB.
    pub idle_memory: f64,
    /// What ends with it.
    _running: Box<dyn std::any::Any>,
}

impl Bed {
    fn new(
        name: &'static str,
        machines: &[Machine; 2],
        addresses: [IpAddr; 2],
        (agents, running): (Vec<u32>, Box<dyn std::any::Any>),
    ) -> Self {
        for (from, to) in [(0, 1), (1, 0)] {
            let to = addresses[to].to_string();
            eventually(SOON, &format!("{name}: {to} answers"), || {
                let ping = ["ping", "-n", "-q", "-c1", "-W1", &to];
                machines[from].succeeds(&ping).then_some(())
            });
        }
        Self {
            name,
            ends: machines.clone().map(Place::Node),
            addresses,
            idle_memory: largest(&agents, rss),
            agents,
            _running: running,
        }
    }

    /// The highest memory so far of the larger daemon, MiB.
    pub fn peak_memory(&self) -> f64 {
        largest(&self.agents, peak_rss)
    }
}

fn largest(agents: &[u32], memory: fn(u32) -> f64) -> f64 {
    agents.iter().map(|pid| memory(*pid)).fold(0.0, f64::max)
}

/// A bed for each program that is wanted and there; says who is missing.
pub fn build(world: &World, wanted: impl Fn(&str) -> bool) -> Vec<Bed> {
    let mut beds = Vec::new();
    for name in PROGRAMS.into_iter().filter(|name| wanted(name)) {
        eprintln!("starting {name}");
        let bed = match name {
            MESHD => Some(mesh::bed(world)),
            NO_TUNNEL => Some(no_tunnel(world)),
            NEBULA => named(NEBULA).map(|program| nebula::bed(world, &program)),
            other => named(other).map(|program| wireguard::bed(world, other, &program)),
        };
        match bed {
            Some(bed) => beds.push(bed),
            None => eprintln!("without {name}: {} does not name it", variable(name)),
        }
    }
    beds
}

/// The variable that says where a program is.
fn variable(name: &str) -> String {
    format!("MESHD_COMPARE_{}", name.to_uppercase().replace('-', "_"))
}

fn named(name: &str) -> Option<String> {
    let path = std::env::var(variable(name)).ok()?;
    std::path::Path::new(&path).exists().then_some(path)
}

fn no_tunnel(world: &World) -> Bed {
    let machines = pair(world, NO_TUNNEL);
    Bed::new(
        NO_TUNNEL,
        &machines,
        OUTER.map(IpAddr::V4),
        (Vec::new(), Box::new(())),
    )
}

/// Two machines and a cable.
fn pair(world: &World, name: &str) -> [Machine; 2] {
    let name = name.replace(' ', "-");
    let machines = ["a", "b"].map(|end| world.machine(&format!("{name}-{end}")));
    let addresses = OUTER.map(|address| format!("{address}/24"));
    let [a, b] = &machines;
    world.cable((a, "eth0", &[&addresses[0]]), (b, "eth0", &[&addresses[1]]));
    machines
}
