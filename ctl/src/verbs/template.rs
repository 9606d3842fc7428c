//! `meshctl template seal`

use clap::{Args, Subcommand};
use meshd_api::local::{Done, TemplateRequest};

use super::token_source::TokenSource;
use crate::cli::Global;
use crate::failure::Failure;
use crate::local::Local;

/// Images for virtual machines.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  meshctl template seal mesh1ae4tq...")]
#[allow(missing_docs, reason = "a doc comment here would replace the verb's own help")]
pub enum Template {
    Seal(Seal),
}

/// Keep a token for the first boot of this machine's clones, without joining.
///
/// Each clone makes an identity of its own and joins by itself. Make the token with
/// `meshctl token create --template`, and shut the machine down after this.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl template seal --token-file /run/token && poweroff")]
pub struct Seal {
    #[command(flatten)]
    token: TokenSource,
}

impl Template {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let Self::Seal(seal) = self;
        let request = TemplateRequest {
            token: seal.token.read()?.to_string(),
        };
        let done: Done = Local::connect(&global.socket)
            .await?
            .post("template", &request)
            .await?;
        global
            .output()
            .answer(&done, |done| format!("{}\n", done.message))
    }
}
