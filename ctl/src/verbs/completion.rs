//! `meshctl completion`

use clap::{Args, ValueEnum};
use clap_complete::aot::{Shell, generate};

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output;

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl completion bash > /etc/bash_completion.d/meshctl")]
pub struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Kind,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Bash,
    Zsh,
    Fish,
}

impl Completion {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let shell = match self.shell {
            Kind::Bash => Shell::Bash,
            Kind::Zsh => Shell::Zsh,
            Kind::Fish => Shell::Fish,
        };
        let mut script = Vec::new();
        generate(shell, &mut Cli::tree(), "meshctl", &mut script);
        output::write(&script)
    }
}
