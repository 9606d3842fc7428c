//! What a network says of itself.

use super::floods::Sender;
use super::task::Task;
use crate::dataplane::PeerStats;
use crate::state::Membership;
use meshd_api::local::{
    JoinReply, Membership as Admission, NetworkStatus, PathKind as Kind, PathStatus, PeerStatus, RelayStatus,
    Transport,
};
use meshd_core::id::NodeId;
use meshd_core::map::Node;
use meshd_core::path::{PathKind, RelayView};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

/// Most notes kept; the oldest go first.
const MAX_NOTES: usize = 16;

impl Task {
    /// Keeps a sentence for `status`, once.
    pub(super) fn note(&mut self, sentence: String) {
        if self.notes.contains(&sentence) {
            return;
        }
        if self.notes.len() == MAX_NOTES {
            self.notes.remove(0);
        }
        self.notes.push(sentence);
    }

    /// The status, as it is now.
    pub(super) fn status(&self) -> NetworkStatus {
        let (epoch, map_version) = self.map.at();
        NetworkStatus {
            hostname: self.present_name(),
            listen_port: self.paths.port,
            mtu: self.interface.mtu,
            home_relay: self.paths.home_relay().map(|relay| relay.to_string()),
            epoch,
            map_version,
            relays: self.relays(),
            peers: self.peers(),
            ranges: self.ranges(),
            endpoints: self.endpoints.status().0,
            pods: self.pods_status(),
            ground: self.ground(),
            kube: self.kube.status(),
            warnings: self.warnings(),
            drops: self
                .plane
                .drops()
                .iter()
                .filter(|(_, n)| *n > 0)
                .map(|(reason, n)| (reason.name().to_owned(), n))
                .collect(),
            discovery: self
                .agent
                .counters()
                .iter()
                .filter(|(_, n)| *n > 0)
                .map(|(name, n)| (name.to_owned(), n))
                .collect(),
            ..outline(&self.membership, &self.interface.name, &self.coordinator.state)
        }
    }

    /// What this node is called now: an admin may have renamed it.
    pub(super) fn present_name(&self) -> String {
        let view = self.map.view();
        let own = view
            .as_ref()
            .and_then(|view| view.nodes.get(&self.membership.node));
        own.map_or_else(|| self.allotted().hostname.clone(), |node| node.name.clone())
    }

    fn relays(&self) -> Vec<RelayStatus> {
        let relay = |view: RelayView| {
            let remote = view.bound_to.and_then(|address| self.carriers.remote_of(address));
            let (endpoint, transport) = shown(view.bound_to, remote);
            RelayStatus {
                id: view.id.to_string(),
                endpoint,
                transport,
                rtt_ms: view.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
                home: view.home,
                node: view.node.map(|node| self.name_of(node)),
            }
        };
        self.agent.relays().map(relay).collect()
    }

    fn peers(&self) -> Vec<PeerStatus> {
        let stats: BTreeMap<NodeId, PeerStats> =
            self.plane.stats().into_iter().map(|s| (s.node, s)).collect();
        let Some(view) = self.map.view() else {
            return Vec::new();
        };
        let others = view.nodes.values().filter(|node| node.id != self.membership.node);
        let mut peers: Vec<_> = others.map(|node| self.peer(node, stats.get(&node.id))).collect();
        peers.sort_by(|a, b| a.name.cmp(&b.name));
        peers
    }

    fn peer(&self, node: &Node, stats: Option<&PeerStats>) -> PeerStatus {
        PeerStatus {
            name: node.name.clone(),
            node: node.id.to_string(),
            ipv4: node.ipv4,
            ipv6: node.ipv6,
            public_key: node.keys.wireguard.to_string(),
            path: self.path(node.id),
            last_handshake: stats
                .and_then(|s| s.last_handshake)
                .map(|at| at.elapsed().as_secs()),
            rx_bytes: stats.map_or(0, |s| s.rx_bytes),
            tx_bytes: stats.map_or(0, |s| s.tx_bytes),
        }
    }

