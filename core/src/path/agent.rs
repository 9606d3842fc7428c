//! The agent: inputs go to the peer that they are about, timers to the one that is due.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

use crate::demux::{Class, RELAY_CONTROL_SESSION, classify, split_relay};
use crate::id::{NetworkId, NodeId, RelayId};
use crate::keys::{DiscoveryPublic, DiscoverySecret, LanKey};
use crate::nat::NatBehaviour;
use crate::relay::{RelayEvent, RelayInfo};
use crate::statement::Candidate;

use super::beacon::{self, Beacon};
use super::beaconing::Beaconing;
use super::peer::Peer;
use super::relays::Relays;
use super::shared::{Me, Shared};
use super::timers::Timers;
use super::{
    Counters, Destination, Endpoint, Event, Explanation, Hint, Local, MapVersion, PeerInfo, PeerView,
    RelayView, Source, Transmit,
};

/// What an agent is made with.
#[derive(Debug)]
pub struct AgentConfig {
    /// The node.
    pub node: NodeId,
    /// Its network.
    pub network: NetworkId,
    /// Its discovery key for this network.
    pub discovery: DiscoverySecret,
    /// The network's LAN key; none sends and hears no beacons.
    pub lan_key: Option<LanKey>,
    /// Fresh randomness: never the same twice.
    pub seed: [u8; 32],
}

/// Decides for one node in one network where packets go. See the module's page for how it is driven.
pub struct Agent {
    peers: BTreeMap<NodeId, Peer>,
    /// More than one node only where somebody names another's key.
    by_key: BTreeSet<(DiscoveryPublic, NodeId)>,
    timers: Timers,
    beaconing: Beaconing,
    lan_key: Option<LanKey>,
    shared: Shared,
}

impl Agent {
    /// An agent that knows nobody. It draws its boot nonce from the seed.
    pub fn new(now: Instant, config: AgentConfig) -> Self {
        let mut rng = ChaCha20Rng::from_seed(config.seed);
        let mut boot = [0; 8];
        rng.fill_bytes(&mut boot);
        let me = Me {
            node: config.node,
            public: config.discovery.public(),
            secret: config.discovery,
            boot: boot.into(),
            map: MapVersion::default(),
        };
        Self {
            peers: BTreeMap::new(),
            by_key: BTreeSet::new(),
            timers: Timers::default(),
            beaconing: Beaconing::default(),
            lan_key: config.lan_key,
            shared: Shared::new(now, me, Relays::new(config.network, config.node), rng),
        }
    }

    // ---- what the node and the map say

    /// The node's addresses, port and mesh prefixes. A change counts as [`Self::network_changed`].
    pub fn set_local(&mut self, now: Instant, local: Local) {
        if self.shared.local != local {
            self.shared.local = local;
            self.network_changed(now);
        }
    }

    /// The router maps the node's UDP port to this address from now on, or no longer. Pairs that are relayed try again.
    pub fn set_port_mapping(&mut self, now: Instant, external: Option<SocketAddr>) {
        if std::mem::replace(&mut self.shared.port_mapped, external) != external && external.is_some() {
            self.with_all(now, |peer, shared| peer.nat_changed(now, shared));
            self.settle(now);
        }
    }

    /// What was measured of the NAT in front of the node: it decides which ways to a direct path are tried, and is told to
    /// peers. A change has pairs that are relayed try again at once.
    pub fn set_nat_behaviour(&mut self, now: Instant, nat: NatBehaviour) {
        if std::mem::replace(&mut self.shared.nat, nat) != nat {
            self.with_all(now, |peer, shared| peer.nat_changed(now, shared));
            self.settle(now);
        }
    }

    /// The tunnel's MTU in bytes. From now on the ways in use are measured, and [`super::Path::max_packet`] says what they
    /// carry; without it every way is thought to carry everything.
    pub fn set_tunnel_mtu(&mut self, mtu: u16) {
        self.shared.tunnel_mtu = Some(mtu);
    }

    /// The kernel would not send a datagram to this address: it is larger than the link takes. No more than a hint.
    pub fn too_large(&mut self, now: Instant, to: SocketAddr) {
        self.with_all(now, |peer, _| peer.too_large(now, to));
        self.settle(now);
    }

    /// The map that the node holds, which it tells its peers.
    pub fn set_map(&mut self, map: MapVersion) {
        self.shared.me.map = map;
    }

