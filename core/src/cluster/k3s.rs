//! The file that k3s reads, /etc/rancher/k3s/config.yaml: its options without their dashes.
//!
//! What k3s does by itself and the mesh does instead is switched off: Flannel, the controller of network policies, and the
//! service load balancer. Server and API server, etcd, kubelet listen on the node's mesh address or on loopback. Options that a
//! release does not know end it, so those that came later are left out for older ones ([`Release`]).

use std::fmt;

use ipnet::IpNet;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::files::list;
use super::{ClusterWord, File, Ground, Machine, Role, Secrets, Timing};

/// The file.
pub const CONFIG: &str = "/etc/rancher/k3s/config.yaml";
/// The oldest release that reads it.
pub const OLDEST: Release = Release { minor: 19 };
/// From here on nodes, pods and services may have addresses of both IP versions.
const DUAL_STACK: Release = Release { minor: 23 };
/// From here on etcd takes options.
const ETCD_OPTIONS: Release = Release { minor: 22 };
/// From here on API servers may reach kubelets without k3s' own tunnel.
const NO_TUNNEL: Release = Release { minor: 23 };

/// A release of k3s, which is the one of Kubernetes in it: v1.MINOR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    minor: u32,
}

impl Release {
    /// What is written for where k3s is not there yet.
    pub const NEWEST: Self = Self { minor: u32::MAX };

    /// From what `k3s --version` says: `k3s version v1.34.1+k3s1 (hash)`.
    pub fn parse(text: &str) -> Option<Self> {
        let of = |word: &str| word.strip_prefix("v1.")?.split('.').next()?.parse().ok();
        let minor = text.split_whitespace().find_map(of)?;
        Some(Self { minor })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1.{}", self.minor)
    }
}

/// Where a cluster's state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datastore<'a> {
    /// In the servers' own etcd.
    Embedded,
    /// In a database, by its URL, which may hold a password.
    External(&'a str),
}

/// How a machine comes in.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// It makes the cluster.
    First(&'a Secrets),
    /// It comes into one.
    Word(&'a ClusterWord),
}

/// A machine that becomes a node.
#[derive(Debug)]
pub struct Node<'a> {
    /// What the cluster stands on.
    pub ground: &'a Ground,
    /// This machine.
    pub machine: &'a Machine,
    /// Of k3s here.
    pub release: Release,
    /// etcd's timeouts.
    pub timing: Timing,
    /// Where the cluster's state is.
    pub datastore: Datastore<'a>,
    /// How it comes in.
    pub entry: Entry<'a>,
    /// NodePorts on every address of the node, not on its mesh addresses alone.
    pub public_node_ports: bool,
}

