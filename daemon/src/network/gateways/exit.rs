//! The exit nodes that this node chose: everything that has no better way goes through the first of them that is well.
//!
//! Default routes into the tunnel stand in our own table, beside `throw` routes for all that keeps its own way: every
//! route of the main table but default ones (LANs, containers, what an admin set), the other meshes of this machine, and the
//! hosts of relays and coordinator. What carries the tunnel to peers is marked and never looked up there. So nothing of the
//! machine's own routing is touched.

use super::super::task::Task;
use crate::state::NetworkFiles;
use ipnet::IpNet;
use meshd_api::Problem;
use meshd_api::local::Done;
use meshd_core::id::NodeId;
use meshd_net::netlink::{MAIN_TABLE, OWN_PROTOCOL, Route, RouteKind};
use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::time::Duration;
use tracing::{info, warn};

/// Name of the file in the network's state folder.
const FILE: &str = "exit";
/// Bound on the look-up of the coordinator's name.
const RESOLVE: Duration = Duration::from_secs(2);
/// What means something on a link only.
const LINK_ONLY: [&str; 5] = [
    "169.254.0.0/16",
    "224.0.0.0/4",
    "255.255.255.255/32",
    "fe80::/10",
    "ff00::/8",
];

/// What was chosen.
#[derive(Default)]
pub struct Exit {
    nodes: Vec<NodeId>,
    /// Addresses of the coordinator, as last found.
    coordinator: BTreeSet<IpAddr>,
}

impl Exit {
    /// What was chosen in an earlier life.
    pub fn recall(files: &NetworkFiles) -> Self {
        let bytes = files.load(FILE).unwrap_or_else(|error| {
            warn!("{error}");
            None
        });
        let text = bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        Self {
            nodes: text
                .iter()
                .flat_map(|text| text.split_whitespace())
                .filter_map(|id| id.parse().ok())
                .collect(),
            coordinator: BTreeSet::new(),
        }
    }

    /// The nodes chosen, the one to use first at the front.
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }
}

impl Task {
    /// Uses the exit nodes called so from now on, each where those before it are not well; or none.
    pub(in crate::network) fn use_exits(&mut self, names: &[String]) -> Result<Done, Problem> {
        let mut nodes = Vec::new();
        if names != ["none"] {
            for name in names {
                let node = self.exit_called(name)?;
                if !nodes.contains(&node) {
                    nodes.push(node);
                }
            }
        }
        let text: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        self.files
            .save(FILE, text.join(" ").as_bytes())
            .map_err(|error| Problem::new("state", error.to_string()))?;
        self.gateways.exit.nodes = nodes;
        info!(exits = ?names, "exit nodes");
        self.map_changed();
        self.gateways.touch();
        let message = match self.chosen_exits() {
            none if none.is_empty() => "this machine's own uplink is used again".to_owned(),
            names => format!(
                "everything that has no better way goes through {} now",
                names.join(", and where that is not well through ")
            ),
        };
        Ok(Done { message })
    }

    /// The names of the exits chosen, in quotes.
    fn chosen_exits(&self) -> Vec<String> {
        let nodes = self.gateways.exit.nodes().iter();
        nodes.map(|node| format!("\"{}\"", self.name_of(*node))).collect()
    }

    fn exit_called(&self, name: &str) -> Result<NodeId, Problem> {
        let node = self.peer_called(name)?;
        let view = self.map.view();
        let own = view
            .as_ref()
            .and_then(|view| view.nodes.get(&self.membership.node).cloned());
        let tags = own
            .map(|own| own.membership.terms.tags.clone())
            .unwrap_or_default();
        let serves = view.is_some_and(|view| {
            let mut exits = view
                .gateways
                .iter()
                .filter(|gateway| gateway.is_exit() && gateway.node == node);
            exits.any(|gateway| gateway.serves(self.membership.node, &tags))
        });
        if !serves {
            let sentence = format!(
                "\"{name}\" is no exit node that this node may use; an admin makes one with `meshctl gateway add {name} --exit`"
            );
            return Err(Problem::new("no-exit", sentence));
        }
        match strict(self.underlay.names.iter()) {
            None => Ok(node),
            Some(interface) => Err(Problem::new(
                "strict-reverse-path",
                format!(
                    "net.ipv4.conf.{interface}.rp_filter is 1: this machine would drop what carries the tunnel once everything else \
                     goes through it; set it to 2 (loose), as most distributions do"
                ),
            )),
        }
    }

    fn uses_exit(&self) -> bool {
        self.gateways
            .duties
            .ranges
            .iter()
            .any(|range| range.prefix.prefix_len() == 0)
    }

    /// Looks the coordinator's hosts up while an exit is in use. One that is not found is looked up again at the next change.
    pub(super) async fn find_coordinator(&mut self) {
        if !self.uses_exit() {
            return;
        }
        let mut found = BTreeSet::new();
        for (host, port) in &self.membership.addresses {
            let looked_up =
                tokio::time::timeout(RESOLVE, tokio::net::lookup_host((host.as_str(), *port))).await;
            found.extend(
                looked_up
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|address| address.ip()),
            );
        }
        if !found.is_empty() {
            self.gateways.exit.coordinator = found;
        }
    }

    /// What keeps its own way while an exit is in use.
    pub(super) fn kept_from_exit(&mut self, routes: &[Route]) -> Vec<IpNet> {
        if !self.uses_exit() {
            let lost = self.chosen_exits().join(", ");
            if !lost.is_empty() {
                self.gateways.sentences.push(format!(
                    "{lost}, which this node chose, is no exit node now; this machine's own uplink is used"
                ));
            }
            return Vec::new();
        }
        let own = self.interface.index;
        let elsewhere = routes.iter().filter(|route| {
            route.kind == RouteKind::Unicast
                && route.destination.prefix_len() > 0
                && route.interface != Some(own)
                && (route.table == MAIN_TABLE || route.protocol == OWN_PROTOCOL)
        });
        let hosts = self
            .gateways
            .exit
            .coordinator
            .iter()
            .copied()
            .chain(self.paths.relay_hosts());
        let links = LINK_ONLY.iter().filter_map(|prefix| prefix.parse().ok());
        let kept = elsewhere.map(|route| route.destination.trunc()).chain(links);
        kept.chain(hosts.map(IpNet::from)).collect()
    }
}

/// The first of these interfaces on which this machine checks the reverse path strictly (the higher value of `all` and its
/// own counts).
fn strict<'a>(mut interfaces: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let value = |name: &str| {
        let read = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"));
        read.ok()
            .and_then(|value| value.trim().parse::<u8>().ok())
            .unwrap_or(0)
    };
    let all = value("all");
    interfaces.find(|name| value(name).max(all) == 1)
}
