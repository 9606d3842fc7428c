//! meshd beside other userspace tunnels, in turns, in one run: `bench/compare`.
//!
//! Every program is measured in every round, one after the other, so that what else the computer does meets all of them. `beds` says
//! what is compared, `rounds` what is measured, `bars` what is to be kept, `report` how it is told. Exits 1 where a bar is missed.

mod bars;
mod beds;
mod figures;
mod options;
mod report;
mod results;
mod rounds;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use meshd_tests::World;
use meshd_tests::measure::spread::short;
use meshd_tests::measure::usage;

use beds::{Bed, PROGRAMS};
use options::{HELP, Options};
use results::{Results, Values};
use rounds::MEASURES;

fn main() -> Result<ExitCode> {
    let options = Options::parse(std::env::args().skip(1))?;
    if options.help {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    let measures = MEASURES.map(|(name, _)| name);
    options.check(&[&PROGRAMS[..], &measures].concat())?;
    let begin = Instant::now();
    let world = World::new();
    let beds = beds::build(&world, |name| options.wants(name, &PROGRAMS));
    let mut results = Results::default();
    for number in 1..=options.rounds {
        results.others.push(usage::others() / usage::processors());
        for bed in &beds {
            let values = round(bed, &options, &measures);
            eprintln!(
                "{:4.0} s, round {number} of {}: {}: {}",
                begin.elapsed().as_secs_f64(),
                options.rounds,
                bed.name,
                told(&values)
            );
            results.add(bed.name, values);
        }
    }
    let verdicts = bars::judge(&results);
    report::tell(&results, &verdicts, &options)?;
    Ok(match bars::all_kept(&verdicts) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn round(bed: &Bed, options: &Options, names: &[&str]) -> Values {
    let mut values = Values::new();
    for (name, measure) in MEASURES {
        if options.wants(name, names) {
            measure(bed, options.time, &mut values);
        }
    }
    if !bed.agents.is_empty() {
        values.insert("rss_idle", bed.idle_memory);
        values.insert("rss_peak", bed.peak_memory());
    }
    values
}

fn told(values: &Values) -> String {
    let shown = report::PANELS
        .iter()
        .filter_map(|key| Some((key, values.get(key)?)));
    let told: Vec<String> = shown
        .map(|(key, value)| format!("{key} {}", short(*value)))
        .collect();
    told.join(", ")
}
