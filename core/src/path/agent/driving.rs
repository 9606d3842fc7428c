//! The agent driven: datagrams and time come in, datagrams and events go out.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Instant;

use crate::demux::{Class, RELAY_CONTROL_SESSION, classify, split_relay};
use crate::id::NodeId;
use crate::keys::DiscoveryPublic;
use crate::nat::may_be_seen;
use crate::path::beacon::{self, Beacon};
use crate::path::peer::Peer;
use crate::path::reflexive::{Answer, News};
use crate::path::{Destination, Endpoint, Event, Source, Transmit, discovery};
use crate::relay::RelayEvent;

use super::Agent;

impl Agent {
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
                match self.shared.reflexive.handle_answer(from, bytes) {
                    Some(Answer::New(address, news)) => self.seen_at(now, from, address, news),
                    Some(Answer::Implausible) => self.shared.counters.implausible += 1,
                    Some(Answer::Old) | None => {}
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

    /// Whether a datagram is a relay's answer to this node, or discovery by a way that is proven. Whoever forges the address of a
    /// relay or a peer to have what comes from it taken for a flood cannot forge the one, nor the other who is no member and sees
    /// none of our packets (he knows neither key nor port): it is let in, however many others come.
    pub fn awaits(&self, source: Source, bytes: &[u8]) -> bool {
        let Source::Socket(from) = source else {
            return false;
        };
        match classify(bytes) {
            Class::Discovery => self.claimed(bytes).any(|peer| peer.has_proven(from)),
            _ => from.socket.is_primary() && self.shared.relays.awaits(from.address, bytes),
        }
    }

    /// The peers that a discovery packet may be of, as it says itself.
    fn claimed(&self, bytes: &[u8]) -> impl Iterator<Item = &Peer> {
        let nodes = discovery::sender_of(bytes).map(|key| self.by_key.range(nodes_of(key)));
        let nodes = nodes.into_iter().flatten();
        nodes.filter_map(|(_, node)| self.peers.get(node))
    }

    /// The node's network changed (an address, a route, a link): everything is tried anew, at once.
    pub fn network_changed(&mut self, now: Instant) {
        self.begin_anew(now, true);
    }

    /// The same; where the node is elsewhere now, where it was seen before means nothing.
    pub(super) fn begin_anew(&mut self, now: Instant, still_here: bool) {
        let shared = &mut self.shared;
        shared.relays.network_changed(now);
        shared
            .reflexive
            .restart(now, still_here, shared.relays.addresses(), &mut shared.rng);
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

    fn discovery(&mut self, now: Instant, from: Endpoint, bytes: &[u8]) {
        let Some(key) = discovery::sender_of(bytes) else {
            self.shared.counters.foreign += 1;
            return;
        };
        let nodes: Vec<NodeId> = self.by_key.range(nodes_of(key)).map(|(_, node)| *node).collect();
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

    /// Follows up what the relays did.
    pub(super) fn settle(&mut self, now: Instant) {
        while let Some((relay, event)) = self.shared.relays.poll_event() {
            match event {
                RelayEvent::Bound { seen, anew, .. } => {
                    let observer = self.shared.relays.observer(relay);
                    let plausible = may_be_seen(seen);
                    self.shared.counters.implausible += u64::from(observer.is_some() && !plausible);
                    let (relays, reflexive) = (&self.shared.relays, &self.shared.reflexive);
                    let observer =
                        observer.filter(|by| plausible && !(relays.is_far(relay) && reflexive.knows(*by)));
                    if let Some(observer) = observer
                        && let Some(news) = self.shared.reflexive.saw(observer, seen)
                    {
                        self.seen_at(now, observer, seen, news);
                    }
                    if anew {
                        self.with_all(now, |peer, shared| peer.relay_bound(now, shared));
                    }
                    if self.shared.nat.udp_blocked && self.shared.relays.is_bound_over_udp() {
                        self.shared.nat.udp_blocked = false;
                        self.with_all(now, |peer, shared| peer.nat_changed(now, shared));
                    }
                    self.home_changed(now);
                }
                RelayEvent::Lost => {
                    self.with_all(now, |peer, shared| peer.relays_changed(now, shared));
                    self.home_changed(now);
                }
                RelayEvent::Carrier { wanted } => self.shared.event(Event::Carrier { relay, wanted }),
                RelayEvent::Opened { peer, .. } => {
                    self.with_peer(now, peer, |peer, shared| peer.relay_opened(now, shared));
                }
                RelayEvent::Seen { peer, seen } => {
                    self.with_peer(now, peer, |peer, shared| peer.seen_by_relay(now, seen, shared));
                }
                RelayEvent::SessionLost { peer } | RelayEvent::Refused { peer, .. } => {
                    self.with_peer(now, peer, |peer, shared| peer.relays_changed(now, shared));
                }
            }
        }
    }

    /// An observer tells a new address of ours. Another port of a NAT that has one for each remote address says nothing to
    /// anybody; it would be told without end.
    fn seen_at(&mut self, now: Instant, observer: SocketAddr, address: SocketAddr, news: News) {
        self.shared.event(Event::ReflexiveAddress { observer, address });
        if news == News::Address || !self.shared.nat.is_dependent() {
            self.with_all(now, |peer, shared| peer.own_address_changed(now, shared));
        }
    }

    fn home_changed(&mut self, now: Instant) {
        if let Some(relay) = self.shared.relays.home_changed(now) {
            self.shared.event(Event::HomeRelay { relay });
        }
    }
}

/// The part of the table of keys where the nodes with this one are.
fn nodes_of(key: DiscoveryPublic) -> RangeInclusive<(DiscoveryPublic, NodeId)> {
    (key, NodeId::from_bytes([0; 16]))..=(key, NodeId::from_bytes([0xff; 16]))
}
