//! The link to Kubernetes: what its API server says of namespaces, pods, network policies and nodes.
//!
//! A task of its own for each network (`link`), so that neither traffic nor a pod's start waits for an API server, which
//! may be behind the mesh itself. It needs credentials that a person gives it (`credentials`), and does nothing without.
//!
//! 1. `watching`: a list and then its changes, of each kind;
//! 2. `objects`, `policies`: the few fields that count, as the core's types ([`meshd_core::policy`]);
//! 3. `controller`: on control planes that may expose services, and of these on the one elected (`lease`): what they expose (`services`, `desk`);
//! 4. `state`: how the link is. The API server away, what was told stays in force.
//!
//! All of it is behind the feature `kubernetes`. A meshd that was built without it has [`Handle`]'s other form, `absent`, whose test
//! runs in either.

#[cfg(any(test, not(feature = "kubernetes")))]
mod absent;
#[cfg(feature = "kubernetes")]
mod check;
#[cfg(feature = "kubernetes")]
mod controller;
#[cfg(feature = "kubernetes")]
mod credentials;
pub mod desk;
#[cfg(feature = "kubernetes")]
mod feeding;
#[cfg(feature = "kubernetes")]
mod handle;
#[cfg(feature = "kubernetes")]
mod lease;
#[cfg(feature = "kubernetes")]
mod link;
#[cfg(feature = "kubernetes")]
mod objects;
#[cfg(feature = "kubernetes")]
mod policies;
#[cfg(feature = "kubernetes")]
mod services;
#[cfg(feature = "kubernetes")]
mod state;
#[cfg(all(test, feature = "kubernetes"))]
mod tests;
#[cfg(feature = "kubernetes")]
mod watching;
#[cfg(feature = "kubernetes")]
mod words;

#[cfg(not(feature = "kubernetes"))]
pub use absent::Handle;
#[cfg(feature = "kubernetes")]
pub use handle::Handle;

use crate::supervisor::Reply;
use ipnet::IpNet;
use meshd_api::Problem;
use meshd_api::local::{Done, KubeCredentials};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Name of the kubeconfig in the network's state folder.
const CREDENTIALS: &str = "kubeconfig";

/// A node of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: Box<str>,
    /// Its `InternalIP` addresses.
    pub addresses: Vec<IpAddr>,
    /// Its `spec.podCIDRs`.
    pub pod_cidrs: Vec<IpNet>,
}

/// What of this machine the link has to know.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    /// Its addresses in the network, by which the cluster knows it.
    pub addresses: (Ipv4Addr, Ipv6Addr),
}

/// What a person asks.
pub enum Question {
    /// Take these credentials.
    Set(KubeCredentials, Reply<Done>),
    /// Forget them.
    Forget(Reply<Done>),
}

impl Question {
    /// Answers that it cannot be answered.
    pub fn refuse(self, problem: Problem) {
        match self {
            Self::Set(_, reply) | Self::Forget(reply) => drop(reply.send(Err(problem))),
        }
    }
}
