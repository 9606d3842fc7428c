//! Prefixes of pods and services.

use crate::Base64Bytes;
use serde::{Deserialize, Serialize};

/// Prefixes of a network's pods and services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PodsInfo {
    /// IPv4 prefix of all pods, e.g. `10.42.0.0/16`.
    pub cidr: String,
    /// IPv6 prefix of all pods.
    #[serde(default)]
    pub cidr6: Option<String>,
    /// Length of each node's part of `cidr`, in bits.
    pub node_prefix: u8,
    /// Prefixes of services, at most one of each IP version.
    #[serde(default)]
    pub services: Vec<String>,
    /// Ids of the nodes that tell which parts Kubernetes gave nodes; where neither nodes nor tags are named, the mesh allots
    /// parts itself.
    #[serde(default)]
    pub control_planes: Vec<String>,
    /// Tags of such nodes.
    #[serde(default)]
    pub control_plane_tags: Vec<String>,
}

/// `POST /v1/admin/networks/{name}/pods`: gives the network's pods and services prefixes, or changes them. Each node gets a
/// part of its own where the relay holds the root key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkPods {
    /// The prefixes.
    pub pods: PodsInfo,
    /// Act statement, where the root key is kept elsewhere.
    #[serde(default)]
    pub statement: Option<Base64Bytes>,
}

/// `POST /v1/admin/networks/{name}/nodes/{name or id}/pods`: gives a node its part of the pods' prefixes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodePods {
    /// Its part of the IPv4 prefix.
    pub cidr: String,
    /// Its part of the IPv6 prefix.
    #[serde(default)]
    pub cidr6: Option<String>,
    /// Act statement, where the root key is kept elsewhere.
    #[serde(default)]
    pub statement: Option<Base64Bytes>,
}
