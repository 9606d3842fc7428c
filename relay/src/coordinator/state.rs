//! The state, and the one way in which it changes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use meshd_api::coordinator::node::{Relay, StreamLine};
use meshd_core::auth::{AdminAuthorization, AdminRequest, EXPORTER_LEN, NodeAuthorization};
use meshd_core::expose::OwnPort;
use meshd_core::id::{NetworkId, NodeId, RelayId};
use meshd_core::keys::{CoordinatorPublic, CoordinatorSecret, RootPublic};
use meshd_core::map::MapError;
use meshd_core::relay::bind_key;
use meshd_core::token::CoordinatorAddress;
use serde::Serialize;
use tokio::sync::{Notify, watch};
use zeroize::Zeroizing;

use super::audit::Audit;
use super::ingress::{self, Ask, Judged};
use super::network::Network;
use super::once::Answers;
use super::refusal::Refusal;
use super::relays::OtherRelays;
use crate::expose::Wanted;
use crate::packets::Members;
use crate::store::rows;
use crate::store::{Batch, Store, Table};

/// What this host is to nodes.
pub struct Site {
    /// The relay's id.
    pub relay: RelayId,
    /// The secret that makes bind keys.
    pub relay_secret: Zeroizing<[u8; 32]>,
    /// Names and addresses of this host; where there are none, nodes use the address that they reached.
    pub hosts: Vec<String>,
    /// TCP port of the coordinator.
    pub https_port: u16,
    /// UDP ports: the first carries frames, all answer STUN.
    pub udp_ports: Vec<u16>,
    /// Root keys of networks that an admin elsewhere may make.
    pub network_keys: Vec<RootPublic>,
    /// How long an ephemeral node may be away.
    pub ephemeral_after: Duration,
    /// Ports on which meshrelay itself listens.
    pub own_ports: Vec<OwnPort>,
}

impl Site {
    /// The root key of a network that is not there yet, and that its admin may make from elsewhere.
    pub(super) fn root_to_be(&self, network: NetworkId) -> Option<RootPublic> {
        let mut keys = self.network_keys.iter();
        keys.find(|root| NetworkId::of_root(root) == network).copied()
    }
}

/// All that the coordinator knows.
pub struct State {
    pub(super) store: Arc<dyn Store>,
    pub(super) identity: CoordinatorSecret,
    pub(super) site: Site,
    pub(super) networks: BTreeMap<NetworkId, Network>,
    pub(super) members: Members,
    pub(super) answers: Answers,
    pub(super) audit: Audit,
    /// Relays on other hosts.
    pub(super) others: OtherRelays,
    /// Set when memory may differ from the store.
    pub(super) stale: bool,
    /// Set when another life has taken over the store.
    pub(super) retired: bool,
    pub(super) dirty: Arc<Notify>,
    /// What nodes ask for, by allowance.
    pub(super) asks: BTreeMap<ingress::Key, Ask>,
    /// And what became of it.
    pub(super) judged: BTreeMap<ingress::Key, Judged>,
    /// What is exposed, for the ingress.
    pub(super) exposed: watch::Sender<Arc<[Wanted]>>,
}

/// What a change did beside the rows that it wrote.
#[derive(Default)]
pub struct Effect {
    /// Nodes that are out by it, to be told why.
    pub gone: Vec<(NodeId, StreamLine)>,
    /// Nodes that are in by it and had no map.
    pub admitted: Vec<(NodeId, StreamLine)>,
    /// A line for the audit log.
    pub audit: Option<String>,
}

impl Effect {
    /// Nothing but a line for the audit log.
    pub fn audited(network: &Network, line: &str) -> Self {
        Self {
            audit: Some(format!("network {}: {line}", network.name())),
            ..Self::default()
        }
    }

    /// And these nodes are out, each told the same.
    pub fn with_gone(mut self, nodes: impl IntoIterator<Item = NodeId>, last: &StreamLine) -> Self {
        self.gone
            .extend(nodes.into_iter().map(|node| (node, last.clone())));
        self
    }
}

/// Unix time in s.
pub fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

impl State {
    /// The coordinator's identity.
    pub fn identity(&self) -> CoordinatorPublic {
        self.identity.public()
    }

    pub(super) fn dirty(&self) -> Arc<Notify> {
        self.dirty.clone()
    }

