//! `meshctl cni credentials`

use std::fs;
use std::path::PathBuf;

use clap::Args;
use meshd_api::local::{Done, KubeCredentials};
use zeroize::Zeroizing;

use crate::cli::{Global, label};
use crate::failure::Failure;
use crate::local::Local;

/// Let meshd watch the cluster's API server, by a kubeconfig.
///
/// meshd keeps a copy, in its state folder. Files that it names (tokenFile, certificates) stay where they are and are
/// read again and again; where the kubeconfig itself changes, run this again. It should be that of the ServiceAccount in
/// /usr/share/meshd/kubernetes/rbac.yaml, which may read what meshd needs and nothing else.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl cni credentials --kubeconfig /root/meshd.kubeconfig")]
pub struct Credentials {
    /// The kubeconfig; its current context counts
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// The mesh network [default: the only one that has prefixes for pods]
    #[arg(long, value_name = "NAME", value_parser = label)]
    network: Option<String>,
}

impl Credentials {
    /// Does it; what to tell.
    pub async fn run(self, global: &Global) -> Result<String, Failure> {
        let file = &self.kubeconfig;
        let unreadable =
            |error: std::io::Error| Failure::failed(format!("cannot read {}: {error}", file.display()));
        let text = Zeroizing::new(fs::read_to_string(file).map_err(unreadable)?);
        let absolute = fs::canonicalize(file).map_err(unreadable)?;
        let folder = absolute.parent().unwrap_or_else(|| "/".as_ref());
        let request = KubeCredentials {
            network: self.network,
            kubeconfig: text.to_string(),
            folder: folder.to_string_lossy().into_owned(),
        };
        let mut meshd = Local::connect(&global.socket).await?;
        let done: Done = meshd.post("kube/credentials", &request).await?;
        Ok(done.message)
    }
}
