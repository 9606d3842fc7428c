//! meshctl: what a person types. Thin: it asks the meshd of this machine, or the coordinator, and says the answer.
//!
//! `cli` is the command line; `verbs` has one file for each verb; `admin` speaks with the coordinator, and signs where
//! the network's root key is kept here; `table` and `units` make what a person reads.

mod admin;
mod cli;
mod failure;
mod local;
mod output;
mod table;
mod units;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let json = cli.global.json;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(cli.run()),
        Err(e) => Err(failure::Failure::failed(format!(
            "the event loop does not start: {e}"
        ))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(json),
    }
}
