//! Pod to pod beside node to node, and meshd's pods beside Flannel's, in turns, in one run.
//!
//! Two machines of the lab on one LAN for each way; every way is measured in every round, one after the other, so that what else
//! the computer does meets all of them. Links carry packets one by one (segmentation off at the sender, GRO on at the receiver), as
//! a card without offloads for UDP does. `load` says what is sent, `usage` how its cost is measured, `beds` what is compared.
//!
//! `cni-compare [ROUNDS] [SECONDS] [FOLDER]`: the table on stdout, and `cni-compare.json` and `cni-compare.svg` in FOLDER. Exits 1
//! where pods have less than 0.9 of what nodes have, or where their super-packets are cut.

mod beds;
mod figures;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use beds::{Beds, NODE, POD, Way};
use figures::{FIGURES, Round};
use meshd_tests::World;
use meshd_tests::measure::load;
use meshd_tests::measure::plot::{self, Panel};
use meshd_tests::measure::spread::{Spread, short};
use meshd_tests::measure::usage::{self, Cpu};
use serde_json::{Value, json};

const ROUNDS: usize = 5;
const SECONDS: f64 = 3.0;
const STREAMS: usize = 8;
/// Of what nodes have, pods have at least so much.
const BAR: f64 = 0.9;
/// Where other programs use more of the processors' time than this in any round, throughput is not judged.
const QUIET: f64 = 0.1;
/// Of the bytes that meshd reads at once for a node, it reads at least so many for a pod.
const UNCUT: f64 = 0.8;

