//! The end of a membership: pods are disconnected, and no runtime is told any more that this node takes some.
//!
//! `meshctl cni install` says where it put the configuration that makes a node ready. When the node leaves the network, or
//! is put out of it, that file goes. It stays where pods were left: runtimes refuse to take a pod down without a
//! configuration; STATUS tells them then that the node takes no more.

use super::keeper::Keeper;
use meshd_api::Problem;
use meshd_api::local::Done;
use meshd_core::ipam::Lease;
use std::fs;
use std::io;
use std::path::Path;
use tracing::{info, warn};

/// Name of the file in the network's state folder: the path of the runtime's configuration.
const FILE: &str = "conflist";
/// How a configuration of ours is told from another's under the same name.
const PLUGIN: &str = "mesh-cni";
/// Of a container's id so many letters are shown, as the tools of runtimes do.
const SHOWN: usize = 12;

impl Keeper {
    /// Keeps in mind where the configuration is.
    pub(super) async fn installed(&self, path: &Path) -> Result<Done, Problem> {
        let text = path.to_str().filter(|_| path.is_absolute());
        let text =
            text.ok_or_else(|| Problem::new("pods-path", "the configuration's path is not absolute"))?;
        let (files, bytes) = (self.files.clone(), text.as_bytes().to_vec());
        let written = tokio::task::spawn_blocking(move || files.save(FILE, &bytes)).await;
        let written = written.map_err(|error| error.to_string());
        written
            .and_then(|saved| saved.map_err(|error| error.to_string()))
            .map_err(|error| Problem::new("pods-state", error))?;
        let message = format!("{text} goes when this machine leaves the network");
        Ok(Done { message })
    }

    /// The pods that are connected: addresses and containers.
    pub(super) fn named(&self) -> Vec<String> {
        let name = |lease: &Lease| {
            let container: String = lease.attachment.container.chars().take(SHOWN).collect();
            format!("{} of {container}", lease.ipv4)
        };
        self.leases.all().map(name).collect()
    }

    /// Disconnects the pods: their routes go with their interfaces. Goes on past errors.
    pub(super) async fn end(&mut self) {
        self.ended = true;
        let leases: Vec<Lease> = self.leases.all().cloned().collect();
        for lease in &leases {
            info!(container = %lease.attachment.container, address = %lease.ipv4, "a pod is disconnected: this machine left the network");
            if let Err(problem) = self.delete_interface(lease).await {
                warn!("{problem}");
            }
        }
        if leases.is_empty() {
            self.take_configuration_away();
        }
    }

    fn take_configuration_away(&self) {
        let path = self.files.load(FILE).ok().flatten();
        let Some(path) = path.as_ref().and_then(|path| std::str::from_utf8(path).ok()) else {
            return;
        };
        let ours = fs::read_to_string(path).is_ok_and(|text| text.contains(PLUGIN));
        if !ours {
            return;
        }
        match fs::remove_file(path) {
            Ok(()) => info!(
                path,
                "this node takes no more pods: the runtime's configuration is gone"
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => warn!("{path} cannot be removed: {error}; `meshctl cni uninstall` does it"),
        }
    }
}
