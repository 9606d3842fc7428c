//! The parts of a run, each in a world of its own.

use std::time::{Duration, Instant};

use meshd_tests::World;
use meshd_tests::measure::spread::short;
use meshd_tests::measure::usage;

use crate::aead::{self, RAW_AEAD};
use crate::beds::{self, Bed, MESHD, PROGRAMS, Shape, TOLD};
use crate::checked;
use crate::figures::FIGURES;
use crate::options::Options;
use crate::results::{Results, Values};
use crate::rounds::{CROWD, HUB, Measure, PAIR};

/// Machines around the hub.
const SPOKES: usize = 8;
/// The word for a program with many peers.
const PEERS: &str = "peers";
/// The word for a stream whose every byte is checked, and its bytes.
const CHECKED: &str = "checked";
const CHECKED_BYTES: u64 = 10_000_000_000;
/// Programs to start for each round: fewer than the others have.
const HUB_ROUNDS: usize = 3;
const PODS: [&str; 2] = ["pod1", "pod8"];
/// How many peers, whether only a full run has so many, and what its figures are called, in the order of [`CROWD`]'s keys and memory.
const CROWDS: [(usize, bool, [&str; 4]); 3] = [
    (10, true, ["tcp1_cpu_10", "udp64_us_10", "rss_10", "rss_peak_10"]),
    (
        100,
        false,
        ["tcp1_cpu_100", "udp64_us_100", "rss_100", "rss_peak_100"],
    ),
    (
        1000,
        false,
        ["tcp1_cpu_1000", "udp64_us_1000", "rss_1000", "rss_peak_1000"],
    ),
];

/// What `--only` calls the programs.
pub fn programs() -> Vec<&'static str> {
    PROGRAMS.to_vec()
}

/// And the measures.
pub fn measures() -> Vec<&'static str> {
    let all = PAIR.iter().chain(&HUB).map(|measure| measure.name);
    all.chain([PEERS, CHECKED]).collect()
}

/// So many figures fit into a line of progress.
const FEW: usize = 4;

/// A run under way.
pub struct Run<'a> {
    /// What was asked for.
    pub options: &'a Options,
    /// What was measured so far.
    pub results: Results,
    /// When it began.
    pub begin: Instant,
}

impl Run<'_> {
    /// Two machines.
    pub fn pair(&mut self) {
        let shape = Shape {
            spokes: 1,
            idle: 0,
            pods: PODS.iter().any(|name| self.measures(name)),
        };
        self.rounds(&PAIR, shape, self.options.rounds);
    }

    /// A hub and eight machines around it.
    pub fn hub(&mut self) {
        let shape = Shape {
            spokes: SPOKES,
            idle: 0,
            pods: false,
        };
        let rounds = if self.options.full {
            self.options.rounds
        } else {
            self.options.rounds.min(HUB_ROUNDS)
        };
        self.rounds(&HUB, shape, rounds);
    }

    /// Two machines, and many peers of the hub with nobody behind them. One bed at a time: it is idle memory that counts.
    pub fn crowds(&mut self) {
        if !self.measures(PEERS) {
            return;
        }
        for (peers, long, keys) in CROWDS {
            if long && !self.options.full {
                continue;
            }
            for name in self.wanted().into_iter().filter(|name| TOLD.contains(name)) {
                let shape = Shape {
                    spokes: 1,
                    idle: peers - 1,
                    pods: false,
                };
                let world = World::new();
                let Some(bed) = beds::build(&world, name, shape) else {
                    continue;
                };
                let measured = take(&bed, &CROWD, self.options.time);
                let of = |key: &str| measured.get(key).copied();
                let memory = [Some(bed.idle_memory), Some(bed.peak_memory())];
                let found = [of("crowd_cpu"), of("crowd_us")].into_iter().chain(memory);
                let values: Values = keys
                    .into_iter()
                    .zip(found)
                    .filter_map(|(key, value)| Some((key, value?)))
                    .collect();
                self.add(name, &format!("{peers} peers"), values);
            }
        }
    }

    /// Whether everything arrives right through meshd: in a full run, or where it is asked for.
    pub fn checked(&mut self) {
        let named = self.options.only.iter().any(|word| word == CHECKED);
        if !(self.options.full && self.measures(CHECKED) || named) || !self.wanted().contains(&MESHD) {
            return;
        }
        let world = World::new();
        let shape = Shape {
            spokes: 1,
            idle: 0,
            pods: false,
        };
        if let Some(bed) = beds::build(&world, MESHD, shape) {
            let values = checked::check(&bed, CHECKED_BYTES);
            self.add(MESHD, "checked", values);
        }
    }

    /// So many rounds of what is wanted of `measures`.
    fn rounds(&mut self, measures: &[Measure], shape: Shape, rounds: usize) {
        let wanted: Vec<Measure> = measures
            .iter()
            .copied()
            .filter(|measure| self.measures(measure.name))
            .collect();
        if wanted.is_empty() {
            return;
        }
        let world = World::new();
        let names = self.wanted().into_iter();
        let beds: Vec<Bed> = names
            .filter_map(|name| beds::build(&world, name, shape))
            .collect();
        for number in 1..=rounds {
            self.results.others.push(usage::others() / usage::processors());
            for bed in &beds {
                let mut values = take(bed, &wanted, self.options.time);
                if shape.spokes == 1 && !bed.agents.is_empty() {
                    values.extend([("rss_idle", bed.idle_memory), ("rss_peak", bed.peak_memory())]);
                }
                self.add(bed.name, &format!("round {number} of {rounds}"), values);
            }
            if shape.spokes == 1 && self.measures("tcp1") {
                self.add(
                    RAW_AEAD,
                    &format!("round {number} of {rounds}"),
                    aead::measure(self.options.time / 4),
                );
            }
        }
    }

    /// Keeps what was measured, and says so.
    fn add(&mut self, program: &str, when: &str, values: Values) {
        let few = values.len() <= FEW;
        let told = FIGURES
            .iter()
            .filter(|figure| figure.shown || few)
            .filter_map(|figure| {
                let value = values.get(figure.key)?;
                Some(format!("{} {}", figure.key, short(*value)))
            });
        let told: Vec<String> = told.collect();
        eprintln!(
            "{:4.0} s, {when}, {program}: {}",
            self.begin.elapsed().as_secs_f64(),
            told.join(", ")
        );
        self.results.add(program, values);
    }

    /// The programs that are meant.
    fn wanted(&self) -> Vec<&'static str> {
        let mut programs = programs();
        programs.retain(|name| self.options.wants(name, &PROGRAMS));
        programs
    }

    fn measures(&self, name: &str) -> bool {
        self.options.wants(name, &measures())
    }
}

fn take(bed: &Bed, measures: &[Measure], time: Duration) -> Values {
    let mut values = Values::new();
    for measure in measures {
        measure.take(bed, time, &mut values);
    }
    values
}