    /// A network by id.
    pub fn network(&mut self, id: NetworkId) -> Result<&mut Network, Refusal> {
        self.networks.get_mut(&id).ok_or_else(|| Refusal::Unknown {
            what: "network",
            name: id.to_string(),
            hint: "it was deleted, or this coordinator was set up anew",
        })
    }

    /// A change of one network: all or nothing, durable when it returns. `work` checks before it changes anything, and
    /// changes memory and batch alike.
    pub fn write<T: Serialize>(
        &mut self,
        id: NetworkId,
        work: impl FnOnce(&mut Network, &mut Batch) -> Result<(T, Effect), Refusal>,
    ) -> Result<T, Refusal> {
        self.refresh()?;
        let identity = self.identity.clone();
        let network = self.network(id)?;
        let mut batch = Batch::default();
        let worked = work(network, &mut batch).and_then(|done| {
            network.allot_pods(&[], &mut batch)?;
            Ok(done)
        });
        let (value, effect) = match worked {
            Ok(done) => done,
            Err(refusal) => {
                // a change that was begun and given up leaves nothing behind
                self.stale |= !batch.is_empty();
                self.refresh()?;
                return Err(refusal);
            }
        };
        match network.map.commit(&identity) {
            Ok(_) => {}
            Err(MapError::Header(refused)) => return Err(refused.into()),
            Err(other) => return Err(Refusal::Invalid(other.to_string())),
        }
        batch.put(Table::Networks, id.to_bytes(), rows::encode(&network.row()));
        if let Some(line) = &effect.audit {
            self.audit.add(line, &mut batch);
        }
        self.commit(&value, batch)?;
        self.in_force(id, effect);
        Ok(value)
    }

    /// Commits a batch together with the answer that is given for it. If that fails, memory is read from the store again.
    pub(super) fn commit<T: Serialize>(&mut self, answer: &T, mut batch: Batch) -> Result<(), Refusal> {
        let answer = self.answers.save(answer, &mut batch);
        if let Err(failed) = self.store.commit(&batch) {
            self.stale = true;
            // if this fails too, the next change tries again before it begins
            let _ = self.refresh();
            return Err(failed.into());
        }
        self.answers.keep(answer);
        Ok(())
    }

    /// What follows a change that is on disk.
    fn in_force(&mut self, id: NetworkId, effect: Effect) {
        if let Some(network) = self.networks.get_mut(&id) {
            self.members.set(id, network.members());
            self.others.members_changed(id, network.relay_members());
            for (node, last) in effect.gone {
                network.hub.forget(node, &last);
            }
            for (node, first) in effect.admitted {
                network.hub.tell(node, &first);
                network.hub.catch_up(node, (0, 0), &network.map);
            }
        }
        self.tell_ingress();
        self.dirty.notify_one();
    }

    /// Whether the holder of the node's identity made this proof in this session, and the node is in.
    pub fn authenticate(
        &mut self,
        proof: &NodeAuthorization,
        exporter: &[u8; EXPORTER_LEN],
    ) -> Result<(), Refusal> {
        let network = self.network(proof.network)?;
        let Some(node) = network.nodes.get(&proof.node) else {
            return Err(match network.map.removal_of(proof.node, None) {
                Some((death, proof)) => Refusal::Removed { death, proof },
                None => Refusal::Unknown {
                    what: "node",
                    name: proof.node.to_string(),
                    hint: "it was removed or never joined; join again",
                },
            });
        };
        match proof.verify(exporter, &node.identity()) {
            true => Ok(()),
            false => Err(Refusal::Unproven(
                "the signature does not prove that you are this node",
            )),
        }
    }

    /// Whether the holder of the network's root key made this request in this session.
    pub fn authenticate_admin(
        &mut self,
        proof: &AdminAuthorization,
        request: &AdminRequest<'_>,
    ) -> Result<(), Refusal> {
        let to_be = self.site.root_to_be(proof.network);
        let root = match self.network(proof.network) {
            Ok(network) => network.params.value().root,
            Err(unknown) => to_be.ok_or(unknown)?,
        };
        match proof.verify(request, &root) {
            true => Ok(()),
            false => Err(Refusal::Unproven(
                "the request is not signed by the network's root key",
            )),
        }
    }

