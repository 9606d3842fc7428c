//! What was known of the cluster, on disk.

use crate::state::NetworkFiles;
use meshd_core::policy::{Cluster, SavedError};
use tracing::warn;

/// Namespaces and policies, in the network's state folder.
const POLICIES: &str = "policies";
/// Pods, in the same place.
const PODS: &str = "policy-pods";

/// Pods of this machine alone, in the same place: by their labels they may send into ranges behind gateways.
const OWN: &str = "policy-own";

/// What was known before a restart.
pub fn restore(files: &NetworkFiles) -> Cluster {
    type Restore = fn(&mut Cluster, &[u8]) -> Result<(), SavedError>;
    let documents: [(&str, Restore); 3] = [
        (POLICIES, Cluster::restore_policies),
        (PODS, Cluster::restore_pods),
        (OWN, Cluster::restore_own),
    ];
    let mut cluster = Cluster::default();
    for (name, restore) in documents {
        match files.load(name) {
            Ok(Some(bytes)) => {
                if let Err(error) = restore(&mut cluster, &bytes) {
                    warn!("what was known of the cluster's {name} is lost: {error}");
                }
            }
            Ok(None) => {}
            Err(error) => {
                warn!("{error}");
                cluster.watch();
            }
        }
    }
    cluster
}

/// Writes policies down; the disk is waited for elsewhere.
pub async fn policies(files: &NetworkFiles, bytes: Option<Vec<u8>>) {
    write(files, POLICIES, bytes).await;
}

/// The same, of pods.
pub async fn pods(files: &NetworkFiles, bytes: Option<Vec<u8>>) {
    write(files, PODS, bytes).await;
}

/// The same, of this machine's pods.
pub async fn own(files: &NetworkFiles, bytes: Vec<u8>) {
    write(files, OWN, Some(bytes)).await;
}

async fn write(files: &NetworkFiles, name: &'static str, bytes: Option<Vec<u8>>) {
    let Some(bytes) = bytes else { return };
    let files = files.clone();
    match tokio::task::spawn_blocking(move || files.save(name, &bytes)).await {
        Ok(Err(error)) => warn!("{error}"),
        Err(error) => warn!("{error}"),
        Ok(Ok(())) => {}
    }
}
