//! What a packet costs on aarch64: meshd's packet path beside boringtun-cli, both built by the same compiler for aarch64 and run by
//! qemu's user-mode emulation, in executed instructions.
//!
//! 1. Two machines on one LAN. On one the program that is measured, emulated, with `bench/emulation/count.c` loaded into qemu; on the
//!    other, for all of them, meshd's packet path as this computer runs it.
//! 2. The same traffic for each ([`traffic`]): so many datagrams or bytes through the tunnel, each way.
//! 3. Counted is what ran in the program while the traffic did ([`counts`]), less what it runs in as long a time without any.
//! 4. meshd is measured twice: as it is, and as on a kernel without offloads (`bench/emulation/refuse.c`).
//!
//! What the kernel does for a program is not counted; system calls are told beside. A packet of TCP is 1,356 bytes of payload, however
//! many packets they were in: acknowledgements are part of its cost.

mod counts;
mod subject;
mod table;
mod traffic;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use meshd_tests::World;

use subject::{Kind, Subject};
use table::Cell;
use traffic::WORKLOADS;

/// The bar: meshd's packet costs at most so much of boringtun-cli's.
const BAR: f64 = 0.5;
const USAGE: &str = "arm-compare PARTS [--rounds N] [--json FILE]; PARTS holds static-node, boringtun-cli, count.so, refuse.so";

/// Where everything is, and how long to measure.
struct Options {
    parts: PathBuf,
    rounds: usize,
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = options(std::env::args().skip(1))?;
    let world = World::new();
    let mut cells: Vec<Cell> = Vec::new();
    let mut offloads = Vec::new();
    for round in 1..=options.rounds {
        for kind in Kind::ALL {
            let subject = Subject::start(&world, kind, &options.parts);
            if round == 1 {
                offloads.push(subject.offloads());
            }
            let idle = subject.idle();
            for (place, workload) in WORKLOADS.iter().enumerate() {
                let cost = subject.cost(workload, &idle);
                eprintln!(
                    "round {round}: {}, {}: {:.0} instructions a packet",
                    kind.name(),
                    workload.name,
                    cost.instructions
                );
                table::note(&mut cells, kind, place, cost);
            }
        }
    }
    let report = table::Report {
        cells,
        offloads,
        bar: BAR,
    };
    report.print();
    if let Some(path) = options.json {
        let text = serde_json::to_string_pretty(&report.json())?;
        std::fs::write(&path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    if report.misses() {
        bail!("missed: meshd costs more than {BAR} of boringtun-cli");
    }
    Ok(())
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options {
        parts: arguments.next().context(USAGE)?.into(),
        rounds: 3,
        json: None,
    };
    while let Some(argument) = arguments.next() {
        let value = arguments.next().context(USAGE)?;
        match argument.as_str() {
            "--rounds" => options.rounds = value.parse().context("--rounds takes a number")?,
            "--json" => options.json = Some(value.into()),
            _ => bail!(USAGE),
        }
    }
    Ok(options)
}