    /// Makes these the peers, all others go.
    pub fn set_peers(&mut self, now: Instant, peers: impl IntoIterator<Item = PeerInfo>) {
        let mut gone: BTreeSet<NodeId> = self.peers.keys().copied().collect();
        for info in peers {
            gone.remove(&info.node);
            self.set_peer(now, info);
        }
        gone.into_iter().for_each(|node| self.remove_peer(node));
    }

    /// Adds a peer, or changes what is known of it. Another discovery key makes it another peer.
    pub fn set_peer(&mut self, now: Instant, info: PeerInfo) {
        if info.node == self.shared.me.node {
            return;
        }
        let known = self.peers.get(&info.node).map(|peer| peer.info().clone());
        if known.as_ref() == Some(&info) {
            return;
        }
        if known.is_some_and(|known| known.discovery == info.discovery) {
            self.with_peer(now, info.node, |peer, shared| peer.set_info(now, info, shared));
            return;
        }
        self.remove_peer(info.node);
        self.by_key.insert((info.discovery, info.node));
        self.peers.insert(info.node, Peer::new(now, info, &self.shared));
    }

    /// Removes a peer: nothing more goes to it.
    pub fn remove_peer(&mut self, node: NodeId) {
        if let Some(mut peer) = self.peers.remove(&node) {
            peer.close_sockets(&mut self.shared);
            self.by_key.remove(&(peer.info().discovery, node));
            self.timers.set(node, None);
            self.shared.relays.forget(node);
        }
    }

    /// Makes these the relays; the first eight are used.
    pub fn set_relays(&mut self, now: Instant, relays: &[RelayInfo]) {
        let shared = &mut self.shared;
        let before: Vec<SocketAddr> = shared.relays.addresses().collect();
        shared.relays.set(now, relays, &mut shared.rng);
        if !shared.relays.addresses().eq(before) {
            shared
                .reflexive
                .restart(now, shared.relays.addresses(), &mut shared.rng);
        }
        self.settle(now);
    }

    /// The carrier that [`Event::Carrier`] asked for is connected, behind this address of loopback; or, with none, it is
    /// not any more.
    pub fn set_carrier(&mut self, now: Instant, relay: RelayId, carrier: Option<SocketAddr>) {
        self.shared.relays.set_carrier(now, relay, carrier);
        self.settle(now);
    }

    /// What was known in an earlier life. To be given after peers, relays and local addresses.
    pub fn import_hints(&mut self, now: Instant, hints: &[Hint]) {
        for hint in hints {
            self.with_peer(now, hint.peer, |peer, shared| peer.hint(now, hint, shared));
        }
        self.settle(now);
    }

    /// What to remember for the next life.
    pub fn hints(&self, now: Instant) -> Vec<Hint> {
        self.peers.values().filter_map(|peer| peer.to_hint(now)).collect()
    }

    // ---- what happens

    /// A datagram came that is not a WireGuard packet.
    pub fn handle_datagram(&mut self, now: Instant, source: Source, bytes: &[u8]) {
        match (source, classify(bytes)) {
            // what waited for us while its socket was closed must not make a path by it
            (Source::Socket(from), _) if !self.shared.sockets.is_open(from.socket) => {
                self.shared.counters.foreign += 1;
            }
            (Source::Socket(from), Class::Discovery) => self.discovery(now, Endpoint::Direct(from), bytes),
            (Source::Socket(from), Class::Relay) if from.socket.is_primary() => {
                self.relay_frame(now, from.address, bytes);
            }
            (Source::Socket(from), Class::Stun) if from.socket.is_primary() => {
                let from = from.address;
                if let Some(address) = self.shared.reflexive.handle_answer(from, bytes) {
                    self.shared.event(Event::ReflexiveAddress {
                        observer: from,
                        address,
                    });
                }
            }
            (Source::Relay { relay, session }, Class::Discovery) => {
                self.discovery(now, Endpoint::Relay { relay, session }, bytes);
            }
            (Source::Socket(from), Class::Stun) => {
                if let Some(owner) = self.shared.sockets.owner(from.socket) {
                    self.with_peer(now, owner, |peer, shared| {
                        peer.fresh_seen(now, from.socket, bytes, shared);
                    });
                }
            }
            (Source::Beacon(from), Class::Beacon) => self.beacon(now, from, bytes),
            _ => self.shared.counters.foreign += 1,
        }
        self.settle(now);
    }

    /// Packets went to `peer` since this was last called, or wait because there is no path.
    pub fn handle_activity(&mut self, now: Instant, peer: NodeId) {
        self.with_peer(now, peer, |peer, shared| peer.sent(now, shared));
        self.settle(now);
    }

