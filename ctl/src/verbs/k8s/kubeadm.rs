//! kubeadm, started. What it says goes to stderr, so that stdout is the answer's.

use std::io::stderr;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use super::made::Lock;
use crate::failure::Failure;

/// The release that is here, `v1.36.3`; none where kubeadm is not.
pub fn version() -> Option<String> {
    let output = Command::new("kubeadm")
        .args(["version", "-o", "short"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && text.starts_with('v')).then(|| text.to_owned())
}

/// Runs kubeadm to its end; `again` says what to do where it fails.
pub fn run(lock: &Lock, arguments: &[&str], again: &str) -> Result<(), Failure> {
    let shown = shown(arguments);
    let failed = |why: String| Failure::failed(format!("`{shown}` {why}; {again}"));
    let its_words = stderr().as_fd().try_clone_to_owned();
    let its_words = its_words.map_err(|error| failed(format!("was not started: {error}")))?;
    let held = lock.shared();
    let held = held.map_err(|error| failed(format!("was not started: {error}")))?;
    let status = Command::new("kubeadm")
        .args(arguments)
        .stdin(Stdio::from(held))
        .stdout(Stdio::from(its_words))
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(format!("failed ({status}); why is said above"))),
        Err(error) => Err(failed(format!("was not started: {error}"))),
    }
}

/// As a person would type it.
pub fn shown(arguments: &[&str]) -> String {
    format!("kubeadm {}", arguments.join(" "))
}
