//! What a cluster says of namespaces, pods and policies, and what this node knows of its own pods.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::selector::{Labels, Selector};

/// Namespace and name of an object.
#[derive(Default, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Name {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name there.
    pub name: Box<str>,
}

impl Name {
    /// Of these two.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Its name.
    pub name: Box<str>,
    /// Its labels, with `kubernetes.io/metadata.name`, which the API server sets.
    pub labels: Labels,
}

/// A pod that has not ended: one whose phase is Succeeded or Failed has no address any more and must not be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Namespace and name.
    pub name: Name,
    /// What the runtime calls `K8S_POD_UID`: `metadata.uid`, and of a static pod's mirror the annotation
    /// `kubernetes.io/config.hash`.
    pub uid: Box<str>,
    /// Its labels.
    pub labels: Labels,
    /// `status.podIPs`, of both families; none yet where it was just made.
    pub addresses: Vec<IpAddr>,
    /// Its containers' ports that have names; those of its init containers that keep running, too.
    pub ports: Vec<NamedPort>,
    /// `spec.hostNetwork`: it has its node's addresses.
    pub host_network: bool,
    /// `spec.nodeName`; empty where it was not placed yet.
    pub node: Box<str>,
}

/// A port that a container gave a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NamedPort {
    /// Its name.
    pub name: Box<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number (`containerPort`).
    pub port: u16,
}

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP, which is meant where none is said.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];
}

/// Which packets of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Direction {
    /// Those that come to it.
    Ingress,
    /// Those that it sends.
    Egress,
}

impl Direction {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];
}

/// A NetworkPolicy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Namespace and name.
    pub name: Name,
    /// `podSelector`: whom of its namespace it is about.
    pub pods: Selector,
    /// `policyTypes`, as it stands there; see [`Self::isolates`].
    pub types: Vec<Direction>,
    /// `ingress`; an absent list is an empty one.
    pub ingress: Vec<PolicyRule>,
    /// `egress`.
    pub egress: Vec<PolicyRule>,
}

impl Policy {
    /// Whether pods that it selects are isolated for a direction. Where no types are said, that is ingress, and egress where
    /// there are rules for it.
    pub fn isolates(&self, direction: Direction) -> bool {
        match (self.types.is_empty(), direction) {
            (false, _) => self.types.contains(&direction),
            (true, Direction::Ingress) => true,
            (true, Direction::Egress) => !self.egress.is_empty(),
        }
    }

    /// What it allows in a direction.
    pub fn rules(&self, direction: Direction) -> &[PolicyRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// One of `ingress` or `egress`: any of the peers, on any of the ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRule {
    /// `from` or `to`; empty (or absent): everybody.
    pub peers: Vec<Peer>,
    /// `ports`; empty (or absent): every protocol and port.
    pub ports: Vec<Port>,
}

/// One of `from` or `to`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Peer {
    /// Pods.
    Pods {
        /// `namespaceSelector`; absent: the policy's own namespace.
        namespaces: Option<Selector>,
        /// `podSelector`; absent: all pods there. A peer that has neither (the API refuses it) must not be told.
        pods: Option<Selector>,
    },
    /// `ipBlock`.
    Block {
        /// `cidr`.
        cidr: IpNet,
        /// `except`.
        except: Vec<IpNet>,
    },
}

/// One of `ports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// `protocol`; TCP where it is absent.
    pub protocol: Protocol,
    /// `port` and `endPort`; absent: every port of the protocol.
    pub port: Option<PortNumber>,
}

/// Which port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortNumber {
    /// From `port` to `endPort`, both inclusive; one port where they are the same.
    Range(u16, u16),
    /// The port that the pod at the packet's destination calls so, of that protocol.
    Named(Box<str>),
}

/// What the runtime calls a pod (`CNI_ARGS`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PodIdentity {
    /// `K8S_POD_NAMESPACE` and `K8S_POD_NAME`.
    pub name: Name,
    /// `K8S_POD_UID`; empty where the runtime does not say.
    pub uid: Box<str>,
}

/// An interface of a pod on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Its name on the host's side.
    pub host: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whose it is; unknown where the runtime did not say.
    pub pod: Option<PodIdentity>,
}
