//! What came of it: a table, JSON, and whether the bar is kept.

use serde_json::{Value, json};

use crate::counts::Counts;
use crate::subject::Kind;
use crate::traffic::WORKLOADS;

/// ring's ChaCha20-Poly1305 for ARMv8, which is all NEON, as its assembler sources name it behind a prefix.
const RING: [&str; 2] = ["__chacha20_poly1305_seal", "__chacha20_poly1305_open"];
/// What would be a portable one: ring's own, RustCrypto's crates.
const PORTABLE: [&str; 4] = ["ChaCha20_ctr32", "16chacha20poly1305", "8chacha20", "8poly1305"];
const PERCENT: f64 = 100.0;

/// Of one packet.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub instructions: f64,
    pub system_calls: f64,
    /// Instructions in ring's assembler, and the vector instructions of these.
    pub aead: f64,
    pub aead_vector: f64,
    /// Instructions in portable code that does the same.
    pub portable: f64,
}

impl Cost {
    pub fn of(counts: &Counts) -> Self {
        let aead = counts.of(&RING);
        Self {
            instructions: counts.instructions(),
            system_calls: counts.system_calls,
            aead: aead.instructions,
            aead_vector: aead.vector,
            portable: counts.of(&PORTABLE).instructions,
        }
    }
}

/// All rounds of one program under one workload.
pub struct Cell {
    kind: Kind,
    workload: usize,
    costs: Vec<Cost>,
}

/// Adds a round.
pub fn note(cells: &mut Vec<Cell>, kind: Kind, workload: usize, cost: Cost) {
    let found = cells
        .iter_mut()
        .find(|cell| cell.kind == kind && cell.workload == workload);
    match found {
        Some(cell) => cell.costs.push(cost),
        None => cells.push(Cell {
            kind,
            workload,
            costs: vec![cost],
        }),
    }
}

impl Cell {
    /// Median, least and most.
    fn spread(&self, value: impl Fn(&Cost) -> f64) -> [f64; 3] {
        let mut all: Vec<f64> = self.costs.iter().map(value).collect();
        all.sort_by(f64::total_cmp);
        [all[all.len() / 2], all[0], all[all.len() - 1]]
    }

    fn median(&self, value: impl Fn(&Cost) -> f64) -> f64 {
        self.spread(value)[0]
    }
}

pub struct Report {
    pub cells: Vec<Cell>,
    pub offloads: Vec<String>,
    pub bar: f64,
}

impl Report {
    fn cell(&self, kind: Kind, workload: usize) -> &Cell {
        let mut cells = self.cells.iter();
        cells
            .find(|cell| cell.kind == kind && cell.workload == workload)
            .expect("all are measured")
    }

    fn ratio(&self, kind: Kind, workload: usize) -> f64 {
        let cost = |kind| self.cell(kind, workload).median(|cost| cost.instructions);
        cost(kind) / cost(Kind::Boringtun)
    }

    /// The same without the AEAD, which is ring's in both.
    fn ratio_around(&self, kind: Kind, workload: usize) -> f64 {
        let cost = |kind| {
            self.cell(kind, workload)
                .median(|cost| cost.instructions - cost.aead)
        };
        cost(kind) / cost(Kind::Boringtun)
    }

    /// Whether meshd, with offloads, costs more than the bar somewhere.
    pub fn misses(&self) -> bool {
        (0..WORKLOADS.len()).any(|workload| self.ratio(Kind::Meshd, workload) > self.bar)
    }

    pub fn print(&self) {
        for line in &self.offloads {
            println!("{line}");
        }
        println!(
            "\n{:<16} {:<19} {:>28} {:>7} {:>7} {:>7} {:>9} {:>8} {:>8}",
            "workload",
            "program",
            "instructions/packet",
            "ratio",
            "w/o AEAD",
            "AEAD",
            "vector",
            "portable",
            "syscalls"
        );
        for (place, workload) in WORKLOADS.iter().enumerate() {
            for kind in Kind::ALL {
                let cell = self.cell(kind, place);
                let [median, least, most] = cell.spread(|cost| cost.instructions);
                let vector = cell.median(|cost| cost.aead_vector / cost.aead * PERCENT);
                println!(
                    "{:<16} {:<19} {median:>10.0} ({least:.0}-{most:.0}){:>3} {:>7.2} {:>7.2} {:>7.0} {vector:>8.0}% {:>8.0} {:>8.2}",
                    workload.name,
                    kind.name(),
                    "",
                    self.ratio(kind, place),
                    self.ratio_around(kind, place),
                    cell.median(|cost| cost.aead),
                    cell.median(|cost| cost.portable),
                    cell.median(|cost| cost.system_calls),
                );
            }
        }
        let missed = if self.misses() { "missed" } else { "kept" };
        println!("\nthe bar, meshd at most {} of boringtun-cli: {missed}", self.bar);
    }

    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .cells
            .iter()
            .map(|cell| {
                let [median, least, most] = cell.spread(|cost| cost.instructions);
                json!({
                    "workload": WORKLOADS[cell.workload].name,
                    "program": cell.kind.name(),
                    "instructions": {"median": median, "least": least, "most": most},
                    "of_boringtun_cli": self.ratio(cell.kind, cell.workload),
                    "of_boringtun_cli_without_aead": self.ratio_around(cell.kind, cell.workload),
                    "aead": cell.median(|cost| cost.aead),
                    "aead_vector": cell.median(|cost| cost.aead_vector),
                    "portable_cipher": cell.median(|cost| cost.portable),
                    "system_calls": cell.median(|cost| cost.system_calls),
                })
            })
            .collect();
        json!({ "offloads": self.offloads, "bar": self.bar, "missed": self.misses(), "rows": rows })
    }
}