    /// Packets went to `peer` at `since` and later, and nothing has come from it after that. May be told together with
    /// [`Self::handle_activity`], before it, which knows no better than when it is called.
    pub fn note_unanswered(&mut self, now: Instant, peer: NodeId, since: Instant) {
        self.with_peer(now, peer, |peer, _| peer.unanswered(since));
    }

    /// More than a hundred packets a second go to `peer`: how large they may be is checked more often. Told before
    /// [`Self::handle_activity`].
    pub fn note_busy(&mut self, now: Instant, peer: NodeId) {
        self.with_peer(now, peer, |peer, _| peer.carries_much(now));
    }

    /// Somebody wants to know how `peer` answers: it is pinged by its present path, as if packets went to it. What comes back
    /// is told by [`Event::Ponged`].
    pub fn ping(&mut self, now: Instant, peer: NodeId) {
        self.with_peer(now, peer, |peer, shared| peer.ping_by_path(now, shared));
        self.settle(now);
    }

    /// Authenticated WireGuard packets came from `peer` by `from` since this was last called.
    pub fn note_received(&mut self, now: Instant, peer: NodeId, from: Endpoint) {
        if self.shared.sockets.is_open(from.socket()) {
            self.with_peer(now, peer, |peer, shared| peer.received(now, from, shared));
        }
        self.settle(now);
    }

    /// A WireGuard initiation was sent to `peer`.
    pub fn initiation_sent(&mut self, now: Instant, peer: NodeId) {
        self.with_peer(now, peer, |peer, shared| peer.initiation_sent(now, shared));
        self.settle(now);
    }

    /// A WireGuard handshake with `peer` is complete.
    pub fn handshake_done(&mut self, now: Instant, peer: NodeId) {
        self.with_peer(now, peer, |peer, _| peer.handshake_done());
    }

    /// The node's network changed (an address, a route, a link): everything is tried anew, at once.
    pub fn network_changed(&mut self, now: Instant) {
        let shared = &mut self.shared;
        shared.relays.network_changed(now);
        shared
            .reflexive
            .restart(now, shared.relays.addresses(), &mut shared.rng);
        if self.lan_key.is_some() {
            self.beaconing.restart(now);
        }
        self.with_all(now, |peer, shared| peer.network_changed(now, shared));
        self.settle(now);
    }

    /// The node leaves: tells every peer to which there is a path. Drain `poll_transmit` once more after this.
    pub fn goodbye(&mut self) {
        self.beaconing.stop();
        for peer in self.peers.values_mut() {
            peer.goodbye(&mut self.shared);
        }
    }

