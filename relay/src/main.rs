//! The program; see the library for what it is made of.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use meshrelay::config::Settings;
use tracing_subscriber::EnvFilter;

/// Coordinator, STUN server and packet relay of a mesh
#[derive(Parser)]
#[command(name = "meshrelay", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run in the foreground; the service does this
    Run {
        /// Settings, as a TOML file; flags win over it
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        settings: Box<Settings>,
    },
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    meshrelay::store::report_damage_where_panics_abort();
    match execute(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("meshrelay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Run { config, settings } => {
            let file = config
                .map(|path| Settings::from_file(&path))
                .transpose()?
                .unwrap_or_default();
            meshrelay::run::run(&settings.over(file).validate()?)
        }
    }
}
