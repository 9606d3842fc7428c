//! `meshctl up`

use clap::Args;
use meshd_api::local::Done;

use crate::cli::Global;
use crate::failure::Failure;
use crate::local::Local;

/// Bring back what `meshctl down` took away.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl up")]
pub struct Up {}

impl Up {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let done: Done = Local::connect(&global.socket).await?.post("up", &()).await?;
        global
            .output()
            .answer(&done, |done| format!("{}\n", done.message))
    }
}
