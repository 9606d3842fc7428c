//! Ending what a test left behind: processes that carry the lab's mark in their environment or have a lab's folder mounted, and
//! the labs' folders.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::k8s::cgroups;

/// The variable that marks every process of the lab; its value is `RUNNER-NUMBER`, the lab's id.
pub const MARK: &str = "MESHD_LAB";

/// The folder that holds a lab's machines: `/tmp/meshd-lab-RUNNER-NUMBER`.
pub fn folder(id: &str) -> PathBuf {
    std::env::temp_dir().join(format!("meshd-lab-{id}"))
}

/// Kills every process marked with the lab `id` and removes its folder (kept where `MESHD_LAB_KEEP` is set).
pub fn lab(id: &str) {
    kill_where(|mark| mark == id);
    cgroups::remove(|lab| lab == id);
    if std::env::var_os("MESHD_LAB_KEEP").is_none() {
        let _ = fs::remove_dir_all(folder(id));
    }
}

/// Ends what test runners that are dead by now left behind.
pub fn stale() {
    kill_where(|mark| !runner_lives(mark));
    cgroups::remove(|lab| !runner_lives(lab));
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(id) = name.strip_prefix("meshd-lab-")
            && !runner_lives(id)
            && std::env::var_os("MESHD_LAB_KEEP").is_none()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn runner_lives(id: &str) -> bool {
    let runner = id
        .split('-')
        .next()
        .and_then(|pid| pid.parse().ok())
        .and_then(Pid::from_raw);
    runner.is_some_and(|pid| test_kill_process(pid).is_ok())
}

/// Kills each process whose mark satisfies `wanted`. The runner itself carries none.
fn kill_where(wanted: impl Fn(&str) -> bool) {
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
            .and_then(Pid::from_raw);
        let Some(pid) = pid else { continue };
        if mark_of(&entry.path()).is_some_and(|mark| wanted(&mark)) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// The lab that a process belongs to: by its environment, else (where that was cleared) by the folder that it has mounted.
fn mark_of(process: &Path) -> Option<String> {
    let environment = fs::read(process.join("environ")).ok()?;
    let prefix = format!("{MARK}=");
    let lines = environment.split(|byte| *byte == 0);
    let marked = lines
        .filter_map(|line| line.strip_prefix(prefix.as_bytes()))
        .next();
    if let Some(mark) = marked {
        return Some(String::from_utf8_lossy(mark).into_owned());
    }
    let mounts = fs::read_to_string(process.join("mountinfo")).ok()?;
    let (_, folder) = mounts.split_once("/meshd-lab-")?;
    Some(folder.split(['/', ' ']).next()?.to_owned())
}
