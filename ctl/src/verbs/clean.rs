//! `meshctl clean`

use clap::Args;
use meshd_api::local::{CleanRequest, Done};

use crate::cli::Global;
use crate::failure::Failure;
use crate::local::Local;

/// Leave the machine as it was before meshd: interfaces, routes, rules, tables and names go.
///
/// Identities and networks are kept, so that `meshctl up` brings everything back; with --forget they go, too.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl clean --forget     before the package is removed")]
pub struct Clean {
    /// Also forget identities and networks; the machine must join anew
    #[arg(long)]
    forget: bool,
}

impl Clean {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let request = CleanRequest { forget: self.forget };
        let done: Done = Local::connect(&global.socket)
            .await?
            .post("clean", &request)
            .await?;
        global
            .output()
            .answer(&done, |done| format!("{}\n", done.message))
    }
}
