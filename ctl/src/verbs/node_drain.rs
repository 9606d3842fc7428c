//! `meshctl node remove --drain`: the cluster's side of a node that goes.
//!
//! kubectl does it. Draining is evictions, disruption budgets, daemon sets, pods that nobody manages: what a cluster's own tool says of
//! them is what its owner expects, and where there is an administrator's kubeconfig there is kubectl, too.

use std::io::stderr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::failure::Failure;
use crate::units;

/// The administrator's kubeconfig, on a control plane.
const ADMIN: &str = "/etc/kubernetes/admin.conf";

/// What becomes of the node's pods.
#[derive(Debug, Args)]
pub struct DrainArguments {
    /// First take the node's pods away by `kubectl drain`, at last its object in the cluster; a node that is not ready is not
    /// drained, as nobody there would stop its pods
    #[arg(long)]
    drain: bool,
    /// The cluster's kubeconfig [default: $KUBECONFIG, or /etc/kubernetes/admin.conf]
    #[arg(long, value_name = "FILE", requires = "drain")]
    kubeconfig: Option<PathBuf>,
    /// For how long draining may take
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration, default_value = "5m", requires = "drain")]
    drain_timeout: Duration,
}

/// A cluster that kubectl reaches.
#[derive(Debug)]
pub struct Cluster {
    kubeconfig: Option<PathBuf>,
    timeout: Duration,
}

/// What the cluster knew of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drained {
    /// It is none of the cluster's.
    #[default]
    Unknown,
    /// It was not ready: its pods are where they were.
    NotReady,
    /// No pod is there but those of daemon sets.
    Empty,
}

impl DrainArguments {
    /// The cluster, where the node is to be drained.
    pub fn cluster(&self) -> Result<Option<Cluster>, Failure> {
        if !self.drain {
            return Ok(None);
        }
        let given = self.kubeconfig.clone();
        let own = || std::env::var_os("KUBECONFIG").is_some();
        let kubeconfig = match given {
            Some(file) => Some(file),
            None if own() => None,
            None if Path::new(ADMIN).exists() => Some(ADMIN.into()),
            None => {
                return Err(Failure::usage(
                    "--drain needs the cluster's kubeconfig: `meshctl k8s kubeconfig` prints it on a control plane; give it with --kubeconfig FILE",
                ));
            }
        };
        Ok(Some(Cluster {
            kubeconfig,
            timeout: self.drain_timeout,
        }))
    }
}

impl Cluster {
    /// Takes the pods away, before anything is removed.
    ///
    /// # Errors
    /// Where the cluster does not answer, and where pods are left: the node is then cordoned, and nothing else was done.
    pub fn drain(&self, node: &str) -> Result<Drained, Failure> {
        let asked = self.kubectl(&["get", "node", node, "--ignore-not-found", "-o", "json"])?;
        if !asked.status.success() {
            let why = String::from_utf8_lossy(&asked.stderr);
            return Err(Failure::failed(format!(
                "nothing was removed: the cluster does not say whether {node} is in it: {}",
                why.trim()
            )));
        }
        let Ok(object) = serde_json::from_slice::<Value>(&asked.stdout) else {
            return Ok(Drained::Unknown);
        };
        if !is_ready(&object) {
            self.must(node, &["cordon", node])?;
            return Ok(Drained::NotReady);
        }
        let timeout = format!("--timeout={}s", self.timeout.as_secs());
        let words = [
            "drain",
            node,
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            &timeout,
        ];
        self.must(node, &words)?;
        Ok(Drained::Empty)
    }

    /// Takes the node's object away, after the node; gives the rest of a sentence.
    pub fn forget(&self, node: &str, drained: Drained) -> Result<String, Failure> {
        if drained == Drained::Unknown {
            return Ok(format!("; the cluster knew no node {node}"));
        }
        let gone = self.kubectl(&["delete", "node", node, "--ignore-not-found"])?;
        if !gone.status.success() {
            let why = String::from_utf8_lossy(&gone.stderr);
            return Err(Failure::failed(format!(
                "{node} is removed from the network, and its object is still in the cluster ({}): `kubectl delete node {node}`",
                why.trim()
            )));
        }
        Ok(match drained {
            Drained::NotReady => {
                "; it was not ready, so it was not drained, and the cluster makes its pods anew".to_owned()
            }
            _ => "; it was drained, and is none of the cluster's any more".to_owned(),
        })
    }

    fn must(&self, node: &str, words: &[&str]) -> Result<(), Failure> {
        let failed = |why: String| {
            Failure::failed(format!(
                "nothing was removed: `kubectl {}` {why}; `kubectl uncordon {node}` lets pods come again",
                words.join(" ")
            ))
        };
        let its_words = stderr().as_fd().try_clone_to_owned();
        let its_words = its_words.map_err(|error| failed(format!("was not started: {error}")))?;
        let status = self.command(words).stdout(Stdio::from(its_words)).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(failed(format!("failed ({status}); why is said above"))),
            Err(error) => Err(not_started(&error)),
        }
    }

    fn kubectl(&self, words: &[&str]) -> Result<Output, Failure> {
        let words = [words, &["--request-timeout=20s"]].concat();
        self.command(&words).output().map_err(|error| not_started(&error))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        if let Some(file) = &self.kubeconfig {
            command.arg("--kubeconfig").arg(file);
        }
        command.args(words).stdin(Stdio::null());
        command
    }
}

fn not_started(error: &std::io::Error) -> Failure {
    Failure::failed(format!(
        "kubectl cannot be started ({error}), and --drain needs it: install it here, or run this on a control plane with --relay and --admin-key-file"
    ))
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|one| one["type"] == "Ready" && one["status"] == "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_is_ready_when_it_says_so() {
        let node = |status: &str| json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
        assert!(is_ready(&node("True")));
        assert!(!is_ready(&node("Unknown")) && !is_ready(&json!({})));
    }
}
