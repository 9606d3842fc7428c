//! What is compared: for each program a hub and one machine or several around it, a cable to each, and the program's tunnels over them.
//!
//! A cable is a veth pair as the kernel makes it, segmentation offloads on. Every tunnel has the MTU [`MTU`]. All programs run all
//! the time; which is measured has traffic, the others are idle.

mod mesh;
mod nebula;
mod star;
mod wireguard;

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use meshd_tests::measure::load::Place;
use meshd_tests::measure::usage::{peak_rss, rss};
use meshd_tests::{World, eventually};
use star::Star;

/// For what takes a moment on a busy computer.
pub const SOON: Duration = Duration::from_secs(60);
/// Between the last that a program was told and the look at its idle memory.
const SETTLING: Duration = Duration::from_secs(2);
/// Of every tunnel, in bytes: meshd's default.
pub const MTU: u16 = 1408;

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

/// How many take part.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Machines around the hub.
    pub spokes: usize,
    /// Peers besides that nobody talks to.
    pub idle: usize,
    /// Whether the hub and the first machine have a pod each.
    pub pods: bool,
}

/// One program on its machines.
pub struct Bed {
    /// What it is called.
    pub name: &'static str,
    /// The machines, the hub first.
    pub ends: Vec<Place>,
    /// Their addresses inside the tunnel.
    pub addresses: Vec<IpAddr>,
    /// The daemons, the hub's first.
    pub agents: Vec<u32>,
    /// A pod of the hub, one of the first machine, and its address.
    pub pods: Option<([Place; 2], IpAddr)>,
    /// Memory of the hub's daemon before any traffic, MiB.
    pub idle_memory: f64,
    /// What ends with it.
    _running: Box<dyn std::any::Any>,
}

impl Bed {
    /// Waits until the tunnels lead somewhere.
    fn new(
        name: &'static str,
        star: &Star,
        addresses: Vec<IpAddr>,
        (agents, running): (Vec<u32>, Box<dyn std::any::Any>),
    ) -> Self {
        for (machine, address) in star.machines.iter().zip(&addresses).skip(1) {
            for (from, to) in [(&star.machines[0], *address), (machine, addresses[0])] {
                let ping = ["ping", "-n", "-q", "-c1", "-W1", &to.to_string()];
                eventually(SOON, &format!("{name}: {to} answers"), || {
                    from.succeeds(&ping).then_some(())
                });
            }
        }
        if !agents.is_empty() {
            thread::sleep(SETTLING);
        }
        Self {
            name,
            ends: star.machines.iter().cloned().map(Place::Node).collect(),
            addresses,
            idle_memory: agents.first().map_or(0.0, |pid| rss(*pid)),
            agents,
            pods: None,
            _running: running,
        }
    }

    /// The highest memory so far of the hub's daemon, MiB.
    pub fn peak_memory(&self) -> f64 {
        self.agents.first().map_or(0.0, |pid| peak_rss(*pid))
    }
}

/// Those that are told of peers beforehand: nebula's are whoever has a certificate.
pub const TOLD: [&str; 4] = [MESHD, WIREGUARD_GO, GOTATUN, BORINGTUN];

/// A program's bed; none, with a line that says so, where the program is not there.
pub fn build(world: &World, name: &'static str, shape: Shape) -> Option<Bed> {
    eprintln!("starting {name}");
    let bed = match name {
        MESHD => return Some(mesh::bed(world, shape)),
        NO_TUNNEL => return Some(no_tunnel(world, shape)),
        NEBULA => named(NEBULA).map(|program| nebula::bed(world, &program, shape)),
        other => named(other).map(|program| wireguard::bed(world, other, &program, shape)),
    };
    if bed.is_none() {
        eprintln!("without {name}: {} does not name it", variable(name));
    }
    bed
}

/// The variable that says where a program is.
fn variable(name: &str) -> String {
    format!("MESHD_COMPARE_{}", name.to_uppercase().replace('-', "_"))
}

fn named(name: &str) -> Option<String> {
    let path = std::env::var(variable(name)).ok()?;
    std::path::Path::new(&path).exists().then_some(path)
}

fn no_tunnel(world: &World, shape: Shape) -> Bed {
    let star = Star::new(world, NO_TUNNEL, shape.spokes);
    let spokes = (1..=shape.spokes).map(|spoke| star.spoke(spoke));
    let addresses = std::iter::once(star.hub(1)).chain(spokes).collect();
    Bed::new(NO_TUNNEL, &star, addresses, (Vec::new(), Box::new(())))
}
