//! What the CNI plugin asks of meshd: addresses for pods, and routes to them.

use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// A pod's interface, as the container runtime names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodAttachment {
    /// Container id (`CNI_CONTAINERID`).
    pub container: String,
    /// Interface name inside (`CNI_IFNAME`).
    pub interface: String,
}

/// Names a network; not needed where one network of this machine has pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodNetwork {
    /// The mesh network's name.
    #[serde(default)]
    pub network: Option<String>,
}

/// One pod's interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodRequest {
    /// The mesh network's name; not needed where one network of this machine has pods.
    #[serde(default)]
    pub network: Option<String>,
    /// Name of the CNI network (`name` in its configuration).
    pub cni_network: String,
    /// The interface.
    pub attachment: PodAttachment,
}

/// What a pod's interface has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodLease {
    /// IPv4 address.
    pub ipv4: Ipv4Addr,
    /// IPv6 address, where the network's pods have such.
    pub ipv6: Option<Ipv6Addr>,
    /// Name of the interface on the host's side.
    pub host: String,
    /// MTU in bytes: the tunnel's.
    pub mtu: u16,
}

/// What the runtime still knows (CNI GC).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodsKept {
    /// The mesh network's name; not needed where one network of this machine has pods.
    #[serde(default)]
    pub network: Option<String>,
    /// Name of the CNI network.
    pub cni_network: String,
    /// The interfaces that exist.
    pub valid: Vec<PodAttachment>,
}

/// Where the runtime finds the configuration that names the plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodsInstalled {
    /// The mesh network's name; not needed where one network of this machine has pods.
    #[serde(default)]
    pub network: Option<String>,
    /// The file, an absolute path.
    pub path: PathBuf,
}

/// What was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodsForgotten {
    /// How many leases.
    pub leases: usize,
    /// How many interfaces were deleted.
    pub interfaces: usize,
}

/// Pods on this node, in `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePods {
    /// This node's part of the pods' IPv4 prefix.
    pub cidr: String,
    /// This node's part of the pods' IPv6 prefix.
    pub cidr6: Option<String>,
    /// How many interfaces of pods have addresses.
    pub leases: usize,
}
