//! What one round measured, and how it is told.

use std::process::ExitCode;

use meshd_tests::measure::spread::{Spread, short};
use serde_json::{Map, Value, json};

/// The two, in the order in which they are measured.
pub const NAMES: [&str; 2] = ["expose", "haproxy"];
/// What `expose` has of HAProxy's throughput, at least.
const BAR: f64 = 0.8;

/// What was done in a time, and what it cost the proxy.
#[derive(Clone, Copy)]
pub struct Work {
    /// Bytes, or connections.
    pub done: f64,
    pub seconds: f64,
    pub cpu: f64,
}

impl Work {
    fn mbit(&self) -> f64 {
        self.done * 8.0 / 1e6 / self.seconds
    }

    fn cpu_per_gb(&self) -> f64 {
        self.cpu / (self.done / 1e9)
    }
}

/// What one round measured of one of them.
#[derive(Clone, Copy)]
pub struct Measured {
    /// Node to clients.
    pub outward: Work,
    /// Clients to node.
    pub inward: Work,
    /// Short connections.
    pub short: Work,
}

type Figure = fn(&Measured) -> f64;

/// What is told, and whether it is throughput, held against the bar.
const FIGURES: [(&str, bool, Figure); 6] = [
    ("Mbit/s from the node", true, |m| m.outward.mbit()),
    ("Mbit/s to the node", true, |m| m.inward.mbit()),
    ("short connections/s", true, |m| m.short.done / m.short.seconds),
    ("CPU-s/GB from the node", false, |m| m.outward.cpu_per_gb()),
    ("CPU-s/GB to the node", false, |m| m.inward.cpu_per_gb()),
    ("CPU-ms per short connection", false, |m| {
        m.short.cpu * 1000.0 / m.short.done
    }),
];

impl Measured {
    /// One line for one round.
    pub fn report(&self, who: &str, round: u64) {
        let values: Vec<String> = FIGURES
            .iter()
            .map(|(what, _, value)| format!("{what} {}", short(value(self))))
            .collect();
        println!("round {round}: {who}: {}", values.join(", "));
    }
}

/// Both over all rounds, and what compares them; into `file`, too.
pub fn conclude(all: &[Vec<Measured>; 2], file: Option<&str>) -> ExitCode {
    let mut told = Map::new();
    let mut good = true;
    println!(
        "median (least-most) of {} rounds: {} | {}",
        all[0].len(),
        NAMES[0],
        NAMES[1]
    );
    for (what, is_throughput, value) in FIGURES {
        let [own, other] = [0, 1].map(|which: usize| Spread::of(all[which].iter().map(value)));
        let ratio = own.median / other.median;
        println!("  {what}: {own} | {other} | {ratio:.2} x");
        good &= !is_throughput || ratio >= BAR;
        let one = json!({ NAMES[0]: own.json(), NAMES[1]: other.json(), "ratio": (ratio * 1000.0).round() / 1000.0 });
        told.insert(what.to_owned(), one);
    }
    if let Some(file) = file {
        let text = serde_json::to_string_pretty(&Value::Object(told)).expect("plain values");
        std::fs::write(file, text + "\n").expect("the file is writable");
    }
    match good {
        true => ExitCode::SUCCESS,
        false => {
            eprintln!("expose has less than {BAR} of HAProxy's throughput");
            ExitCode::FAILURE
        }
    }
}