    pub(super) fn path(&self, node: NodeId) -> PathStatus {
        let Some((path, rtt)) = self.paths.of(node) else {
            return PathStatus {
                kind: Kind::None,
                endpoint: None,
                transport: None,
                rtt_ms: None,
                mtu: None,
            };
        };
        let primary = path.primary.map(|endpoint| endpoint.address());
        let remote = primary.and_then(|address| self.carriers.remote_of(address));
        let (endpoint, transport) = shown(primary, remote);
        PathStatus {
            kind: match path.kind() {
                PathKind::Direct => Kind::Direct,
                PathKind::Relay => Kind::Relay,
                PathKind::None => Kind::None,
            },
            endpoint,
            transport,
            rtt_ms: rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
            mtu: self
                .agent
                .peer(Instant::now(), node)
                .and_then(|view| view.mtu)
                .filter(|_| transport == Some(Transport::Udp)),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let refusals = self
            .map
            .view()
            .map(|view| view.refusals.iter().map(ToString::to_string).collect::<Vec<_>>());
        let names = self.shared.names.warnings(&self.membership.name);
        refusals
            .into_iter()
            .flatten()
            .chain(self.yielded.iter().cloned())
            .chain(self.gateways.sentences())
            .chain(self.routes.sentences())
            .chain(self.part_sentence())
            .chain(self.limit_sentence())
            .chain(names)
            .chain(self.carriers.warnings())
            .chain(self.beacons.warnings())
            .chain(self.exchange.warnings())
            .chain(self.endpoints.status().1)
            .chain(self.notes.clone())
            .chain(self.flood_warnings())
            .collect()
    }

    /// Who floods this node, in sentences.
    pub(super) fn flood_warnings(&self) -> Vec<String> {
        self.floods.sentences(|sender| {
            let (address, node) = match sender {
                Sender::Host(ip) => (ip.to_string(), self.paths.node_at(ip)),
                Sender::Session(relay, session) => (
                    format!("relay {}", relay.ip()),
                    self.agent.peer_of_session(relay, session),
                ),
            };
            node.map_or(address.clone(), |node| {
                format!("{} ({address})", self.name_of(node))
            })
        })
    }
}

/// What a membership alone says of a network; nothing runs in it.
pub(super) fn outline(m: &Membership, interface: &str, coordinator: &str) -> NetworkStatus {
    let allotted = m
        .allotted
        .as_ref()
        .expect("a network starts with what was allotted");
    NetworkStatus {
        name: m.name.clone(),
        id: m.network.to_string(),
        node: m.node.to_string(),
        hostname: allotted.hostname.clone(),
        interface: interface.to_owned(),
        ipv4: allotted.ipv4,
        ipv6: allotted.ipv6,
        public_key: m.wireguard.public().to_string(),
        listen_port: 0,
        mtu: 0,
        coordinator: coordinator.to_owned(),
        home_relay: None,
        epoch: 0,
        map_version: 0,
        relays: Vec::new(),
        peers: Vec::new(),
        ranges: Vec::new(),
        endpoints: Vec::new(),
        pods: None,
        ground: None,
        kube: None,
        warnings: Vec::new(),
        drops: BTreeMap::new(),
        discovery: BTreeMap::new(),
    }
}

/// What a join of this network answers.
pub(super) fn join_reply(m: &Membership, interface: &str) -> JoinReply {
    let allotted = m
        .allotted
        .as_ref()
        .expect("a network starts with what was allotted");
    JoinReply {
        network: m.name.clone(),
        hostname: allotted.hostname.clone(),
        ipv4: allotted.ipv4,
        ipv6: allotted.ipv6,
        interface: interface.to_owned(),
        state: match allotted.params {
            Some(_) => Admission::Joined,
            None => Admission::Pending,
        },
    }
}

/// An address as people see it: behind a carrier's address on loopback there is a `remote`.
fn shown(address: Option<SocketAddr>, remote: Option<&str>) -> (Option<String>, Option<Transport>) {
    let transport = match remote {
        Some(_) => Transport::Tls,
        None => Transport::Udp,
    };
    let endpoint = address.map(|address| remote.map_or_else(|| address.to_string(), str::to_owned));
    (endpoint, address.map(|_| transport))
}
