//! `meshctl exit use`

use clap::{Args, Subcommand};
use meshd_api::local::{Done, PeerRequest};

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
  meshctl exit use none     the machine's own uplink again")]
pub struct Use {
    /// Name or id of the exit node, or none
    #[arg(value_name = "NODE", value_parser = label)]
    node: String,
    #[command(flatten)]
    network: OfNetwork,
}

impl Exit {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let Self::Use(Use { node, network }) = self;
        let request = PeerRequest {
            network: network.into(),
            peer: node,
        };
        let mut meshd = Local::connect(&global.socket).await?;
        let done: Done = meshd.post("exit", &request).await?;
        global
            .output()
            .answer(&done, |done| format!("{}\n", done.message))
    }
}
