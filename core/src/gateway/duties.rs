//! What one node has to do with the network's gateways: which ranges it reaches through others, and which it serves.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Gateway;
use crate::id::NodeId;
use crate::map::View;

/// What follows for one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Duties {
    /// Ranges that it reaches through gateways.
    pub ranges: Vec<Range>,
    /// Ranges for which it is a gateway.
    pub services: Vec<Service>,
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
    /// Mesh addresses that may use it; none where everybody may.
    pub sources: Option<Vec<IpAddr>>,
}

impl Duties {
    /// What follows for `own` from what is believed. `exits` are the exit nodes that it chose, the one to use first at the front.
    pub fn of(view: &View, own: NodeId, exits: &[NodeId]) -> Self {
        let tags = tags(view, own);
        let mut ranges: BTreeMap<IpNet, Vec<Member>> = BTreeMap::new();
        let mut services = Vec::new();
        for gateway in &view.gateways {
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

fn tags(view: &View, node: NodeId) -> &[String] {
    view.nodes
        .get(&node)
        .map_or(&[], |node| &node.membership.terms.tags)
}

fn service(view: &View, gateway: &Gateway) -> Service {
    let limited = !gateway.terms.to_nodes.is_empty() || !gateway.terms.to_tags.is_empty();
    let users = || {
        let may = view
            .nodes
            .values()
            .filter(|node| gateway.serves(node.id, &node.membership.terms.tags));
        let v4 = gateway.terms.range.addr().is_ipv4();
        may.map(|node| if v4 { node.ipv4.into() } else { node.ipv6.into() })
            .collect()
    };
    Service {
        range: gateway.terms.range,
        published: gateway.published(),
        nat: gateway.terms.nat,
        sources: limited.then(users),
    }
}
