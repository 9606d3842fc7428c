//! What one round measured, and how it is told.

use meshd_tests::measure::spread::{Spread, short};

use crate::PAIRS;
use crate::pairs::PAYLOAD;

/// What one round measured.
#[derive(Clone, Copy, Default)]
pub struct Measured {
    pub packets: u64,
    pub seconds: f64,
    pub cpu: f64,
    pub peak_rss_kib: u64,
}

type Figure = fn(&Measured) -> f64;

/// What is told of each relay.
const FIGURES: [(&str, Figure); 6] = [
    ("packets/s", |m| m.packets as f64 / m.seconds),
    ("Gbit/s", |m| m.gigabytes() * 8.0 / m.seconds),
    ("packets per CPU-second", Measured::per_cpu_second),
    ("CPU-s/GB", |m| m.cpu / m.gigabytes()),
    ("share of the processor", |m| m.cpu / m.seconds),
    ("peak RSS, MiB", |m| m.peak_rss_kib as f64 / 1024.0),
];

impl Measured {
    fn gigabytes(&self) -> f64 {
        self.packets as f64 * PAYLOAD as f64 / 1e9
    }

    fn per_cpu_second(&self) -> f64 {
        self.packets as f64 / self.cpu
    }
}

/// Both relays' figures over all rounds, and what compares them.
pub fn conclude(own: &[Measured], coturn: &[Measured], rounds: u64) {
    for (who, all) in [("meshrelay", own), ("coturn", coturn)] {
        println!("{who}, {PAIRS} pairs, {PAYLOAD} B, median (least-most) of {rounds}:");
        for (what, value) in FIGURES {
            println!("  {what}: {}", Spread::of(all.iter().map(value)));
        }
    }
    let per_cpu = |all: &[Measured]| Spread::of(all.iter().map(Measured::per_cpu_second)).median;
    println!(
        "packets per CPU-second, meshrelay over coturn: {:.2} x",
        per_cpu(own) / per_cpu(coturn)
    );
}

/// One line for one round.
pub fn report(who: &str, round: u64, measured: Option<&Measured>) {
    let Some(m) = measured else { return };
    let values: Vec<String> = FIGURES
        .iter()
        .map(|(what, value)| format!("{what} {}", short(value(m))))
        .collect();
    println!("round {round}: {who}: {}", values.join(", "));
}
