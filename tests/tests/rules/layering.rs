//! Binaries know core, net and api; these three know nothing of one another; the core knows no system.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::sources::top;

/// Crates through which a socket, file, clock or thread could come into the core.
const SYSTEM_CRATES: [&str; 12] = [
    "tokio",
    "libc",
    "rustix",
    "nix",
    "axum",
    "hyper",
    "rtnetlink",
    "netlink-sys",
    "redb",
    "rustls",
    "tracing-subscriber",
    "mio",
];
const LIBRARIES: [&str; 3] = ["meshd-core", "meshd-net", "meshd-api"];

/// Package name -> the crates that its manifest names outside of dev-dependencies.
fn direct_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(top())
        .output()
        .expect("cargo metadata runs");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            let names = dependencies
                .iter()
                .filter(|dependency| dependency["kind"] != "dev")
                .map(|dependency| dependency["name"].as_str().expect("name").to_owned());
            (
                package["name"].as_str().expect("name").to_owned(),
                names.collect(),
            )
        })
        .collect()
}

#[test]
fn the_three_libraries_know_nothing_of_one_another() {
    let dependencies = direct_dependencies();
    for library in LIBRARIES {
        for other in LIBRARIES {
            assert!(
                !dependencies[library].contains(other),
                "{library} must not depend on {other}"
            );
        }
    }
}

#[test]
fn the_core_names_no_crate_that_reaches_the_system() {
    let core = &direct_dependencies()["meshd-core"];
    for system in SYSTEM_CRATES {
        assert!(
            !core.contains(system),
            "meshd-core is pure: it must not depend on {system}"
        );
    }
}

#[test]
fn no_library_depends_on_a_program() {
    let dependencies = direct_dependencies();
    for library in LIBRARIES {
        for program in ["meshd", "meshrelay", "meshctl", "anyhow", "clap"] {
            assert!(
                !dependencies[library].contains(program),
                "{library} must not depend on {program}"
            );
        }
    }
}

#[test]
fn every_dependency_has_its_reason_written_down() {
    let page = std::fs::read_to_string(top().join("docs/dependencies.md")).expect("docs/dependencies.md");
    let named: BTreeSet<String> = direct_dependencies().into_values().flatten().collect();
    for name in named.iter().filter(|name| !name.starts_with("mesh")) {
        assert!(
            page.contains(&format!("| {name} | ")),
            "docs/dependencies.md does not say why {name} is there"
        );
    }
}
