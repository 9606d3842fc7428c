//! Nodes' parts of the pods' prefixes where Kubernetes is the authority on them: a control plane's meshd tells the coordinator
//! what the API server says, and the coordinator, or an admin, signs it.
//!
//! A node of Kubernetes is a node of the mesh where both its name and one of its `InternalIP` addresses are that node's: the
//! name is bound to the kubelet's credentials, the address alone could be any that a kubelet claims.

use super::coordinator::Request;
use super::task::Task;
use crate::kube::Node as KubeNode;
use ipnet::IpNet;
use meshd_api::coordinator::node::NodePart;
use meshd_core::id::NodeId;
use meshd_core::map::{Node, View};
use meshd_core::statement::PodPrefixes;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// What was told and is not in the map is told again after this time.
const AGAIN: Duration = Duration::from_secs(30);

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The version of Kubernetes' nodes, and of the map, that were looked at.
    looked: Option<(u64, (u32, u64))>,
    /// When to look again, although nothing changed.
    again: Option<Instant>,
    /// What was told last: kubelets report all the time, which is no reason to tell it again at once.
    last: Vec<NodePart>,
}

impl Task {
    /// Tells the coordinator of parts that Kubernetes gave nodes and the map does not have, where this node is one that may.
    pub(super) fn tell_parts(&mut self, now: Instant) {
        let looking = (self.kube.nodes_version(), self.map.at());
        let due = self.told.again.is_some_and(|again| now >= again);
        if self.told.looked == Some(looking) && !due {
            return;
        }
        self.told.looked = Some(looking);
        let Some(view) = self.map.view() else { return };
        if !is_teller(&view, self.membership.node) {
            return;
        }
        let parts = self.kube.with_nodes(|nodes| news(&view, nodes));
        if parts.is_empty() {
            (self.told.again, self.told.last) = (None, parts);
            return;
        }
        if parts == self.told.last && !due {
            return;
        }
        (self.told.again, self.told.last) = (Some(now + AGAIN), parts.clone());
        let _ = self.coordinator.requests.try_send(Request::Parts(parts));
    }

    /// The coordinator took what was told, or some of it.
    pub(super) fn parts_taken(&mut self, taken: usize, refused: &[String]) {
        if taken > 0 {
            info!(nodes = taken, "the coordinator took Kubernetes' prefixes");
        }
        for why in refused {
            let sentence = format!("a prefix from Kubernetes was refused: {why}");
            if !self.notes.contains(&sentence) {
                warn!("{sentence}");
            }
            self.note(sentence);
        }
    }

    /// Where Kubernetes says otherwise than the network, of this node.
    pub(super) fn part_sentence(&self) -> Option<String> {
        let view = self.map.view()?;
        let terms = view.pods.as_ref().filter(|terms| !terms.tellers.is_empty())?;
        let own = view.nodes.get(&self.membership.node)?;
        let told = self.kube.with_nodes(|nodes| part_of(own, nodes))?;
        let held = view.parts.get(&self.membership.node).copied();
        match held {
            Some(held) if held == told => None,
            Some(held) => Some(format!(
                "Kubernetes gave this node's pods {}, and the network {}: pods keep the latter until a control plane tells of the former",
                told.ipv4, held.ipv4
            )),
            None => Some(format!(
                "Kubernetes gave this node's pods {}, which is not signed yet: it must lie in {}, and a control plane must tell of it",
                told.ipv4, terms.ipv4
            )),
        }
    }
}

fn is_teller(view: &View, own: NodeId) -> bool {
    let (Some(terms), Some(node)) = (&view.pods, view.nodes.get(&own)) else {
        return false;
    };
    terms.tellers.name(own, &node.membership.terms.tags)
}

/// What Kubernetes says and the map does not.
fn news(view: &View, nodes: &mut dyn Iterator<Item = &KubeNode>) -> Vec<NodePart> {
    let told = nodes.filter_map(|kube| {
        let node = view.nodes.values().find(|node| is_same(node, kube))?;
        let part = part(&kube.pod_cidrs)?;
        (view.parts.get(&node.id) != Some(&part)).then(|| NodePart {
            node: node.id.to_string(),
            cidr: part.ipv4.to_string(),
            cidr6: part.ipv6.map(|ipv6| ipv6.to_string()),
        })
    });
    told.collect()
}

/// What Kubernetes gave one node.
fn part_of(own: &Node, nodes: &mut dyn Iterator<Item = &KubeNode>) -> Option<PodPrefixes> {
    for kube in nodes {
        // by its name too: what another node's kubelet claims to be its own address says nothing
        if is_same(own, kube) {
            return part(&kube.pod_cidrs);
        }
    }
    None
}

fn is_same(node: &Node, kube: &KubeNode) -> bool {
    let own = [IpAddr::from(node.ipv4), node.ipv6.into()];
    node.name == *kube.name && kube.addresses.iter().any(|address| own.contains(address))
}

/// The first prefix of each IP version.
fn part(cidrs: &[IpNet]) -> Option<PodPrefixes> {
    let ipv4 = cidrs.iter().find_map(|cidr| match cidr {
        IpNet::V4(net) => Some(net.trunc()),
        IpNet::V6(_) => None,
    });
    let ipv6 = cidrs.iter().find_map(|cidr| match cidr {
        IpNet::V6(net) => Some(net.trunc()),
        IpNet::V4(_) => None,
    });
    Some(PodPrefixes { ipv4: ipv4?, ipv6 })
}
