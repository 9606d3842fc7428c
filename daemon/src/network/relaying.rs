//! Nodes of the network as relays: this node as one, and the others that this node uses.
//!
//! A node relay is used at the address at which it answers directly; where it does not, as long as it is not bound, it is
//! called now and then as if packets went to it, so that a direct path is found.

use super::task::Task;
use crate::dataplane::{Relaying, channel};
use meshd_core::id::{NodeId, RelayId};
use meshd_core::keys::{BindKey, DiscoveryPublic};
use meshd_core::map::View;
use meshd_core::path::Endpoint;
use meshd_core::relay::frame::{Control, Frame, parse};
use meshd_core::relay::node_relay::{Pair, relay_id};
use meshd_core::relay::{RelayConfig, RelayInfo, RelayServer, Verdict};
use rand_core::{OsRng, RngCore};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tracing::{debug, info};

/// How often a node relay that this node is not bound at is called.
const CALL_EVERY: Duration = Duration::from_secs(30);

/// What there is of node relays.
#[derive(Default)]
pub(super) struct NodeRelays {
    serving: Option<Serving>,
    others: BTreeMap<NodeId, Other>,
}

/// This node as a relay.
struct Serving {
    server: Relaying,
    /// The members' keys, with what each follows from: an agreement costs 50 µs.
    members: BTreeMap<NodeId, (DiscoveryPublic, BindKey)>,
}

/// Another node that relays.
struct Other {
    discovery: DiscoveryPublic,
    key: BindKey,
    address: Option<SocketAddr>,
    called: Option<Instant>,
}

impl NodeRelays {
    /// The relays that can be used, as the agent knows them.
    pub(super) fn infos(&self, network: meshd_core::id::NetworkId) -> impl Iterator<Item = RelayInfo> {
        self.others.iter().filter_map(move |(node, other)| {
            Some(RelayInfo {
                id: relay_id(network, *node),
                addresses: vec![other.address?],
                key: other.key.clone(),
                node: Some(*node),
            })
        })
    }
}

impl Task {
    /// The map says which nodes relay, and for whom.
    pub(super) fn relays_of_map(&mut self, view: &View) {
        self.serve_as_relay(view);
        let own = self.membership.node;
        let wanted = view.relays.iter().filter(|node| **node != own);
        let wanted: Vec<_> = wanted.filter_map(|node| view.nodes.get(node)).collect();
        let others = &mut self.node_relays.others;
        let before = others.len();
        others.retain(|node, other| {
            wanted
                .iter()
                .any(|wanted| wanted.id == *node && wanted.keys.discovery == other.discovery)
        });
        let mut changed = others.len() != before;
        for node in wanted {
            if self.node_relays.others.contains_key(&node.id) {
                continue;
            }
            let pair = Pair {
                network: self.membership.network,
                node: own,
                relay: node.id,
            };
            let Some(key) = pair.bind_key(&self.membership.discovery, &node.keys.discovery) else {
                continue;
            };
            info!(relay = %node.name, "this node relays for the network");
            let other = Other {
                discovery: node.keys.discovery,
                key,
                address: self.direct_address(node.id),
                called: None,
            };
            changed |= other.address.is_some();
            self.node_relays.others.insert(node.id, other);
        }
        if changed {
            self.relays_changed();
        }
        self.call_node_relays(Instant::now());
    }

    fn serve_as_relay(&mut self, view: &View) {
        let own = self.membership.node;
        if !view.relays.contains(&own) {
            if self.node_relays.serving.take().is_some() {
                info!("this node does not relay for others any more");
                self.plane.set_relaying(None);
            }
            return;
        }
        let (network, secret) = (self.membership.network, self.membership.discovery.clone());
        let limit = self.shared.config.relay_limit;
        let serving = self.node_relays.serving.get_or_insert_with(|| {
            info!("this node relays for others of its network");
            let (mut seed, mut unused) = ([0; 32], [0; 32]);
            OsRng.fill_bytes(&mut seed);
            OsRng.fill_bytes(&mut unused);
            let mut server = RelayServer::new(Instant::now(), unused, seed, RelayConfig::default());
            server.set_quota(network, limit);
            Serving {
                server: Arc::new(RwLock::new(server)),
                members: BTreeMap::new(),
            }
        });
        let others = view.nodes.values().filter(|node| node.id != own);
        let mut members = BTreeMap::new();
        for node in others {
            let pair = Pair {
                network,
                node: node.id,
                relay: own,
            };
            let held = serving.members.remove(&node.id);
            let held = held.filter(|(discovery, _)| *discovery == node.keys.discovery);
            let key = held.map(|(_, key)| key);
            if let Some(key) = key.or_else(|| pair.bind_key(&secret, &node.keys.discovery)) {
                members.insert(node.id, (node.keys.discovery, key));
            }
        }
        let keyed = members.iter().map(|(node, (_, key))| (*node, key.clone()));
        let mut server = serving.server.write().unwrap_or_else(PoisonError::into_inner);
        server.set_keyed_members(network, keyed);
        drop(server);
        serving.members = members;
        self.plane.set_relaying(Some(serving.server.clone()));
    }

    /// A request to this node as a relay; false where it is none.
    pub(super) fn relay_request(&mut self, from: Endpoint, local: Option<IpAddr>, bytes: &[u8]) -> bool {
        let Some(serving) = &self.node_relays.serving else {
            return false;
        };
        let request = matches!(
            parse(bytes),
            Some(Frame::Control(
                Control::BindRequest { .. } | Control::OpenRequest { .. }
            ))
        );
        if !request || from.is_relay() {
            return false;
        }
        let from = channel(from, local);
        let mut server = serving.server.write().unwrap_or_else(PoisonError::into_inner);
        let verdict = server.handle_control(Instant::now(), from, bytes);
        drop(server);
        if let Verdict::Reply(frame) = verdict {
            let to = Endpoint::direct(from.address);
            if let Err(error) = self.plane.send_from(to, from.local, &frame) {
                debug!(address = %from.address, %error, "a relay's answer was not sent");
            }
        }
        true
    }

    /// The path to a node is another one: a node relay is used where it answers directly.
    pub(super) fn node_relay_moved(&mut self, node: NodeId) {
        let address = self.direct_address(node);
        let Some(other) = self.node_relays.others.get_mut(&node) else {
            return;
        };
        if address.is_some() && other.address != address {
            other.address = address;
            self.relays_changed();
        }
    }

    /// The address at which a node answers directly on its own port's socket.
    fn direct_address(&self, node: NodeId) -> Option<SocketAddr> {
        let (path, _) = self.paths.of(node)?;
        let direct = path.direct().filter(|remote| remote.socket.is_primary())?;
        Some(direct.address)
    }

    /// Calls the node relays that this node is not bound at, and does what is due at its own.
    pub(super) fn call_node_relays(&mut self, now: Instant) {
        if let Some(serving) = &self.node_relays.serving {
            let mut server = serving.server.write().unwrap_or_else(PoisonError::into_inner);
            if server.poll_timeout() <= now {
                server.handle_timeout(now);
            }
        }
        let network = self.membership.network;
        let bound = self.agent.relays().filter(|relay| relay.bound_to.is_some());
        let bound: Vec<RelayId> = bound.map(|relay| relay.id).collect();
        let due = |other: &Other| other.called.is_none_or(|at| now.duration_since(at) >= CALL_EVERY);
        for (node, other) in &mut self.node_relays.others {
            if due(other) && !bound.contains(&relay_id(network, *node)) {
                other.called = Some(now);
                self.agent.handle_activity(now, *node);
            }
        }
    }
}
