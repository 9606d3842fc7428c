//! The path agent's hands: its datagrams are sent, its events carried out.

use super::carrier;
use super::coordinator::Targets;
use super::exchange;
use super::hints::Saved;
use super::record::Changing;
use super::sockets;
use super::task::Task;
use crate::state::Membership;
use meshd_api::coordinator::node::Relay;
use meshd_core::id::{NodeId, RelayId};
use meshd_core::keys::BindKey;
use meshd_core::map::Node;
use meshd_core::path::{Agent, AgentConfig, Destination, Endpoint, Event, Path, PeerInfo};
use meshd_core::relay::RelayInfo;
use meshd_core::statement::Params;
use rand_core::{OsRng, RngCore};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// Bound on the look-up of one relay's name.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What is known of paths besides what the agent knows.
pub(super) struct Paths {
    /// UDP port of the tunnel.
    pub port: u16,
    current: BTreeMap<NodeId, (Path, Option<Duration>)>,
    home_relay: Option<RelayId>,
    pub(super) relays: Vec<RelayInfo>,
    pub(super) saved: Saved,
}

/// A new agent for this network.
pub(super) fn agent(membership: &Membership, params: &Params) -> Agent {
    let mut seed = [0; 32];
    OsRng.fill_bytes(&mut seed);
    let config = AgentConfig {
        node: membership.node,
        network: membership.network,
        discovery: membership.discovery.clone(),
        lan_key: Some(params.lan_key.clone()),
        seed,
    };
    let mut agent = Agent::new(Instant::now(), config);
    agent.set_tunnel_mtu(params.mtu);
    agent
}

/// A peer as the agent knows it.
pub(super) fn peer_info(node: &Node) -> PeerInfo {
    PeerInfo {
        node: node.id,
        discovery: node.keys.discovery,
        candidates: node.candidates.clone(),
        home_relay: node.home_relay,
    }
}

/// Looks the relays' names up. One that cannot be found is left out, with a warning.
pub(super) async fn resolve_relays(relays: &[Relay]) -> Vec<RelayInfo> {
    let mut resolved = Vec::new();
    for relay in relays {
        let (Ok(id), Ok(key)) = (
            relay.id.parse(),
            <[u8; 32]>::try_from(relay.bind_key.0.as_slice()),
        ) else {
            warn!(relay = %relay.id, "the coordinator named a relay in a form that this version does not know");
            continue;
        };
        let mut addresses = Vec::new();
        // The relay's hosts on its first port; the other ports let a node observe its mapping.
        let port = |name: &str| name.rsplit_once(':').map(|(_, port)| port.to_owned());
        let first = relay.udp.first().and_then(|name| port(name));
        for name in relay.udp.iter().filter(|name| port(name) == first) {
            match tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host(name.as_str())).await {
                Ok(Ok(found)) => addresses.extend(found),
                Ok(Err(error)) => warn!(relay = %name, %error, "the relay's name cannot be looked up"),
                Err(_) => warn!(relay = %name, "looking up the relay's name took too long"),
            }
        }
        resolved.push(RelayInfo {
            id,
            addresses,
            key: BindKey::from_bytes(key),
            node: None,
        });
    }
    resolved
}

/// Where the relays speak TLS, and whose certificates count there: the relay's own key, else the coordinator's `pins`.
pub(super) fn over_tls(relays: &[Relay], pins: &[[u8; 32]]) -> BTreeMap<RelayId, Targets> {
    let targets = |relay: &Relay| {
        let id = relay.id.parse().ok()?;
        let own = data_encoding::HEXLOWER.decode(relay.identity.as_bytes()).ok()?;
        let pins = match <[u8; 32]>::try_from(own) {
            Ok(own) => vec![own],
            Err(_) => pins.to_vec(),
        };
        let address = |name: &String| {
            let (host, port) = name.rsplit_once(':')?;
            Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
        };
        let addresses = relay.tls.iter().filter_map(address).collect();
        Some((id, Targets { addresses, pins }))
    };
    relays.iter().filter_map(targets).collect()
}

impl Paths {
    /// Nothing known yet.
    pub fn new(port: u16) -> Self {
        Self {
            port,
            current: BTreeMap::new(),
            home_relay: None,
            relays: Vec::new(),
            saved: Saved::nothing(),
        }
    }

    /// The path to a node and its round trip.
    pub fn of(&self, node: NodeId) -> Option<(Path, Option<Duration>)> {
        self.current.get(&node).copied()
    }

    /// The relay that this node is bound to.
    pub fn home_relay(&self) -> Option<RelayId> {
        self.home_relay
    }

    /// A node whose packets go straight to this address.
    pub fn node_at(&self, ip: IpAddr) -> Option<NodeId> {
        let at = |path: &Path| path.direct().is_some_and(|remote| remote.address.ip() == ip);
        self.current
            .iter()
            .find(|(_, (path, _))| at(path))
            .map(|(node, _)| *node)
    }

    /// Forgets nodes that are gone.
    pub fn retain(&mut self, keep: impl Fn(&NodeId) -> bool) {
        self.current.retain(|node, _| keep(node));
    }

    /// What this node's record says of where it is.
    pub fn changing(&self, agent: &Agent) -> Changing {
        Changing {
            candidates: agent.candidates(),
            home_relay: self.home_relay,
        }
    }
}

impl Paths {
    /// Where the relays are.
    pub fn relay_hosts(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let addresses = self.relays.iter().flat_map(|relay| relay.addresses.iter());
        addresses.map(SocketAddr::ip)
    }
}

