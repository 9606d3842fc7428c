//! `mesh-cni`: the CNI plugin (CNI specification 1.0.0 and 1.1.0) that connects pods to a meshd network.
//!
//! A container runtime runs it once for each command, with `CNI_*` variables and a JSON configuration on standard input; it
//! prints one JSON document and ends. All that must be remembered is meshd's, which it asks over its Unix socket; all
//! that happens inside a pod's network namespace is done here, because meshd never enters one.
//!
//! A packet's way: `eth0` in the pod has a /32 (and a /128) and a default route to 169.254.1.1 (and fe80::1), which nobody
//! has: a permanent neighbour entry leads to the other end of the cable, `mpod...` on the host. There it is routed like any
//! other packet. No bridge, no ARP, no neighbour discovery, no proxy of either.
//!
//! | module | what it is |
//! |---|---|
//! | `environment`, `configuration` | what the runtime says, checked |
//! | `commands` | one function for each CNI command |
//! | `meshd` | the questions to meshd |
//! | `cable` | the veth pair: made, checked, deleted |
//! | `kernel` | netlink, one request after the other |
//! | `outcome` | results and errors, as the specification words them |

mod cable;
mod commands;
mod configuration;
mod environment;
mod fault;
mod kernel;
mod meshd;
mod outcome;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        return about();
    }
    let (version, outcome) = commands::run();
    match outcome {
        Ok(document) => outcome::tell(&document),
        Err(error) => {
            outcome::tell(&error.document(&version));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// For a person who runs it by hand.
fn about() -> ExitCode {
    println!(
        "mesh-cni {}: a CNI plugin, run by a container runtime (`meshctl cni install` puts it in its place)",
        env!("CARGO_PKG_VERSION")
    );
    ExitCode::SUCCESS
}