impl Node<'_> {
    /// What it becomes.
    pub fn role(&self) -> Role {
        match self.entry {
            Entry::First(_) => Role::ControlPlane,
            Entry::Word(word) => word.role(),
        }
    }

    /// The file.
    pub fn file(&self) -> File {
        let mut options = self.common();
        if let Entry::Word(word) = self.entry {
            options["token"] = json!(*token(word));
            if self.role() == Role::Worker || self.datastore == Datastore::Embedded {
                options["server"] = json!(format!("https://{}", word.endpoint));
            }
        }
        if self.role() == Role::ControlPlane {
            self.server(&mut options);
        }
        File {
            path: CONFIG.to_owned(),
            // it holds what lets others in
            mode: 0o600,
            documents: vec![options],
        }
    }

    /// Server and agent have these alike, and each node its own.
    fn common(&self) -> Value {
        let Machine { name, ipv4, ipv6 } = self.machine;
        let addresses = match self.dual_stack() {
            true => self.machine.addresses(),
            false => ipv4.to_string(),
        };
        // without the tunnel API servers reach the kubelet by its address, with it on loopback only
        let kubelet = match self.release >= NO_TUNNEL {
            true => ipv4.to_string(),
            false => "127.0.0.1".to_owned(),
        };
        let mut options = json!({
            "node-name": name,
            "node-ip": addresses,
            "node-external-ip": addresses,
            "kubelet-arg": [format!("address={kubelet}"), "healthz-bind-address=127.0.0.1"],
            "kube-proxy-arg": ["healthz-bind-address=127.0.0.1:10256", "metrics-bind-address=127.0.0.1:10249"],
        });
        if !self.public_node_ports {
            let own = match self.dual_stack() {
                true => format!("nodeport-addresses={ipv4}/32,{ipv6}/128"),
                false => format!("nodeport-addresses={ipv4}/32"),
            };
            push(&mut options, "kube-proxy-arg", own);
        }
        options
    }

    fn server(&self, options: &mut Value) {
        let ground = self.ground;
        let address = self.machine.ipv4.to_string();
        let own = json!({
            "bind-address": address,
            "advertise-address": address,
            "tls-san": ground.names(),
            "flannel-backend": "none",
            "disable-network-policy": true,
            "disable": ["servicelb"],
            "cluster-cidr": list(&self.prefixes(&ground.pods)),
            "service-cidr": list(&self.prefixes(&ground.services)),
            "kube-controller-manager-arg": self.controller_manager(),
        });
        extend(options, own);
        if self.release >= NO_TUNNEL {
            options["egress-selector-mode"] = json!("disabled");
        }
        let (server, agent) = match self.entry {
            Entry::First(secrets) => (None, secrets.token.text()),
            Entry::Word(word) => (Some(()), word.token.text()),
        };
        options["agent-token"] = json!(*agent);
        if let (None, Entry::First(secrets)) = (server, self.entry) {
            options["token"] = json!(*secrets.key.text());
        }
        match self.datastore {
            Datastore::External(url) => options["datastore-endpoint"] = json!(url),
            Datastore::Embedded => {
                if server.is_none() {
                    options["cluster-init"] = json!(true);
                }
                if self.release >= ETCD_OPTIONS {
                    let Timing { heartbeat, election } = self.timing;
                    options["etcd-arg"] = json!([
                        format!("heartbeat-interval={heartbeat}"),
                        format!("election-timeout={election}"),
                    ]);
                }
            }
        }
    }

    fn dual_stack(&self) -> bool {
        self.release >= DUAL_STACK
    }

    /// Those that the release can have.
    fn prefixes(&self, all: &[IpNet]) -> Vec<IpNet> {
        let fits = |prefix: &&IpNet| self.dual_stack() || matches!(prefix, IpNet::V4(_));
        all.iter().filter(fits).copied().collect()
    }

    /// Nodes' parts of the pods' prefixes are the mesh's, or of the size that the mesh knows.
    fn controller_manager(&self) -> Vec<String> {
        let ground = self.ground;
        if ground.mesh_allots {
            return vec!["allocate-node-cidrs=false".to_owned()];
        }
        let pods = self.prefixes(&ground.pods);
        let single = pods.len() == 1;
        let size = |(family, length): (&str, u8)| match single {
            true => format!("node-cidr-mask-size={length}"),
            false => format!("node-cidr-mask-size-{family}={length}"),
        };
        pods.iter().map(|prefix| size(ground.part(prefix))).collect()
    }
}

/// What k3s knows a joining machine by: the hash of the authority, who it is, and the secret.
pub fn token(word: &ClusterWord) -> Zeroizing<String> {
    let hash = data_encoding::HEXLOWER.encode(&word.authority);
    Zeroizing::new(match &word.key {
        Some(key) => format!("K10{hash}::server:{}", *key.text()),
        None => format!("K10{hash}::node:{}", *word.token.text()),
    })
}

/// The hash in a token as a server writes it, `K10HASH::server:SECRET`.
pub fn authority(token: &str) -> Option<[u8; 32]> {
    let (hash, _) = token.trim().strip_prefix("K10")?.split_once("::")?;
    let hash = data_encoding::HEXLOWER.decode(hash.as_bytes()).ok()?;
    hash.try_into().ok()
}

fn push(options: &mut Value, name: &str, option: String) {
    if let Some(list) = options[name].as_array_mut() {
        list.push(json!(option));
    }
}

fn extend(options: &mut Value, more: Value) {
    if let (Value::Object(options), Value::Object(more)) = (options, more) {
        options.extend(more);
    }
}

#[cfg(test)]
mod tests;
