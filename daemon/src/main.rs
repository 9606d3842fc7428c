//! meshd, the node's daemon: parses its arguments and hands over to the library.

use clap::Parser;
use meshd::config::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Run(args) => meshd::run::run(args),
        Command::Clean(args) => meshd::clean::clean(args),
        Command::Hold { socket } => meshd::run::hold(&socket),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("meshd: {error:#}");
            ExitCode::FAILURE
        }
    }
}
