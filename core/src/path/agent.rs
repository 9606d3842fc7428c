//! The agent: inputs go to the peer that they are about, timers to the one that is due.

mod driving;
mod notes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

use crate::id::{NetworkId, NodeId, RelayId};
use crate::keys::{DiscoveryPublic, DiscoverySecret, LanKey};
use crate::nat::NatBehaviour;
use crate::relay::RelayInfo;
use crate::statement::{Candidate, CandidateKind};

use super::beaconing::Beaconing;
use super::peer::Peer;
use super::relays::Relays;
use super::shared::{Me, Shared};
use super::timers::Timers;
use super::{Counters, Explanation, Hint, Local, MapVersion, PeerInfo, PeerView, RelayView};

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
            let before = std::mem::replace(&mut self.shared.local, local);
            let still_here = self.shared.local.shares_an_address(&before);
            self.begin_anew(now, still_here);
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
    /// peers. A change has pairs that are relayed try again at once. That UDP does not leave is not believed while a relay answers
    /// over UDP: a busy computer misses the answers to a measurement.
    pub fn set_nat_behaviour(&mut self, now: Instant, mut nat: NatBehaviour) {
        nat.udp_blocked &= !self.shared.relays.is_bound_over_udp();
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
            self.shared.forget(node);
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
                .restart(now, true, shared.relays.addresses(), &mut shared.rng);
        }
        self.settle(now);
    }

    /// The carrier that [`super::Event::Carrier`] asked for is connected, behind this address of loopback; or, with none, it is
    /// not any more.
    pub fn set_carrier(&mut self, now: Instant, relay: RelayId, carrier: Option<SocketAddr>) {
        self.shared.relays.set_carrier(now, relay, carrier);
        self.settle(now);
    }

    /// This node's candidates as its last record in the map names them. Where an observer saw it counts until one says
    /// something in this life, if the node has still one of the addresses that it had. To be given after the local addresses.
    pub fn import_candidates(&mut self, own: &[Candidate]) {
        let local = &self.shared.local;
        if own.iter().any(|known| local.has(known.addr.ip())) {
            let seen = own.iter().filter(|known| known.kind != CandidateKind::Host);
            self.shared.reflexive.remember(seen.map(|known| known.addr));
        }
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
}
