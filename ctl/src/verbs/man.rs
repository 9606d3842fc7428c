//! `meshctl man`

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output;

/// Print the manual page, or write one page for each verb into a folder, which is made.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  meshctl man | man -l -\n  meshctl man /usr/share/man/man1")]
pub struct Man {
    /// Write every page into this folder
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        // no page for `help join` beside the one for `join`
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        match self.dir {
            Some(dir) => std::fs::create_dir_all(&dir)
                .and_then(|()| clap_mangen::generate_to(command, &dir))
                .map_err(|e| Failure::failed(format!("{}: {e}", dir.display()))),
            None => {
                let mut page = Vec::new();
                let rendered = clap_mangen::Man::new(command).render(&mut page);
                rendered.map_err(|e| Failure::failed(e.to_string()))?;
                output::write(&page)
            }
        }
    }
}
