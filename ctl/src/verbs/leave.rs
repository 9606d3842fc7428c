//! `meshctl leave`

use clap::Args;
use meshd_api::local::{Done, LeaveRequest};

use crate::cli::{Global, label};
use crate::failure::Failure;
use crate::local::Local;

/// Leave a network for good.
///
/// The others are told; interface, routes, names and this machine's keys for the network go. To come back it joins anew.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl leave prod")]
pub struct Leave {
    /// The network
    #[arg(value_name = "NETWORK", value_parser = label)]
    network: String,
    /// Although pods are connected through it here: they are disconnected
    #[arg(long)]
    force: bool,
}

impl Leave {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let request = LeaveRequest {
            network: self.network,
            force: self.force,
        };
        let done: Done = Local::connect(&global.socket)
            .await?
            .post("leave", &request)
            .await?;
        global
            .output()
            .answer(&done, |done| format!("{}\n", done.message))
    }
}
