//! meshctl: what a person types. Thin: it asks the meshd of this machine, or the coordinator, and says the answer.
//!
//! `cli` is the command line; `verbs` has one file for each verb; `admin` speaks with the coordinator, and signs where
//! the network's root key is kept here; `table` and `units` make what a person reads; `files` writes what other programs
//! read.

mod admin;
mod cli;
mod failure;
mod files;
mod local;
mod output;
mod table;
mod units;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(refused) => return tell_usage(&refused),
    };
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

/// Help and version on stdout; what is wrong with the command line on stderr, as JSON where that was asked for.
fn tell_usage(refused: &clap::Error) -> ExitCode {
    let asked_for_json = std::env::args_os().any(|word| word == "--json");
    if asked_for_json && refused.use_stderr() {
        let text = refused.render().to_string();
        let sentence = text.trim_start_matches("error: ").split("\n\n").next();
        let words: Vec<&str> = sentence.unwrap_or_default().split_whitespace().collect();
        return failure::Failure::usage(words.join(" ")).tell(true);
    }
    refused.exit()
}
