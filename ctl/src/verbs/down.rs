//! `meshctl down`

use clap::Args;
use meshd_api::local::Done;

use crate::cli::Global;
use crate::failure::Failure;
use crate::local::Local;

/// Take interfaces, routes and names away; nothing is forgotten.
///
/// The machine stays a member of its networks; `meshctl up`, or a restart of meshd, brings them back.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl down")]
pub struct Down {}

impl Down {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let done: Done = Local::connect(&global.socket).await?.post("down", &()).await?;
        global
            .output()
            .answer(&done, |done| format!("{}\n", done.message))
    }
}
