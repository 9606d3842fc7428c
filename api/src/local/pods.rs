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
    /// What Kubernetes calls the pod; absent where the runtime does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodName>,
}

/// What Kubernetes calls a pod (`CNI_ARGS`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodName {
    /// `K8S_POD_NAMESPACE`.
    pub namespace: String,
    /// `K8S_POD_NAME`.
    pub name: String,
    /// `K8S_POD_UID`; empty where the runtime does not say.
    #[serde(default)]
    pub uid: String,
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
    /// Network policies of the cluster; null where nobody watches one.
    #[serde(default)]
    pub policy: Option<PodPolicies>,
}

/// Network policies (networking.k8s.io/v1) on this node, in `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodPolicies {
    /// Whether all of the cluster's policies were seen, now or before a restart; until then pods are cut off.
    pub known: bool,
    /// How many policies the cluster has.
    pub policies: usize,
    /// How many interfaces of pods on this node are isolated in some direction.
    pub isolated: usize,
    /// Packets to pods of this node that no policy allowed, since the rules were made.
    pub denied_ingress: u64,
    /// Packets from pods of this node that no policy allowed, since the rules were made.
    pub denied_egress: u64,
    /// What somebody should look at, as sentences.
    pub warnings: Vec<String>,
}
