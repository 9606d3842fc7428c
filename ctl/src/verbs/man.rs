//! `meshctl man`

use std::path::PathBuf;

use clap::Args;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output;

/// Print the manual page, or write one page for each verb into a folder.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  meshctl man | man -l -\n  meshctl man --dir /usr/share/man/man1")]
pub struct Man {
    /// Write every page into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        match self.dir {
            Some(dir) => clap_mangen::generate_to(Cli::tree(), &dir)
                .map_err(|e| Failure::failed(format!("{}: {e}", dir.display()))),
            None => {
                let mut page = Vec::new();
                let rendered = clap_mangen::Man::new(Cli::tree()).render(&mut page);
                rendered.map_err(|e| Failure::failed(e.to_string()))?;
                output::write(&page)
            }
        }
    }
}
