//! meshrelay beside coturn: the same 100 busy pairs, in turns, in one run.
//!
//! Each relay is the whole program as it is run by an operator, on the lab's cloud host, with one packet thread: meshrelay with its
//! coordinator, in whose network the 200 ends have joined. While one is measured the other idles. Who sends and who receives is on
//! the machine at the other end of the link. A pair is a sender, who speaks to the relay as its protocol wants, and a receiver; the sender is never
//! more than a window ahead of what arrived. What counts is CPU time of the relay's process (`/proc/PID/task/*/schedstat`), for a computer
//! that does other things at the same time spoils every figure per second. Both relays have what the smallest cloud host
//! has: the first processor (`taskset`) and 1 GiB of address space (`prlimit`); who sends and receives has the others. Datagrams cross the links one by one; the relays'
//! end has GRO on, as every network card has.
//!
//! `relay-compare [ROUNDS] [SECONDS]` runs it.

mod coturn;
mod figures;
mod own;
mod pairs;

use std::process::Command;
use std::time::{Duration, Instant};

use meshd_tests::{Machine, Process, World};

use figures::Measured;
use pairs::{Pair, pump};

const PAIRS: usize = 100;
const SECONDS: u64 = 8;
const ROUNDS: u64 = 5;
/// The processor that a relay has to itself, and the memory.
const BUDGET: [&str; 5] = ["taskset", "-c", "0", "prlimit", "--as=1073741824"];
const HOST: &str = "203.0.113.1";

fn main() {
    let argument = |nth| std::env::args().nth(nth);
    let number = |nth, default| argument(nth).map_or(default, |text| text.parse().expect("a number"));
    let (rounds, seconds) = (number(1, ROUNDS), number(2, SECONDS));
    let world = World::new();
    let (cloud, outside) = (world.cloud(), world.internet().clone());
    // segments are to be cut before the link, as they are before a real one
    outside.sh("ethtool -K cloud tx-udp-segmentation off gso off tso off gro off");
    cloud.sh("ethtool -K eth0 tx-udp-segmentation off gso off tso off gro on");
    leave_first_processor();
    let (relay, ends) = own::start(&cloud, &outside);
    let turn = coturn::start(&cloud);
    let (mut own, mut coturn) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let time = Duration::from_secs(seconds);
        own.push(relay.with_process(|process| {
            round_of(process, &outside, time, |nth| {
                own::pair(&ends[2 * nth], &ends[2 * nth + 1])
            })
        }));
        figures::report("meshrelay", round, own.last());
        coturn.push(round_of(&turn, &outside, time, |_| coturn::pair()));
        figures::report("coturn", round, coturn.last());
    }
    figures::conclude(&own, &coturn, rounds);
}

fn round_of(
    process: &Process,
    outside: &Machine,
    time: Duration,
    pair: impl Fn(usize) -> Pair + Send,
) -> Measured {
    outside.inside(|| {
        let mut pairs: Vec<Pair> = (0..PAIRS).map(pair).collect();
        pump(&mut pairs, Duration::from_secs(1));
        let (cpu, begin) = (cpu_of(process.pid()), Instant::now());
        let packets = pump(&mut pairs, time);
        Measured {
            packets,
            seconds: begin.elapsed().as_secs_f64(),
            cpu: cpu_of(process.pid()) - cpu,
            peak_rss_kib: process.peak_rss_kib(),
        }
    })
}

/// CPU time of a process with all its threads, seconds.
fn cpu_of(pid: u32) -> f64 {
    meshd_tests::cpu_of(pid).as_secs_f64()
}

/// This process has the processors that the relays have not, where there are several.
fn leave_first_processor() {
    let own = std::process::id().to_string();
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    if count > 1 {
        let others = format!("1-{}", count - 1);
        let done = Command::new("taskset")
            .args(["-a", "-c", "-p", &others, &own])
            .status();
        assert!(done.is_ok_and(|done| done.success()), "taskset runs");
    }
}
