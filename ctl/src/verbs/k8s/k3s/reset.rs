//! What k3s and its pods leave on a machine, taken away.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use meshd_core::cluster::Role;
use meshd_core::cluster::k3s::CONFIG;
use serde_json::Value;

use super::service::Unit;
use super::{ADMIN, k3s, kubectl};
use crate::failure::Failure;
use crate::files::failed;
use crate::verbs::k8s::facts::in_path;
use crate::verbs::k8s::made::{Made, role_name};

/// Ends what k3s leaves running, where its installer put it.
const KILL_ALL: &str = "k3s-killall.sh";
/// What k3s, its kubelet and its runtime leave. The node's password (/etc/rancher/node) stays, as with k3s' own uninstaller: by it the
/// machine may come back under its name.
const FOLDERS: [&str; 4] = [
    "/etc/rancher/k3s",
    "/var/lib/rancher/k3s",
    "/var/lib/kubelet",
    "/run/k3s",
];

/// Takes the machine out of its cluster; gives sentences.
pub fn reset(made: &Made) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    let server = made.role == role_name(Role::ControlPlane);
    // with its node a server's member of etcd goes
    let forgotten = server && kubectl(ADMIN, &["delete", "node", &made.node, "--wait=false"]).is_some();
    let unit = Unit::of(if server { Role::ControlPlane } else { Role::Worker });
    let runtime = runtime();
    unit.stop()?;
    if in_path(KILL_ALL) {
        let killed = Command::new(KILL_ALL)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !killed.is_ok_and(|status| status.success()) {
            notes.push(format!("{KILL_ALL} failed: containers may be left running"));
        }
    } else if let Some(runtime) = runtime {
        // a runtime of its own goes on without k3s
        let endpoint = format!("--runtime-endpoint={runtime}");
        if k3s(&["crictl", &endpoint, "rmp", "--all", "--force"]).is_none() {
            notes.push(format!(
                "the pods at {runtime} could not be ended: `crictl rmp --all --force` does it"
            ));
        }
    }
    for folder in FOLDERS {
        empty(Path::new(folder))?;
    }
    if !forgotten {
        notes.push(format!(
            "run `kubectl delete node {}` on a control plane that is left, if there is one",
            made.node
        ));
    }
    Ok(notes)
}

/// The runtime that k3s was told to use, where it is not its own.
fn runtime() -> Option<String> {
    let text = fs::read_to_string(CONFIG).ok()?;
    let options: Value = serde_saphyr::from_str(&text).ok()?;
    options["container-runtime-endpoint"].as_str().map(str::to_owned)
}

/// Takes a folder away with all that is in it, but never what is mounted there and cannot be unmounted.
fn empty(folder: &Path) -> Result<(), Failure> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let below = |line: &str| {
        let place = line.split(' ').nth(1)?.replace("\\040", " ");
        (Path::new(&place) != folder && Path::new(&place).starts_with(folder)).then_some(place)
    };
    let places: Vec<String> = mounts.lines().filter_map(below).collect();
    // the last that was mounted first
    for place in places.iter().rev() {
        let unmounted = Command::new("umount").arg(place).stdin(Stdio::null()).output();
        if !unmounted.is_ok_and(|output| output.status.success()) {
            return Err(Failure::failed(format!(
                "{place} cannot be unmounted: end what uses it (`fuser -m {place}` names it) and run `meshctl k8s reset` again"
            )));
        }
    }
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| failed("read", folder, &error))?,
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let removed = match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        removed.map_err(|error| failed("remove", &path, &error))?;
    }
    // it may be a mount point itself, and then it stays
    let _ = fs::remove_dir(folder);
    Ok(())
}