fn main() -> ExitCode {
    let argument = |nth| std::env::args().nth(nth);
    let rounds = argument(1).map_or(ROUNDS, |text| text.parse().expect("ROUNDS is a number"));
    let seconds = argument(2).map_or(SECONDS, |text| text.parse().expect("SECONDS is a number"));
    let time = Duration::from_secs_f64(seconds);
    let world = World::new();
    let beds = Beds::build(&world);
    let mut results: Vec<(&Way, Vec<Round>)> = beds.ways.iter().map(|way| (way, Vec::new())).collect();
    for number in 1..=rounds {
        for (way, measured) in &mut results {
            let round = measure(way, time);
            let told = FIGURES.map(|(what, _, value)| format!("{what} {}", short(value(&round))));
            println!("round {number}: {}: {}", way.name, told.join(", "));
            measured.push(round);
        }
    }
    tell(&results);
    if let Some(folder) = argument(3) {
        write(&results, Path::new(&folder));
    }
    if judge(&results) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// One round of one way.
fn measure(way: &Way, time: Duration) -> Round {
    let to = SocketAddr::new(way.address, 0);
    let others = usage::others();
    let mut round = Round {
        others: others / usage::processors(),
        ..Round::default()
    };
    let trips = load::round_trips((&way.from, &way.to, to), time / 4);
    round.latency = trips[trips.len() / 2].as_secs_f64() * 1e6;
    let one = load::under_load(&[(&way.from, &way.to, to)], 1, |arrived| {
        sample(way, arrived, time)
    });
    (round.one, round.super_packet) = (one.gigabits_per_second(), one.read);
    let all = load::under_load(&[(&way.from, &way.to, to)], STREAMS, |arrived| {
        sample(way, arrived, time)
    });
    (round.eight, round.super_packet_eight) = (all.gigabits_per_second(), all.read);
    round.dropped = all.dropped / all.gigabytes;
    round.agents_cpu = all.cpu.agents / all.gigabytes;
    round.all_cpu = all.cpu.all() / all.gigabytes;
    round.computer_cpu = (all.cpu.busy - others * all.seconds).max(0.0) / all.gigabytes;
    round
}

/// What happened in a while.
struct Sample {
    gigabytes: f64,
    seconds: f64,
    cpu: Cpu,
    /// Bytes at a time from the TUN device.
    read: f64,
    /// Packets for which its queue had no room.
    dropped: f64,
}

impl Sample {
    fn gigabits_per_second(&self) -> f64 {
        self.gigabytes * 8.0 / self.seconds
    }
}

fn sample(way: &Way, arrived: &AtomicU64, time: Duration) -> Sample {
    let reads = || way.reads.as_ref().map(usage::Reads::now).unwrap_or_default();
    let (cpu, packets, bytes) = (Cpu::now(&way.agents), reads(), arrived.load(Ordering::Relaxed));
    let begin = Instant::now();
    thread::sleep(time);
    let seconds = begin.elapsed().as_secs_f64();
    let bytes = arrived.load(Ordering::Relaxed) - bytes;
    let after = reads();
    Sample {
        gigabytes: bytes as f64 / 1e9,
        seconds,
        cpu: Cpu::now(&way.agents).since(&cpu),
        read: (after.1 - packets.1) / (after.0 - packets.0).max(1.0),
        dropped: after.2 - packets.2,
    }
}

/// The table.
fn tell(results: &[(&Way, Vec<Round>)]) {
    let rounds = results.first().map_or(0, |(_, rounds)| rounds.len());
    println!("\nmedian (least-most) of {rounds} rounds:\n");
    let heads = FIGURES.map(|(what, ..)| what);
    println!(
        "| way | {} | peak memory of a node's agents, MiB |",
        heads.join(" | ")
    );
    println!("|{}", "---|".repeat(heads.len() + 2));
    for (way, rounds) in results {
        let cells = FIGURES.map(|(_, _, value)| Spread::of(rounds.iter().map(value)).to_string());
        println!(
            "| {} | {} | {} |",
            way.name,
            cells.join(" | "),
            short(way.memory())
        );
    }
}

/// `cni-compare.json` and `cni-compare.svg`.
fn write(results: &[(&Way, Vec<Round>)], folder: &Path) {
    let spread = |rounds: &[Round], value: fn(&Round) -> f64| Spread::of(rounds.iter().map(value));
    let ways = results.iter().map(|(way, rounds)| {
        let mut one = json!({"way": way.name, "rounds": rounds.len(), "agents_peak_mib": way.memory()});
        for (_, key, value) in FIGURES {
            one[key] = spread(rounds, value).json();
        }
        one
    });
    let text = serde_json::to_string_pretty(&ways.collect::<Vec<Value>>()).expect("plain values");
    std::fs::write(folder.join("cni-compare.json"), text + "\n").expect("the folder is writable");
    let panel = |title: &str, value: fn(&Round) -> f64| Panel {
        title: title.to_owned(),
        bars: results
            .iter()
            .map(|(way, rounds)| (way.name.to_owned(), spread(rounds, value)))
            .collect(),
    };
    let memory = |way: &Way| Spread::of(std::iter::once(way.memory()));
    let panels = [
        panel("TCP, 1 stream, Gbit/s", |r| r.one),
        panel("TCP, 8 streams, Gbit/s", |r| r.eight),
        panel("CPU-seconds per GB, 8 streams, both machines, everything", |r| {
            r.all_cpu
        }),
        panel(
            "round trip of one byte without other traffic, microseconds",
            |r| r.latency,
        ),
        Panel {
            title: "peak memory of a node's agents, MiB".to_owned(),
            bars: results
                .iter()
                .map(|(way, _)| (way.name.to_owned(), memory(way)))
                .collect(),
        },
    ];
    std::fs::write(folder.join("cni-compare.svg"), plot::draw(&panels)).expect("the folder is writable");
}

/// Whether the bars are kept; says so.
fn judge(results: &[(&Way, Vec<Round>)]) -> bool {
    let rounds = |name: &str| {
        results
            .iter()
            .find(|(way, _)| way.name == name)
            .map(|(_, rounds)| rounds)
    };
    let (Some(node), Some(pod)) = (rounds(NODE), rounds(POD)) else {
        return true;
    };
    let others = Spread::of(node.iter().chain(pod).map(|round| round.others));
    let quiet = others.most <= QUIET;
    let mut kept = true;
    // of each round, so that what the computer did besides meets both
    let mut bar = |what: &str, value: fn(&Round) -> f64, bar: f64, judged: bool| {
        let ratio = Spread::of(node.iter().zip(pod).map(|(node, pod)| value(pod) / value(node)));
        let verdict = match (judged, ratio.median >= bar) {
            (false, _) => "not judged: the computer did other things",
            (true, true) => "kept",
            (true, false) => "MISSED",
        };
        println!("pod to pod over node to node, {what}: {ratio} (bar: {bar}, {verdict})");
        kept &= ratio.median >= bar || !judged;
    };
    println!();
    bar("Gbit/s, 1 stream", |r| r.one, BAR, quiet);
    bar("Gbit/s, 8 streams", |r| r.eight, BAR, quiet);
    bar("GB per CPU-second, 8 streams", |r| 1.0 / r.all_cpu, BAR, true);
    bar(
        "GB per CPU-second of the computer",
        |r| 1.0 / r.computer_cpu,
        BAR,
        quiet,
    );
    bar("B per read, 1 stream", |r| r.super_packet, UNCUT, true);
    // how much each of several streams has to send at once is the computer's matter too
    bar("B per read, 8 streams", |r| r.super_packet_eight, UNCUT, quiet);
    kept
}
