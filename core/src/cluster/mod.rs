//! The cluster layer: what kubeadm or k3s is told, and when it is not started at all.
//!
//! What comes out is plain kubeadm, or plain k3s: configuration files that it reads ([`Init`], [`Join`], [`k3s::Node`]), each shown before it
//! is written, over which a person's own settings are merged ([`merge`]). [`Ground`] is what a cluster uses of its mesh network: the
//! address that every node holds for the API servers, and the prefixes of pods and services. Each component listens on its
//! node's mesh address or on loopback.
//!
//! 1. [`check`] makes sentences of facts: what is wrong here, and what to do about it.
//! 2. [`Timing`] makes etcd's timeouts of the round trips between control planes.
//! 3. [`Init::files`] and [`Join::files`] are the files; the shell writes them and starts kubeadm.
//! 4. A [`ClusterWord`] has all that another machine needs to come in.
//! 5. An [`Inventory`] is the nodes of a network for other tools; [`About`] and its constants are what a backup is.

mod backup;
mod files;
#[cfg(test)]
mod fixtures;
mod inventory;
pub mod k3s;
mod kubeadm;
mod leftovers;
mod node_ip;
mod patch;
mod preflight;
mod timing;
mod word;

pub use backup::{ABOUT, About, ETCD_FOLDER, PKI, PKI_FOLDER, SNAPSHOT, pki_mode, restore_words};
pub use files::{File, Ground, Machine};
pub use inventory::{Host, Inventory, InventoryError};
pub use kubeadm::{Init, Join, RESUMED, Secrets};
pub use leftovers::without_kube_proxy;
pub use node_ip::with_node_ip;
pub use patch::{PatchError, merge, overlay};
pub use preflight::{Facts, Finding, Lan, Mesh, Peer, Severity, System, Way, check, taken_ports};
pub use timing::Timing;
pub use word::{BootstrapToken, CertificateKey, ClusterWord, ClusterWordError, Flavor, Role};

/// Folder of the files that meshctl makes for kubeadm; kubeadm's own `reset` leaves it alone.
pub const FOLDER: &str = "/etc/kubernetes/meshd";
/// The port of an API server on its node's mesh address.
pub const API_SERVER_PORT: u16 = 6443;
/// The name of the endpoint that leads to the API servers.
pub const ENDPOINT: &str = "api";
