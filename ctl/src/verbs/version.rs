//! `meshctl version`

use clap::Args;
use meshd_api::local;
use serde::Serialize;

use crate::cli::Global;
use crate::failure::Failure;
use crate::local::Local;

/// Print the versions of meshctl and of the meshd on this machine.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl version --json")]
pub struct Version {}

/// What is installed and what runs.
#[derive(Debug, Serialize)]
struct Versions {
    /// Of this program.
    meshctl: &'static str,
    /// Of the meshd that answers; null where none does.
    meshd: Option<String>,
}

impl Version {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let running = async {
            let status: local::Status = Local::connect(&global.socket).await?.get("status").await?;
            Ok::<String, Failure>(status.version)
        };
        let versions = Versions {
            meshctl: env!("CARGO_PKG_VERSION"),
            meshd: running.await.ok(),
        };
        global.output().answer(&versions, |versions| {
            let meshd = versions.meshd.as_deref().unwrap_or("does not answer");
            format!("meshctl {}\nmeshd {meshd}\n", versions.meshctl)
        })
    }
}
