//! What meshctl made on this machine: its files, and how far it came.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use meshd_core::cluster::{FOLDER, File, Flavor, Role};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::Failure;
use crate::files::{failed, replace};

/// Name of the file that says how far it came.
const STATE: &str = "state.json";

/// A file of no text, gone with the next start of the machine.
const LOCK: &str = "/run/meshctl-k8s.lock";

/// How far this machine is in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// `kubeadm` or `k3s`.
    pub flavor: String,
    /// `control-plane` or `worker`.
    pub role: String,
    /// The mesh network.
    pub network: String,
    /// What the cluster calls this machine.
    pub node: String,
    /// Whether kubeadm, or k3s, came to its end.
    pub done: bool,
}

/// A role's name.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::ControlPlane => "control-plane",
        Role::Worker => "worker",
    }
}

/// A flavor's name.
pub fn flavor_name(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::Kubeadm => "kubeadm",
        Flavor::K3s => "k3s",
    }
}

impl Made {
    /// Writes it down.
    pub fn write(&self) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Failure::failed(e.to_string()))?;
        replace(&state(), format!("{text}\n").as_bytes(), 0o644)
    }

    /// A sentence against doing something else than what was begun.
    pub fn must_be(&self, flavor: Flavor, role: Role, network: &str) -> Result<(), Failure> {
        let same = self.flavor == flavor_name(flavor) && self.role == role_name(role);
        match same && self.network == network {
            true => Ok(()),
            false => Err(Failure::failed(format!(
                "this machine is a {} of the cluster in \"{}\" ({}) already: run `meshctl k8s reset` first, which takes it out",
                self.role, self.network, self.flavor
            ))),
        }
    }
}

/// So that no two make or take away a cluster here at once: held by meshctl and, as its stdin, by the kubeadm that it starts, which may
/// outlive it.
#[derive(Debug)]
pub struct Lock(fs::File);

impl Lock {
    /// Takes it; an error where somebody else has it.
    pub fn take() -> Result<Self, Failure> {
        let path = Path::new(LOCK);
        let opened = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let file = opened.map_err(|error| failed("open", path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(fs::TryLockError::WouldBlock) => Err(Failure::failed(
                "another `meshctl k8s`, or the kubeadm that it started, is still at work on this machine: wait until it ended",
            )),
            Err(fs::TryLockError::Error(error)) => Err(failed("lock", path, &error)),
        }
    }

    /// For a program that is to hold it as well.
    pub fn shared(&self) -> std::io::Result<fs::File> {
        self.0.try_clone()
    }
}

/// What was made here before, where something was.
pub fn read() -> Option<Made> {
    serde_json::from_slice(&fs::read(state()).ok()?).ok()
}

/// Writes the files, each whole.
pub fn write(files: &[File]) -> Result<(), Failure> {
    for file in files {
        replace(
            Path::new(&file.path),
            yaml(&file.documents)?.as_bytes(),
            file.mode,
        )?;
    }
    Ok(())
}

/// Takes our files away, also where there are none.
pub fn remove() -> Result<(), Failure> {
    match fs::remove_dir_all(FOLDER) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", Path::new(FOLDER), &error)),
        _ => Ok(()),
    }
}

/// The documents of a file as text.
pub fn yaml(documents: &[Value]) -> Result<String, Failure> {
    let mut text = String::new();
    for document in documents {
        let yaml = serde_saphyr::to_string(document);
        text += "---\n";
        text += &yaml
            .map_err(|error| Failure::failed(format!("a setting cannot be written as YAML: {error}")))?;
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok(text)
}

fn state() -> PathBuf {
    Path::new(FOLDER).join(STATE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_reads_as_what_was_meant() {
        let documents = [
            json!({"kind": "A", "text": ["0.0.0.0:10256", "24h0m0s", "true", "1e3", "1:2", "", " x", "a: b", "#c", "012", "~"]}),
            json!([{"op": "add", "path": "/spec/containers/0/command/-", "value": "--bind-address=10.77.0.2"}]),
            json!({"n": 3, "b": false, "none": null, "list": [], "map": {}, "nested": {"deep": [{"a": [1, 2]}]}}),
        ];
        let text = yaml(&documents).unwrap();
        let read: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert_eq!(read, documents, "{text}");
    }
}