    // ---- the drain

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let shared = &self.shared;
        let own = [
            self.timers.next(),
            self.beaconing.poll_timeout(),
            shared.reflexive.poll_timeout(),
        ];
        own.into_iter()
            .chain([shared.relays.poll_timeout()])
            .flatten()
            .min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.shared.relays.handle_timeout(now);
        for request in self.shared.reflexive.handle_timeout(now) {
            self.shared.transmit(request);
        }
        if let Some(answer_wanted) = self.beaconing.due(now, &mut self.shared.rng) {
            self.send_beacon(answer_wanted);
        }
        for peer in self.timers.due(now) {
            self.with_peer(now, peer, |_, _| {});
        }
        self.settle(now);
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.shared.poll_transmit()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.shared.poll_event()
    }

    // ---- what there is to see

    /// The node's own candidates, for its node record.
    pub fn candidates(&self) -> Vec<Candidate> {
        self.shared.candidates()
    }

    /// How a peer is reached.
    pub fn peer(&self, now: Instant, peer: NodeId) -> Option<PeerView> {
        self.peers.get(&peer).map(|peer| peer.view(now))
    }

    /// Why a peer is reached as it is.
    pub fn explain(&self, now: Instant, peer: NodeId) -> Option<Explanation> {
        self.peers
            .get(&peer)
            .map(|peer| peer.explain(now, self.shared.nat))
    }

    /// The relays.
    pub fn relays(&self) -> impl Iterator<Item = RelayView> {
        self.shared.relays.views()
    }

    /// The peer that a relay session of ours reaches.
    pub fn peer_of_session(&self, relay: SocketAddr, session: u64) -> Option<NodeId> {
        self.shared.relays.peer_of(relay, session)
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.shared.counters
    }

    // ---- the inside

    fn discovery(&mut self, now: Instant, from: Endpoint, bytes: &[u8]) {
        let Some(key) = super::discovery::sender_of(bytes) else {
            self.shared.counters.foreign += 1;
            return;
        };
        let nodes = (key, NodeId::from_bytes([0; 16]))..=(key, NodeId::from_bytes([0xff; 16]));
        let nodes: Vec<NodeId> = self.by_key.range(nodes).map(|(_, node)| *node).collect();
        if nodes.is_empty() {
            self.shared.counters.strangers += 1;
        }
        for node in nodes {
            self.with_peer(now, node, |peer, shared| peer.datagram(now, from, bytes, shared));
        }
    }

    fn relay_frame(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        if !self.shared.relays.has_address(from) {
            self.shared.counters.foreign += 1;
            return;
        }
        match split_relay(bytes) {
            Ok((RELAY_CONTROL_SESSION, _)) => self.shared.relays.handle_frame(now, from, bytes),
            Ok((session, payload)) if classify(payload) == Class::Discovery => {
                self.discovery(now, Endpoint::Relay { relay: from, session }, payload);
            }
            _ => self.shared.counters.foreign += 1,
        }
    }

    fn beacon(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        let Some(beacon) = self.lan_key.as_ref().and_then(|key| beacon::open(bytes, key)) else {
            self.shared.counters.unopened += 1;
            return;
        };
        if beacon.node == self.shared.me.node || !self.peers.contains_key(&beacon.node) {
            return;
        }
        if beacon.answer_wanted {
            self.beaconing.asked(now, &mut self.shared.rng);
        }
        let mut address = from;
        address.set_port(beacon.port);
        self.with_peer(now, beacon.node, |peer, shared| {
            peer.beacon(now, address, shared);
            peer.saw_map(beacon.map, shared);
        });
    }

    fn send_beacon(&mut self, answer_wanted: bool) {
        let Some(key) = self.lan_key.as_ref().filter(|_| self.shared.local.port != 0) else {
            return;
        };
        let me = &self.shared.me;
        let (node, boot, map, port) = (me.node, me.boot, me.map, self.shared.local.port);
        let nonce = self.shared.random();
        let bytes = beacon::seal(
            &Beacon {
                node,
                boot,
                port,
                map,
                answer_wanted,
            },
            key,
            nonce,
        );
        self.shared.transmit(Transmit {
            to: Destination::Beacon,
            ttl: None,
            bytes,
        });
    }

    /// Changes one peer, does what became due, and sets its timer.
    fn with_peer(&mut self, now: Instant, node: NodeId, change: impl FnOnce(&mut Peer, &mut Shared)) {
        if let Some(peer) = self.peers.get_mut(&node) {
            change(peer, &mut self.shared);
            peer.tick(now, &mut self.shared);
            self.timers.set(node, peer.deadline(now, &self.shared));
        }
    }

    fn with_all(&mut self, now: Instant, change: impl Fn(&mut Peer, &mut Shared)) {
        for (&node, peer) in &mut self.peers {
            change(peer, &mut self.shared);
            peer.tick(now, &mut self.shared);
            self.timers.set(node, peer.deadline(now, &self.shared));
        }
    }

    /// Follows up what the relays did.
    fn settle(&mut self, now: Instant) {
        while let Some((relay, event)) = self.shared.relays.poll_event() {
            match event {
                RelayEvent::Bound { seen, anew, .. } => {
                    let observer = self.shared.relays.observer(relay);
                    let observer =
                        observer.filter(|_| !seen.ip().is_loopback() && !seen.ip().is_unspecified());
                    if let Some(observer) = observer.filter(|&by| self.shared.reflexive.saw(by, seen)) {
                        self.shared.event(Event::ReflexiveAddress {
                            observer,
                            address: seen,
                        });
                    }
                    if anew {
                        self.with_all(now, |peer, shared| peer.relay_bound(now, shared));
                    }
                    self.home_changed();
                }
                RelayEvent::Lost => {
                    self.with_all(now, |peer, shared| peer.relays_changed(now, shared));
                    self.home_changed();
                }
                RelayEvent::Carrier { wanted } => self.shared.event(Event::Carrier { relay, wanted }),
                RelayEvent::Opened { peer, .. } => {
                    self.with_peer(now, peer, |peer, shared| peer.relay_opened(now, shared));
                }
                RelayEvent::SessionLost { peer } | RelayEvent::Refused { peer, .. } => {
                    self.with_peer(now, peer, |peer, shared| peer.relays_changed(now, shared));
                }
            }
        }
    }

    fn home_changed(&mut self) {
        if let Some(relay) = self.shared.relays.home_changed() {
            self.shared.event(Event::HomeRelay { relay });
        }
    }
}
