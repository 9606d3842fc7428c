//! meshd beside other userspace tunnels, in turns, in one run: `bench/compare`.
//!
//! Every program is measured in every round, one after the other, so that what else the computer does meets all of them. `beds` says
//! what is compared, `rounds` what is measured, `parts` in which order, `bars` what is to be kept, `report` how it is told. Exits 1
//! where a bar is missed.

mod aead;
mod bars;
mod beds;
mod checked;
mod figures;
mod options;
mod parts;
mod report;
mod results;
mod rounds;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use options::{HELP, Options};
use parts::Run;
use results::Results;

fn main() -> Result<ExitCode> {
    let options = Options::parse(std::env::args().skip(1))?;
    if options.help {
        print!(
            "{HELP}\nPrograms: {}\nMeasures: {}\n",
            parts::programs().join(", "),
            parts::measures().join(", ")
        );
        return Ok(ExitCode::SUCCESS);
    }
    options.check(&[parts::programs(), parts::measures()].concat())?;
    let mut run = Run {
        options: &options,
        results: Results::default(),
        begin: Instant::now(),
    };
    run.pair();
    run.hub();
    run.crowds();
    run.checked();
    let results = run.results;
    let verdicts = bars::judge(&results);
    report::tell(&results, &verdicts, &options)?;
    Ok(match bars::all_kept(&verdicts) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
