//! The link to Kubernetes.

use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Credentials for the API server of a network's cluster.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubeCredentials {
    /// The mesh network's name; not needed where one network of this machine has pods.
    #[serde(default)]
    pub network: Option<String>,
    /// The kubeconfig's text. A secret: it is not shown by `Debug`.
    pub kubeconfig: String,
    /// The folder to which names of files in it are relative.
    pub folder: String,
}

impl std::fmt::Debug for KubeCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeCredentials")
            .field("network", &self.network)
            .field("kubeconfig", &"[redacted]")
            .field("folder", &self.folder)
            .finish()
    }
}

/// The link to a cluster's API server, in `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubeStatus {
    /// The API server's URL.
    pub server: String,
    /// `connected`, or one sentence why not.
    pub state: String,
    /// Whether changes of all that is watched are heard. Where not, what was known stays in force.
    pub connected: bool,
    /// For how many seconds it has been so.
    pub seconds: u64,
    /// What the cluster calls this machine; null where no node has its mesh address.
    pub node: Option<String>,
    /// How many namespaces are known.
    pub namespaces: usize,
    /// How many pods that have not ended are known, on all nodes.
    pub pods: usize,
    /// How many network policies are known.
    pub policies: usize,
    /// Whether this node was elected to serve the cluster's services of type LoadBalancer.
    #[serde(default)]
    pub elected: bool,
    /// Sentences that somebody should read, e.g. of a cluster that is too large.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// What a cluster uses of a network, in `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterGround {
    /// The address that every node holds for the API servers.
    pub api: Ipv4Addr,
    /// The other one.
    pub api6: Ipv6Addr,
    /// Prefixes of all pods, one for each IP version.
    pub pods: Vec<String>,
    /// Length of each node's part of the pods' IPv4 prefix, in bits.
    pub node_prefix: u8,
    /// Prefixes of services.
    pub services: Vec<String>,
    /// Who gives nodes their parts: `mesh` or `kubernetes`.
    pub authority: String,
}
