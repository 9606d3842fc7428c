//! The pod network of a network's Kubernetes cluster, as its root signs it: which prefixes are pods' and services', and which
//! part of them each node has.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::act::MAX_REACH;
use super::text::{self, MAX_LABEL};
use crate::id::NodeId;

/// Most service prefixes of a cluster: one of each IP version.
pub const MAX_SERVICES: usize = 2;

/// Which prefixes of a network are pods' and services'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTerms {
    /// IPv4 addresses of all pods.
    pub ipv4: Ipv4Net,
    /// IPv6 addresses of all pods.
    pub ipv6: Option<Ipv6Net>,
    /// Length of each node's part of `ipv4`, in bits. Its part of `ipv6` is as much longer than `ipv6`.
    pub node_prefix: u8,
    /// Virtual addresses of services.
    pub services: Vec<IpNet>,
    /// Who tells which part a node has, where that is not the mesh's own business.
    pub tellers: Tellers,
}

/// Nodes that tell which parts Kubernetes gave nodes: its control planes. Where none are named, the mesh itself allots parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tellers {
    /// These nodes.
    pub nodes: Vec<NodeId>,
    /// Nodes with one of these tags.
    pub tags: Vec<String>,
}

impl Tellers {
    /// Whether nobody is named.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.tags.is_empty()
    }

    /// Whether a node with these tags is named.
    pub fn name(&self, node: NodeId, tags: &[String]) -> bool {
        self.nodes.contains(&node) || self.tags.iter().any(|tag| tags.contains(tag))
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let (nodes, tags) = (self.nodes.len(), self.tags.len());
        if nodes > MAX_REACH || tags > MAX_REACH {
            return Err(format!(
                "{nodes} nodes and {tags} tags are named; at most {MAX_REACH} of each are allowed"
            ));
        }
        self.tags
            .iter()
            .try_for_each(|tag| text::check("a tag", tag, MAX_LABEL))
    }
}

/// One node's part of the pods' prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodPrefixes {
    /// IPv4.
    pub ipv4: Ipv4Net,
    /// IPv6.
    pub ipv6: Option<Ipv6Net>,
}

impl PodTerms {
    /// The prefixes of all pods.
    pub fn pods(&self) -> impl Iterator<Item = IpNet> + '_ {
        [IpNet::from(self.ipv4)]
            .into_iter()
            .chain(self.ipv6.map(IpNet::from))
    }

    /// Everything that is the cluster's: pods and services.
    pub fn all(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.pods().chain(self.services.iter().copied())
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.services.len() > MAX_SERVICES {
            let count = self.services.len();
            return Err(format!(
                "{count} service prefixes; at most {MAX_SERVICES} are allowed"
            ));
        }
        self.tellers.check()?;
        self.all().try_for_each(|prefix| whole(&prefix))
    }
}

impl PodPrefixes {
    /// Its prefixes.
    pub fn all(&self) -> impl Iterator<Item = IpNet> + use<> {
        [IpNet::from(self.ipv4)]
            .into_iter()
            .chain(self.ipv6.map(IpNet::from))
    }

    pub(super) fn check(&self) -> Result<(), String> {
        self.all().try_for_each(|prefix| whole(&prefix))
    }
}

/// A prefix without host bits: one range has one name.
pub(super) fn whole(prefix: &IpNet) -> Result<(), String> {
    match *prefix == prefix.trunc() {
        true => Ok(()),
        false => Err(format!(
            "{prefix} is a host, not a prefix; write {}",
            prefix.trunc()
        )),
    }
}
