//! Names of hosts behind gateways, as one node knows them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Gateway;
use crate::id::NodeId;
use crate::map::View;
use crate::names::{Address, NodeName};
use crate::statement::GatewayTerms;

/// Hosts with names behind gateways that `own` may use, or is, by name. A gateway knows its own hosts at their own addresses; of
/// other gateways' addresses for one name that of the lower priority number counts. Names that nodes have are left out.
pub fn hosts(view: &View, own: NodeId) -> Vec<NodeName> {
    let tags = super::duties::tags(view, own);
    let mut usable: Vec<_> = view
        .gateways
        .iter()
        .filter(|gateway| gateway.node == own || gateway.serves(own, tags))
        .collect();
    usable.sort_by_key(|gateway| (gateway.node != own, gateway.terms.priority, gateway.node));
    let mut hosts: BTreeMap<&str, Address> = BTreeMap::new();
    for (label, address) in usable.into_iter().flat_map(|gateway| known(gateway, own)) {
        hosts.entry(label).or_default().add(address);
    }
    let nodes: BTreeSet<_> = view.nodes.values().map(|node| node.name.as_str()).collect();
    hosts.retain(|label, _| !nodes.contains(label));
    let named = hosts.into_iter().map(|(label, address)| NodeName {
        label: label.to_owned(),
        address,
    });
    named.collect()
}

/// Hosts behind one gateway, with the addresses by which `own` reaches them.
fn known(gateway: &Gateway, own: NodeId) -> impl Iterator<Item = (&str, IpAddr)> {
    let GatewayTerms { range, names, .. } = &gateway.terms;
    let published = if own == gateway.node {
        *range
    } else {
        gateway.published()
    };
    names
        .iter()
        .filter_map(move |host| Some((host.label.as_str(), host.published(range, &published)?)))
}
