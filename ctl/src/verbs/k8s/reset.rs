//! `meshctl k8s reset`

use clap::Args;
use meshd_api::local::Done;

use super::{facts, k3s, kubeadm, leftovers, made, way};
use crate::cli::{Global, OfNetwork};
use crate::failure::Failure;
use crate::verbs::cni;

/// What to do where kubeadm fails.
const AGAIN: &str = "run `meshctl k8s reset` again";

/// Take this machine out of its cluster, and everything of the cluster off the machine.
///
/// A control plane's place behind the endpoint, its member of etcd and its object in the cluster go, and what is on the machine, rules of
/// kube-proxy included. What could not be done is said, and who can: a worker may not take its own object away.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kubectl drain w2 --ignore-daemonsets   on a control plane, first
  meshctl k8s reset --yes")]
pub struct Reset {
    /// Do it: without this only what would be done is said
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    network: OfNetwork,
}

impl Reset {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        if !self.yes {
            return Err(Failure::usage(
                "this ends every pod here and, on a control plane, this machine's copy of the cluster's data: add --yes",
            ));
        }
        let lock = made::Lock::take()?;
        // the mesh may be away, or left already; what is on the machine goes all the same
        let network = facts::network(global, self.network.name()).await.ok();
        let mut notes = Vec::new();
        if let Some(network) = &network
            && let Some(ground) = facts::ground(network)
        {
            match way::close(global, network, &ground).await {
                Ok(note) => notes.extend(note),
                Err(failure) => notes.push(failure.message().to_owned()),
            }
        }
        let made = made::read();
        match made.as_ref().filter(|_| k3s::is_here()) {
            Some(made) => notes.extend(k3s::reset(made)?),
            None => {
                leftovers::keep_credentials()?;
                kubeadm::run(&lock, &["reset", "--force"], AGAIN)?;
                notes.extend(made.and_then(|made| leftovers::delete_node(&made.node)));
                notes.extend(leftovers::remove_rules());
            }
        }
        if let Err(failure) = cni::Uninstall::forced().run(global).await {
            notes.push(failure.message().to_owned());
        }
        made::remove()?;
        let message = ["this machine is in no cluster any more".to_owned()]
            .into_iter()
            .chain(notes);
        let message = message.collect::<Vec<_>>().join("\n");
        global
            .output()
            .answer(&Done { message }, |done| format!("{}\n", done.message))
    }
}
