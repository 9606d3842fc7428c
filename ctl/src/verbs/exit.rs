//! `meshctl exit use`

use clap::{Args, Subcommand};
use meshd_api::local::{Done, ExitRequest};

use crate::cli::{Global, OfNetwork, label};
use crate::failure::Failure;
use crate::local::Local;

/// Exit nodes.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  meshctl exit use gw1")]
#[allow(missing_docs, reason = "a doc comment here would replace the verb's own help")]
pub enum Exit {
    Use(Use),
}

/// Send everything that has no better way through an exit node, or through this machine's own uplink again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl exit use gw1
  meshctl exit use gw1 gw2  gw2 where gw1 is not well
  meshctl exit use none     the machine's own uplink again")]
pub struct Use {
    /// Names or ids of exit nodes, the one to use first at the front; or none
    #[arg(value_name = "NODE", value_parser = label, required = true)]
    nodes: Vec<String>,
    #[command(flatten)]
    network: OfNetwork,
}

impl Exit {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let Self::Use(Use { nodes, network }) = self;
        let request = ExitRequest {
            network: network.into(),
            nodes,
        };
        let mut meshd = Local::connect(&global.socket).await?;
        let done: Done = meshd.post("exit", &request).await?;
        global
            .output()
            .answer(&done, |done| format!("{}\n", done.message))
    }
}
