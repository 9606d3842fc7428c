//! What one node has to do with the network's gateways: which ranges it reaches through others, and which it serves.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{Gateway, parse_selector};
use crate::id::NodeId;
use crate::map::View;
use crate::policy::Selector;
use crate::statement::PodPrefixes;

/// What follows for one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Duties {
    /// Ranges that it reaches through gateways.
    pub ranges: Vec<Range>,
    /// Ranges for which it is a gateway.
    pub services: Vec<Service>,
    /// Ranges into which not every pod of this node may send.
    pub limits: Vec<PodLimit>,
}

/// A range into which only pods with certain labels may send. Of several for one range each must allow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodLimit {
    /// The prefix to which pods of this node write.
    pub prefix: IpNet,
    /// The pods that may; none where the text of the act cannot be read: then no pod may.
    pub pods: Option<Selector>,
}

/// A range behind gateways, as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The prefix under which the network knows it.
    pub prefix: IpNet,
    /// Its gateways, the one to use first at the front.
    pub members: Vec<Member>,
}

/// One gateway of a range. The order of the fields is the order of preference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Lower ones first.
    pub priority: u32,
    /// The node.
    pub node: NodeId,
    /// Whether the range sees the gateway's address, so that connections cannot go on through another gateway.
    pub nat: bool,
}

/// A range that this node serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The range behind this node.
    pub range: IpNet,
    /// The prefix under which the network knows it.
    pub published: IpNet,
    /// Whether the range sees this node's address.
    pub nat: bool,
    /// Addresses that may use it, of nodes or of pods; none where everybody may.
    pub sources: Option<Vec<IpNet>>,
}

impl Duties {
    /// What follows for `own` from what is believed. `exits` are the exit nodes that it chose, the one to use first at the front.
    pub fn of(view: &View, own: NodeId, exits: &[NodeId]) -> Self {
        let tags = tags(view, own);
        let mut ranges: BTreeMap<IpNet, Vec<Member>> = BTreeMap::new();
        let (mut services, mut limits) = (Vec::new(), Vec::new());
        for gateway in &view.gateways {
            if let Some(limit) = limit(gateway, own) {
                limits.push(limit);
            }
            if gateway.node == own {
                services.push(service(view, gateway));
            } else if gateway.serves(own, tags)
                && let Some(priority) = priority(gateway, exits)
            {
                let members = ranges.entry(gateway.published()).or_default();
                members.push(Member {
                    priority,
                    node: gateway.node,
                    nat: gateway.terms.nat,
                });
            }
        }
        // One's own range is reached by one's own LAN, whoever else is a gateway for it.
        ranges.retain(|prefix, _| {
            !services
                .iter()
                .any(|own| own.published == *prefix && prefix.prefix_len() > 0)
        });
        let ranges = ranges.into_iter().map(|(prefix, mut members)| {
            members.sort();
            Range { prefix, members }
        });
        Self {
            ranges: ranges.collect(),
            services,
            limits,
        }
    }
}

/// An admin's order of a range's gateways; of exits the node's own. None where it did not choose the exit.
fn priority(gateway: &Gateway, exits: &[NodeId]) -> Option<u32> {
    match gateway.is_exit() {
        false => Some(gateway.terms.priority),
        true => (0..)
            .zip(exits)
            .find_map(|(place, exit)| (*exit == gateway.node).then_some(place)),
    }
}

pub(super) fn tags(view: &View, node: NodeId) -> &[String] {
    view.nodes
        .get(&node)
        .map_or(&[], |node| &node.membership.terms.tags)
}

/// What a gateway for pods means to the pods of `own`. On the gateway itself they reach the range as it is.
fn limit(gateway: &Gateway, own: NodeId) -> Option<PodLimit> {
    let pods = gateway.terms.pods.as_ref()?;
    let prefix = match gateway.node == own {
        true => gateway.terms.range,
        false => gateway.published(),
    };
    Some(PodLimit {
        prefix,
        pods: parse_selector(pods).ok(),
    })
}

fn service(view: &View, gateway: &Gateway) -> Service {
    let limited = !gateway.terms.to_nodes.is_empty() || !gateway.terms.to_tags.is_empty();
    let for_pods = gateway.terms.pods.is_some();
    let v4 = gateway.terms.range.addr().is_ipv4();
    let may = || {
        view.nodes
            .values()
            .filter(|node| gateway.serves(node.id, &node.membership.terms.tags))
    };
    let nodes = || may().map(|node| if v4 { node.ipv4.into() } else { node.ipv6.into() });
    let nodes = || nodes().map(|ip: std::net::IpAddr| IpNet::from(ip)).collect();
    // which of its pods may is each node's to see to
    let pods = || {
        let parts = may().filter_map(|node| view.parts.get(&node.id));
        let all = parts.flat_map(PodPrefixes::all);
        all.filter(|part| part.addr().is_ipv4() == v4).collect()
    };
    Service {
        range: gateway.terms.range,
        published: gateway.published(),
        nat: gateway.terms.nat,
        sources: match (for_pods, limited) {
            (true, _) => Some(pods()),
            (false, true) => Some(nodes()),
            (false, false) => None,
        },
    }
}
