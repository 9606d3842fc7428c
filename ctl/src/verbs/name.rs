//! `meshctl name free`

use clap::{Args, Subcommand};
use meshd_api::coordinator::admin::{Done, NameFree, NetworkInfo};
use meshd_core::statement::Deed;

use crate::admin::{self, Admin, AdminKey};
use crate::cli::{Global, OfNetwork, label};
use crate::failure::Failure;

/// Names of removed nodes.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  meshctl name free db1")]
#[allow(missing_docs, reason = "a doc comment here would replace the verb's own help")]
pub enum Name {
    Free(Free),
}

/// Let others take a removed node's name before its 30 days are over.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl name free db1 --network prod")]
pub struct Free {
    /// The name
    #[arg(value_parser = label)]
    name: String,
    #[command(flatten)]
    network: OfNetwork,
}

impl Name {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let Self::Free(Free { name, network }) = self;
        let mut admin = Admin::connect(global).await?;
        let network = admin.network(network.name()).await?;
        let make = |key: Option<&AdminKey>, network: &NetworkInfo| {
            let deed = Deed::FreeName { name: name.clone() };
            let statement = key.map(|key| admin::act(key, network, deed)).transpose()?;
            let name = name.clone();
            Ok((NameFree { name, statement }, ()))
        };
        let path = format!("networks/{}/names/free", network.name);
        let (done, ()): (Done, ()) = admin.post_signed(&network, &path, make).await?;
        global
            .output()
            .answer(&done, |done| format!("{}\n", done.message))
    }
}
