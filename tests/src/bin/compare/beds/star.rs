//! Machines around a hub, each with a cable to it and no other way anywhere.

use std::net::{IpAddr, Ipv4Addr};

use meshd_tests::{Machine, World};

/// The hub is the first machine.
pub struct Star {
    /// All of them.
    pub machines: Vec<Machine>,
}

impl Star {
    /// A hub and so many machines, at most 200.
    pub fn new(world: &World, name: &str, spokes: usize) -> Self {
        let name = name.replace(' ', "-");
        let machines = (0..=spokes).map(|number| world.machine(&format!("{name}-{number}")));
        let star = Self {
            machines: machines.collect(),
        };
        for number in 1..=spokes {
            let (hub, spoke) = (&star.machines[0], &star.machines[number]);
            let (near, far) = (star.hub(number), star.spoke(number));
            world.cable(
                (hub, &format!("eth{}", number - 1), &[&format!("{near}/24")]),
                (spoke, "eth0", &[&format!("{far}/24")]),
            );
            spoke.run(&["ip", "route", "add", "default", "via", &near.to_string()]);
        }
        star
    }

    /// The hub's address on the cable to a machine, from 1 on.
    pub fn hub(&self, spoke: usize) -> IpAddr {
        outer(spoke, 1)
    }

    /// The address of that machine.
    pub fn spoke(&self, spoke: usize) -> IpAddr {
        outer(spoke, 2)
    }
}

fn outer(spoke: usize, host: u8) -> IpAddr {
    Ipv4Addr::new(10, 9, spoke as u8, host).into()
}

/// The address inside the tunnel of a machine, the hub being 0, where the program does not choose it: a /24.
pub fn inner(machine: usize) -> IpAddr {
    Ipv4Addr::new(10, 77, 0, machine as u8 + 1).into()
}
