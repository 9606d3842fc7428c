//! What follows from a map: the data plane's peers, the agent's peers, the names in the hosts file.

use super::task::Task;
use crate::dataplane::PeerConfig;
use ipnet::IpNet;
use meshd_core::balance;
use meshd_core::gateway::hosts;
use meshd_core::id::NodeId;
use meshd_core::map::{Node, View};
use meshd_core::names::{Address, NetworkNames, NodeName};
use meshd_core::path::MapVersion;
use meshd_core::statement::PodPrefixes;
use std::time::Instant;

impl Task {
    /// Brings everything in line with what is believed now. What did not change is untouched.
    pub(super) fn map_changed(&mut self) {
        self.shared.settle.soon();
        self.judge_gateways();
        self.judge_pods();
        self.judge_grants();
        self.endpoints_stale = true;
        self.allow_ingress();
        let Some(view) = self.map.view() else { return };
        let others: Vec<_> = view
            .nodes
            .values()
            .filter(|node| node.id != self.membership.node)
            .collect();
        // Removed peers first: from here on no packet of theirs passes.
        self.set_plane_peers();
        self.agent.set_peers(
            Instant::now(),
            others.iter().map(|node| super::paths::peer_info(node)),
        );
        let (epoch, version) = self.map.at();
        self.agent.set_map(MapVersion { epoch, version });
        self.shared
            .names
            .set(names(&self.membership.name, self.membership.node, &view));
        self.paths.retain(|node| view.nodes.contains_key(node));
        self.relays_of_map(&view);
    }

    /// Gives the data plane its peers, each with the ranges that go to it now.
    pub(super) fn set_plane_peers(&self) {
        let Some(view) = self.map.view() else { return };
        let others = view.nodes.values().filter(|node| node.id != self.membership.node);
        let peers = others.map(|node| PeerConfig {
            also_from: (self.gateways.also_from(node.id))
                .chain(self.routes.also_from(node.id))
                .collect(),
            ..peer(
                node,
                (self.gateways.routed_to(node.id))
                    .chain(pods(&view, node.id))
                    .chain(self.routes.to(node.id)),
            )
        });
        self.plane.set_peers(peers.collect());
    }
}

/// The prefixes of a node's pods.
fn pods(view: &View, node: NodeId) -> impl Iterator<Item = IpNet> + '_ {
    let part = view.parts.get(&node).into_iter();
    part.flat_map(PodPrefixes::all)
}

/// A node as the data plane's peer, with the ranges that go to it.
fn peer(node: &Node, ranges: impl Iterator<Item = IpNet>) -> PeerConfig {
    let own = [
        IpNet::from(std::net::IpAddr::from(node.ipv4)),
        std::net::IpAddr::from(node.ipv6).into(),
    ];
    PeerConfig {
        node: node.id,
        public_key: node.keys.wireguard,
        allowed_ips: own.into_iter().chain(ranges).collect(),
        also_from: Vec::new(),
        preshared_key: None,
        keepalive: None,
        roaming: false,
    }
}

fn names(network: &str, own: NodeId, view: &View) -> NetworkNames {
    let name = |node: &Node| NodeName {
        label: node.name.clone(),
        address: Address {
            ipv4: Some(node.ipv4),
            ipv6: Some(node.ipv6),
        },
    };
    let hosts = hosts(view, own);
    let nodes = view.nodes.values().map(|node| node.name.as_str());
    let taken = nodes
        .chain(hosts.iter().map(|host| host.label.as_str()))
        .collect();
    let endpoints = balance::names(&view.endpoints, &view.params, &taken);
    NetworkNames {
        network: network.to_owned(),
        nodes: view
            .nodes
            .values()
            .map(|node| name(node))
            .chain(hosts)
            .chain(endpoints)
            .collect(),
        blocked: view.blocked_names.keys().cloned().collect(),
    }
}