impl Task {
    /// Uses these relays from now on.
    pub(super) fn use_relays(&mut self, relays: Vec<RelayInfo>) {
        if relays == self.paths.relays {
            return;
        }
        self.paths.relays = relays;
        self.relays_changed();
        self.paths.save(&self.agent, &self.carriers, &self.files);
    }

    /// Tells agent and data plane which relays there are: the coordinator's, and nodes.
    pub(super) fn relays_changed(&mut self) {
        let relays: Vec<RelayInfo> = self.all_relays().collect();
        self.agent.set_relays(Instant::now(), &relays);
        for (relay, local) in self.carriers.up().collect::<Vec<_>>() {
            self.agent.set_carrier(Instant::now(), relay, Some(local));
        }
        self.admit_relays();
    }

    fn all_relays(&self) -> impl Iterator<Item = RelayInfo> {
        let nodes = self.node_relays.infos(self.membership.network);
        self.paths.relays.iter().cloned().chain(nodes)
    }

    /// Tells the data plane whose relay frames it takes.
    pub(super) fn admit_relays(&self) {
        let udp = self.all_relays().flat_map(|relay| relay.addresses);
        self.plane
            .set_relays(udp.chain(self.carriers.addresses()).collect());
    }

    /// A relay over TLS works, or does not any more.
    pub(super) fn carrier_changed(&mut self, relay: RelayId, state: carrier::State) {
        if let Some(local) = self.carriers.note(relay, state) {
            self.admit_relays();
            self.agent.set_carrier(Instant::now(), relay, local);
        }
    }

    /// Sends what the agent wants sent and does what its events say.
    pub(super) fn drain_agent(&mut self) {
        while let Some(event) = self.agent.poll_event() {
            self.agent_decided(event);
        }
        while let Some(transmit) = self.agent.poll_transmit() {
            match transmit.to {
                Destination::Socket(remote) => {
                    let to = Endpoint::Direct(remote);
                    if let Err(error) = self.plane.send_with_ttl(to, transmit.ttl, &transmit.bytes) {
                        debug!(address = %remote.address, %error, "a control datagram was not sent");
                    }
                }
                Destination::Beacon => self.beacons.send(&transmit.bytes),
            }
        }
    }

    fn agent_decided(&mut self, event: Event) {
        match event {
            Event::PathChanged { peer, path, rtt } => {
                let known = self.paths.current.insert(peer, (path, rtt));
                let elsewhere = |(before, _): (Path, _)| before.direct() != path.direct();
                if path.direct().is_some() && known.is_none_or(elsewhere) {
                    self.paths.saved.has_news();
                }
                if known.is_none_or(|(before, _)| before.kind() != path.kind()) {
                    info!(peer = %self.name_of(peer), kind = ?path.kind(), to = ?path.primary.map(|e| e.address()), "path");
                }
                self.plane.follow(peer, path);
                self.node_relay_moved(peer);
            }
            Event::Initiate { peer } => self.plane.initiate(peer),
            Event::PeerRestarted { peer } => debug!(peer = %self.name_of(peer), "was restarted"),
            Event::Ponged { peer, way, rtt } => self.ponged(peer, way, rtt),
            Event::Goodbye { peer } => {
                info!(peer = %self.name_of(peer), "goes away");
                self.gateway_goes(peer);
            }
            Event::MapNewer { peer, map } => {
                debug!(peer = %self.name_of(peer), epoch = map.epoch, version = map.version, "holds a newer map");
                self.fetch_map(peer);
            }
            Event::ReflexiveAddress { address, .. } => {
                debug!(%address, "this is where others see this node");
                self.publish(false);
            }
            Event::OpenSockets { first, count, ipv6 } => {
                // the ids of those that are opened stay consecutive: the missing ones are the last
                self.plane.open_sockets(first, sockets::fresh(count, ipv6));
            }
            Event::CloseSockets { first, count } => self.plane.close_sockets(first, count),
            Event::Carrier { relay, wanted } => {
                self.carriers.want(relay, wanted);
                if !wanted {
                    self.agent.set_carrier(Instant::now(), relay, None);
                    self.admit_relays();
                }
            }
            Event::HomeRelay { relay } => {
                self.paths.home_relay = relay;
                self.publish(false);
            }
        }
    }

    fn fetch_map(&mut self, peer: NodeId) {
        let Some(address) = self
            .map
            .view()
            .and_then(|view| view.nodes.get(&peer).map(|node| node.ipv4))
        else {
            return;
        };
        let own = IpAddr::from(self.interface.addresses.0);
        if self.fetching.insert(peer) {
            self.fetches
                .spawn(async move { (peer, exchange::fetch(own, IpAddr::from(address)).await) });
        }
    }

    /// A map came from a peer, or did not.
    pub(super) fn fetched(
        &mut self,
        peer: NodeId,
        map: Result<hyper::body::Bytes, meshd_api::client::ClientError>,
    ) {
        self.fetching.remove(&peer);
        let name = self.name_of(peer);
        let taken = map
            .map_err(|error| error.to_string())
            .and_then(|bytes| self.map.take_full(&bytes).map_err(|error| error.to_string()));
        match taken {
            Ok(_) => {
                info!(peer = %name, at = ?self.map.at(), "took the newer map from a peer");
                self.map_changed();
            }
            Err(error) => debug!(peer = %name, %error, "the peer's map was not taken"),
        }
    }

    /// A node's name for people; its id where it has none.
    pub(super) fn name_of(&self, node: NodeId) -> String {
        let view = self.map.view();
        view.and_then(|view| view.nodes.get(&node).map(|n| n.name.clone()))
            .unwrap_or_else(|| node.to_string())
    }
}
