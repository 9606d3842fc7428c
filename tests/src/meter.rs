//! What a program costs its machine: datagrams and segments on the uplink, CPU time, memory.

use std::time::{Duration, Instant};

use crate::machine::Machine;
use crate::process::cpu_of;

/// Begins to count at [`Meter::start`].
pub struct Meter {
    machine: Machine,
    pid: u32,
    begun: Instant,
    cpu: Duration,
    before: [u64; 4],
}

/// What was counted, by the minute.
#[derive(Clone, Copy, Debug)]
pub struct PerMinute {
    /// UDP datagrams sent.
    pub udp_sent: f64,
    /// UDP datagrams received.
    pub udp_received: f64,
    /// TCP segments sent.
    pub tcp_sent: f64,
    /// TCP segments received.
    pub tcp_received: f64,
    /// CPU time of the program, in s.
    pub cpu: f64,
}

/// Name, hook and what is matched, in the order of [`PerMinute`].
const COUNTERS: [(&str, &str, &str); 4] = [
    ("udp_sent", "postrouting", "oifname eth0 meta l4proto udp"),
    ("udp_received", "prerouting", "iifname eth0 meta l4proto udp"),
    ("tcp_sent", "postrouting", "oifname eth0 meta l4proto tcp"),
    ("tcp_received", "prerouting", "iifname eth0 meta l4proto tcp"),
];

impl Meter {
    /// Counts what passes `eth0` of a machine, and what the process `pid` on it uses.
    pub fn start(machine: &Machine, pid: u32) -> Self {
        let mut script = String::from("add table inet gauge; ");
        for (name, hook, rule) in COUNTERS {
            script += &format!(
                "add counter inet gauge {name}; add chain inet gauge {name} {{ type filter hook {hook} priority -300; }}; \
                 add rule inet gauge {name} {rule} counter name {name}; "
            );
        }
        machine.sh(&format!("nft '{script}'"));
        Self {
            machine: machine.clone(),
            pid,
            begun: Instant::now(),
            cpu: cpu_of(pid),
            before: counts(machine),
        }
    }

    /// What was counted since the start.
    pub fn read(&self) -> PerMinute {
        let after = counts(&self.machine);
        let minutes = self.begun.elapsed().as_secs_f64() / 60.0;
        let rate = |nth: usize| (after[nth] - self.before[nth]) as f64 / minutes;
        PerMinute {
            udp_sent: rate(0),
            udp_received: rate(1),
            tcp_sent: rate(2),
            tcp_received: rate(3),
            cpu: cpu_of(self.pid).saturating_sub(self.cpu).as_secs_f64() / minutes,
        }
    }
}

fn counts(machine: &Machine) -> [u64; 4] {
    COUNTERS.map(|(name, ..)| {
        let said = machine.run(&["nft", "list", "counter", "inet", "gauge", name]);
        let mut words = said.split_whitespace();
        let found = words.find(|word| *word == "packets").and_then(|_| words.next());
        found
            .and_then(|count| count.parse().ok())
            .expect("nft gives a count")
    })
}
