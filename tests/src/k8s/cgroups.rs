//! Control groups of nodes: one child per node in every v1 hierarchy, named after the lab, removed when the node is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::wait::poll;

/// Where the hierarchies are mounted.
const MOUNTS: &str = "/sys/fs/cgroup";
/// How deep under a hierarchy's root a lab's group may lie: a runner may itself be in a group of a group.
const DEPTH: usize = 5;
/// Time for the kernel to let go of groups whose processes were just killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// First part of a node's group's name; the lab's id follows, then the machine's name.
const PREFIX: &str = "meshd-lab-";

/// The name of a machine's group in every hierarchy.
pub fn name(lab: &str, machine: &str) -> String {
    format!("{PREFIX}{lab}.{machine}")
}

/// Whether the hierarchies that a kubelet needs are here (cgroup v1).
pub fn usable() -> bool {
    ["cpu", "memory", "pids", "devices"]
        .iter()
        .all(|name| Path::new(MOUNTS).join(name).join("cgroup.procs").exists())
}

/// Removes the groups of every lab whose id satisfies `wanted`. Their processes have been killed before.
pub fn remove(wanted: impl Fn(&str) -> bool) {
    remove_where(|group| lab_of(group).is_some_and(&wanted));
}

/// Removes one machine's groups.
pub fn remove_named(name: &str) {
    remove_where(|group| group.ends_with(name));
}

fn remove_where(wanted: impl Fn(&Path) -> bool) {
    for hierarchy in folders(Path::new(MOUNTS)) {
        for group in groups(&hierarchy, DEPTH) {
            if wanted(&group) {
                let _ = poll(PATIENCE, || {
                    remove_tree(&group);
                    (!group.exists()).then_some(())
                });
            }
        }
    }
}

/// The groups below `folder` that belong to labs.
fn groups(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for child in folders(folder) {
        if lab_of(&child).is_some() {
            found.push(child);
        } else if depth > 1 {
            found.extend(groups(&child, depth - 1));
        }
    }
    found
}

fn lab_of(group: &Path) -> Option<&str> {
    let name = group.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    Some(name.split_once('.')?.0)
}

/// Children first: a group with children cannot be removed, and one with processes neither.
fn remove_tree(group: &Path) {
    for child in folders(group) {
        remove_tree(&child);
    }
    let _ = fs::remove_dir(group);
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}
