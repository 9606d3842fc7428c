//! `meshctl k8s init|join|status|reset|kubeconfig|backup|restore|node-ip`
//!
//! The decisions are [`meshd_core::cluster`]'s; here facts are gathered (`facts`), files are written (`made`), kubeadm is started
//! (`kubeadm`) or k3s (`k3s`), and the endpoint that leads to the API servers is kept in step (`way`). What comes out is a plain kubeadm or k3s
//! cluster: nothing of it needs meshctl afterwards.

mod archive;
mod backup;
mod etcd;
mod facts;
mod init;
mod join;
mod k3s;
mod kubeadm;
mod kubeconfig;
mod leftovers;
mod made;
mod node_ip;
mod proceed;
mod reset;
mod restore;
mod settings;
mod status;
mod way;

use clap::Subcommand;

use crate::cli::Global;
use crate::failure::Failure;

/// A Kubernetes cluster on the mesh.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  meshctl k8s init              the first control plane; prints two words
  meshctl k8s init --flavor k3s
  meshctl k8s join meshkw1...   a worker, or another control plane
  meshctl k8s status")]
#[allow(missing_docs, reason = "a doc comment here would replace the verb's own help")]
pub enum K8s {
    Init(init::Init),
    Join(join::Join),
    Status(status::Status),
    Reset(reset::Reset),
    Kubeconfig(kubeconfig::Kubeconfig),
    Backup(backup::Backup),
    Restore(restore::Restore),
    NodeIp(node_ip::NodeIp),
}

impl K8s {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        match self {
            Self::Init(verb) => verb.run(global).await,
            Self::Join(verb) => verb.run(global).await,
            Self::Status(verb) => verb.run(global).await,
            Self::Reset(verb) => verb.run(global).await,
            Self::Kubeconfig(verb) => verb.run(global).await,
            Self::Backup(verb) => verb.run(global).await,
            Self::Restore(verb) => verb.run(global).await,
            Self::NodeIp(verb) => verb.run(global).await,
        }
    }
}
