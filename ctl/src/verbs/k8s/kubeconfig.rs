//! `meshctl k8s kubeconfig`

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::{facts, k3s};
use crate::cli::Global;
use crate::failure::Failure;
use crate::files::failed;

/// The administrator's, as kubeadm makes it: it leads to the endpoint, so it is right on every machine of the mesh.
const ADMIN: &str = "/etc/kubernetes/admin.conf";

/// Print the administrator's kubeconfig, which is right on every machine of the mesh. On a control plane.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ssh n1 sudo meshctl k8s kubeconfig > ~/.kube/config")]
pub struct Kubeconfig {}

#[derive(Serialize)]
struct Answer {
    kubeconfig: String,
}

impl Kubeconfig {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        if k3s::is_here() {
            return by_k3s(global).await;
        }
        let text = fs::read_to_string(ADMIN).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Failure::failed(format!(
                "there is no {ADMIN}: this machine is no control plane; run it on one"
            )),
            _ => failed("read", Path::new(ADMIN), &error),
        })?;
        let answer = Answer { kubeconfig: text };
        global
            .output()
            .answer(&answer, |answer| answer.kubeconfig.clone())
    }
}

/// k3s' own leads to its server; as it is printed it leads to the endpoint.
async fn by_k3s(global: &Global) -> Result<(), Failure> {
    let network = facts::network(global, None).await?;
    let endpoint = facts::ground(&network).map(|ground| ground.endpoint().to_string());
    let kubeconfig = endpoint.and_then(|endpoint| k3s::kubeconfig(&endpoint));
    let kubeconfig = kubeconfig.ok_or_else(|| {
        Failure::failed(format!(
            "there is no {}: this machine is no control plane; run it on one",
            k3s::ADMIN
        ))
    })?;
    let answer = Answer { kubeconfig };
    global
        .output()
        .answer(&answer, |answer| answer.kubeconfig.clone())
}
