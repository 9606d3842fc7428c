//! What a cluster stands on, and files for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use serde_json::Value;

use crate::balance::API_PORT;

/// What a cluster uses of its mesh network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground {
    /// The network's name.
    pub network: String,
    /// The addresses that every node holds and nobody has.
    pub api: (Ipv4Addr, Ipv6Addr),
    /// Prefixes of pods, one for each IP version.
    pub pods: Vec<IpNet>,
    /// Length of each node's part of the pods' IPv4 prefix, in bits.
    pub node_prefix: u8,
    /// Prefixes of services.
    pub services: Vec<IpNet>,
    /// Whether the mesh gives nodes their parts of the pods' prefixes, and not Kubernetes.
    pub mesh_allots: bool,
}

/// A machine in the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its name, also in the cluster.
    pub name: String,
    /// Its mesh address.
    pub ipv4: Ipv4Addr,
    /// Its other mesh address.
    pub ipv6: Ipv6Addr,
}

/// A file as it is to be: YAML documents.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// Where.
    pub path: String,
    /// Permissions.
    pub mode: u32,
    /// What.
    pub documents: Vec<Value>,
}

impl Ground {
    /// Where every node, and every machine of the mesh, reaches the API servers.
    pub fn endpoint(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.api.0), API_PORT)
    }

    /// How long each node's part of one of the pods' prefixes is, in bits, and of which IP version.
    pub(super) fn part(&self, prefix: &IpNet) -> (&'static str, u8) {
        let IpNet::V6(v6) = prefix else {
            return ("ipv4", self.node_prefix);
        };
        let mut all = self.pods.iter();
        let v4 = all.find(|prefix| matches!(prefix, IpNet::V4(_)));
        let longer = v4.map_or(0, |v4| self.node_prefix.saturating_sub(v4.prefix_len()));
        ("ipv6", v6.prefix_len().saturating_add(longer).min(128))
    }

    /// Names and addresses besides its own that an API server's certificate carries.
    pub(super) fn names(&self) -> Vec<String> {
        let (v4, v6) = self.api;
        let name = format!("api.{}.mesh", self.network);
        vec![v4.to_string(), v6.to_string(), name, "127.0.0.1".to_owned()]
    }
}

impl Machine {
    /// Its addresses, as the kubelet takes them.
    pub fn addresses(&self) -> String {
        format!("{},{}", self.ipv4, self.ipv6)
    }
}

/// Prefixes as Kubernetes takes them: IPv4 first, which is then the cluster's first family.
pub(super) fn list(prefixes: &[IpNet]) -> String {
    let (v4, v6): (Vec<&IpNet>, Vec<&IpNet>) =
        prefixes.iter().partition(|prefix| matches!(prefix, IpNet::V4(_)));
    let all: Vec<String> = v4.into_iter().chain(v6).map(ToString::to_string).collect();
    all.join(",")
}
