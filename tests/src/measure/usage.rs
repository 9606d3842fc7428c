//! What it costs: CPU time by process, memory, packets at the tunnel's interface.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::machine::Machine;

/// Of `/proc/PID/stat` and `/proc/stat`, on every Linux that Debian runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time so far, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// Of the programs that make the network.
    pub agents: f64,
    /// Of this program, which sends and receives: with what the kernel does in its name.
    pub load: f64,
    /// Of the kernel's threads for network packets.
    pub softirq: f64,
    /// Of everything on this computer.
    pub busy: f64,
}

impl Cpu {
    /// The state now.
    pub fn now(agents: &[u32]) -> Self {
        Self {
            agents: agents.iter().map(|pid| of_process(*pid)).sum(),
            load: of_process(std::process::id()),
            softirq: softirq_threads().iter().map(|pid| of_process(*pid)).sum(),
            busy: busy(),
        }
    }

    /// What was used since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            agents: self.agents - before.agents,
            load: self.load - before.load,
            softirq: self.softirq - before.softirq,
            busy: self.busy - before.busy,
        }
    }

    /// What is in the name of those who carry and those who send.
    pub fn all(&self) -> f64 {
        self.agents + self.load + self.softirq
    }
}

/// CPU time of a process with all its threads, seconds (proc(5): utime, stime).
fn of_process(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = text.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let fields = after.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / TICKS_PER_SECOND
}

/// Time in which a processor of this computer did anything, seconds (proc(5): without idle, iowait, steal and guests).
fn busy() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
    let busy: u64 = [0, 1, 2, 5, 6].iter().filter_map(|at| ticks.get(*at)).sum();
    busy as f64 / TICKS_PER_SECOND
}

/// How many processors other programs keep busy: to be asked while nothing is sent.
pub fn others() -> f64 {
    let (before, begin) = (busy(), Instant::now());
    thread::sleep(Duration::from_millis(300));
    (busy() - before) / begin.elapsed().as_secs_f64()
}

/// The processors of this computer.
pub fn processors() -> f64 {
    thread::available_parallelism().map_or(1.0, |count| count.get() as f64)
}

/// The kernel's threads that handle packets when interrupts alone cannot.
fn softirq_threads() -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.starts_with("ksoftirqd/") || name.starts_with("napi/")
    })
    .collect()
}

/// The highest resident memory of a process so far, MiB.
pub fn peak_rss(pid: u32) -> f64 {
    memory(pid, "VmHWM:")
}

/// The resident memory of a process now, MiB.
pub fn rss(pid: u32) -> f64 {
    memory(pid, "VmRSS:")
}

fn memory(pid: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// Packets and bytes that a tunnel's program has read from its interface: one read each, however large.
#[derive(Clone)]
pub struct Reads(PathBuf);

impl Reads {
    /// Of an interface of a machine, whose own sysfs shows it.
    pub fn of(machine: &Machine, interface: &str) -> Self {
        let root = Path::new("/proc").join(machine.pid().to_string()).join("root");
        Self(root.join(format!("sys/class/net/{interface}/statistics")))
    }

    /// Packets and bytes until now, and packets for which the interface's queue had no room.
    pub fn now(&self) -> (f64, f64, f64) {
        let read = |name: &str| {
            let text = fs::read_to_string(self.0.join(name)).unwrap_or_default();
            text.trim().parse().unwrap_or(0.0)
        };
        (read("tx_packets"), read("tx_bytes"), read("tx_dropped"))
    }
}
