//! What `kubeadm reset` leaves: the node's object in the cluster, and the rules of kube-proxy and the kubelet in the kernel.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use meshd_core::cluster::{FOLDER, without_kube_proxy};

use crate::failure::Failure;
use crate::files::{failed, replace};

/// With it a control plane may take nodes away; a worker's kubelet may not, not even its own.
const ADMIN: &str = "/etc/kubernetes/admin.conf";
/// What saves rules, and what restores them, for each IP version.
const IPTABLES: [(&str, &str); 2] = [
    ("iptables-save", "iptables-restore"),
    ("ip6tables-save", "ip6tables-restore"),
];

/// Keeps what [`delete_node`] needs, in meshctl's own folder, which goes last: kubeadm takes the original away, and needs the node's object
/// itself to take the machine's member out of etcd.
pub fn keep_credentials() -> Result<(), Failure> {
    match fs::read(ADMIN) {
        Ok(config) => replace(&kept(), &config, 0o600),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("read", Path::new(ADMIN), &error)),
    }
}

fn kept() -> PathBuf {
    Path::new(FOLDER).join("admin.conf")
}

/// Takes the node's object away, where this machine may; else says who can.
pub fn delete_node(name: &str) -> Option<String> {
    let by_hand = |why: &str| {
        Some(format!(
            "{why}: run `kubectl delete node {name}` on a control plane that is left, if there is one"
        ))
    };
    let kept = kept();
    if !kept.exists() {
        return by_hand(&format!("the cluster still lists {name}"));
    }
    let config = format!("--kubeconfig={}", kept.display());
    let arguments = [
        config.as_str(),
        "--request-timeout=10s",
        "delete",
        "node",
        name,
        "--ignore-not-found",
        "--wait=false",
    ];
    match output("kubectl", &arguments) {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            let why = why.lines().last().unwrap_or_default().trim();
            by_hand(&format!(
                "the cluster still lists {name}, and etcd perhaps its member, for no API server did as it was asked ({why})"
            ))
        }
        Err(why) => by_hand(&format!(
            "the cluster still lists {name}, for kubectl was not started ({why})"
        )),
    }
}

/// Takes the rules away; gives a sentence for each that could not be.
pub fn remove_rules() -> Vec<String> {
    let mut notes = Vec::new();
    for (save, restore) in IPTABLES {
        // where the program is not, kube-proxy made no rules by it
        let Ok(saved) = output(save, &[]) else { continue };
        let saved = String::from_utf8_lossy(&saved.stdout);
        let Some(script) = without_kube_proxy(&saved) else {
            continue;
        };
        if let Err(why) = fed(restore, &["--noflush"], &script) {
            notes.push(format!(
                "chains of kube-proxy are left (`{save} | grep KUBE-` shows them): {restore} says: {why}"
            ));
        }
    }
    let tables = output("nft", &["list", "tables"]).map(|output| output.stdout);
    let tables = String::from_utf8_lossy(&tables.unwrap_or_default()).into_owned();
    for family in ["ip", "ip6"] {
        if !tables
            .lines()
            .any(|line| line.trim() == format!("table {family} kube-proxy"))
        {
            continue;
        }
        match output("nft", &["delete", "table", family, "kube-proxy"]) {
            Ok(output) if output.status.success() => {}
            _ => notes.push(format!(
                "rules of kube-proxy are left: `nft delete table {family} kube-proxy` takes them away"
            )),
        }
    }
    notes
}

fn output(program: &str, arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
}

fn fed(program: &str, arguments: &[&str], input: &str) -> Result<(), String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut stdin = child.stdin.take();
    // what it does not read it says at its end
    let _ = stdin.as_mut().map(|stdin| stdin.write_all(input.as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