    /// The relays that a node may use, as seen by who reached this host at `reached`.
    pub fn relays(&self, network: NetworkId, node: NodeId, reached: IpAddr) -> Vec<Relay> {
        let reached = [reached.to_canonical().to_string()];
        let hosts = if self.site.hosts.is_empty() {
            &reached[..]
        } else {
            &self.site.hosts
        };
        let with_port = |port: &u16| {
            hosts
                .iter()
                .map(|host| address_text(host, *port))
                .collect::<Vec<_>>()
        };
        let own = Relay {
            id: self.site.relay.to_string(),
            udp: self.site.udp_ports.iter().flat_map(with_port).collect(),
            tls: with_port(&self.site.https_port),
            identity: String::new(),
            bind_key: bind_key(&self.site.relay_secret, network, node).as_bytes()[..].into(),
        };
        [own]
            .into_iter()
            .chain(self.others.for_node(network, node))
            .collect()
    }

    /// Where this host is reached on these ports, as far as it was told.
    pub(super) fn own_addresses(&self, ports: &[u16]) -> Vec<String> {
        let hosts = self.site.hosts.iter();
        hosts
            .flat_map(|host| ports.iter().map(move |port| address_text(host, *port)))
            .collect()
    }

    /// The addresses for tokens.
    pub fn addresses(&self) -> Result<Vec<CoordinatorAddress>, Refusal> {
        let refused = |error: meshd_core::token::TokenError| Refusal::Invalid(error.to_string());
        let addresses = self
            .site
            .hosts
            .iter()
            .map(|host| CoordinatorAddress::new(host, self.site.https_port));
        let addresses = addresses.collect::<Result<Vec<_>, _>>().map_err(refused)?;
        if addresses.is_empty() {
            return Err(Refusal::Invalid(
                "this meshrelay does not know how nodes reach it: set public-addr in /etc/meshrelay/config.toml, or start it with \
                 --public-addr HOST; then restart it"
                    .into(),
            ));
        }
        Ok(addresses)
    }

    /// Brings all streams to the present maps, once these are on disk.
    pub fn push_maps(&mut self) {
        if self.stale {
            return;
        }
        for network in self.networks.values_mut() {
            network.hub.push_map(&network.map);
        }
    }

    /// Says something on all streams.
    pub fn ping_all(&mut self) {
        self.networks
            .values_mut()
            .for_each(|network| network.hub.ping_all());
        self.others.ping_all();
    }

    /// Ends all streams and answers nothing any more: the program stops, or the store holds another state.
    pub fn retire(&mut self) {
        self.retired = true;
        self.networks
            .values_mut()
            .for_each(|network| network.hub.end_all());
        self.others.end_all();
    }

    /// Removes ephemeral nodes that are away for longer than `after`.
    pub fn remove_absent(&mut self, after: Duration) -> Result<(), Refusal> {
        let ids: Vec<NetworkId> = self.networks.keys().copied().collect();
        for id in ids {
            let absent = self.network(id)?.absent(after);
            if absent.is_empty() {
                continue;
            }
            self.write(id, |network, batch| {
                for node in &absent {
                    network.map.drop_ephemeral(*node);
                }
                network.forget_nodes(&absent, batch);
                let line = notice("removed", "this ephemeral node was away for too long");
                let gone = absent.iter().map(|node| (*node, line.clone())).collect();
                let audit = format!(
                    "network {}: {} ephemeral node(s) removed, away too long",
                    network.name(),
                    absent.len()
                );
                Ok((
                    (),
                    Effect {
                        gone,
                        audit: Some(audit),
                        ..Effect::default()
                    },
                ))
            })?;
        }
        Ok(())
    }
}

impl Network {
    /// Ephemeral nodes that nobody heard of for `after`.
    fn absent(&mut self, after: Duration) -> Vec<NodeId> {
        let now = Instant::now();
        let ephemeral: Vec<NodeId> = self
            .nodes
            .iter()
            .filter(|(_, node)| self.delegation_of(node).is_some_and(|held| held.terms.ephemeral))
            .map(|(id, _)| *id)
            .collect();
        let hub = &mut self.hub;
        ephemeral
            .into_iter()
            .filter(|node| now.saturating_duration_since(hub.seen_or_now(*node)) >= after)
            .collect()
    }
}

/// A notice line.
pub fn notice(code: &str, message: impl Into<String>) -> StreamLine {
    StreamLine::Notice {
        code: code.into(),
        message: message.into(),
    }
}

fn address_text(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
