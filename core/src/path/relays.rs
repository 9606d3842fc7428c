//! The relays of a network as one node uses them: bound at all of them, the nearest that answers is home.
//!
//! Peers call by a node's home relay, wherever that is, and the node answers by theirs: who is bound at all relays sends its
//! first packet by any of them one round trip later, without having to bind first, and when one dies the session at the next is
//! one round trip away. Home and the nearest of the others, which would be home next, are renewed often enough for the NAT in
//! between; at the rest nobody is expected to call, so they are renewed only before the relay forgets ([`RelayClient::set_far`]).
//!
//! Nodes that relay for others are relays to those who reach them directly: never home, since not everybody is bound
//! there, and no observers of addresses. A pair that shares one uses it where it is the quickest.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

use crate::id::{NetworkId, NodeId, RelayId};
use crate::relay::{RelayClient, RelayEvent, RelayInfo};

use super::choice::{Standing, Way};
use super::{Destination, Endpoint, Transmit};

/// Relays of one network that a node uses.
pub const MAX_RELAYS: usize = 8;
/// Home stays home unless another relay is nearer by this share and this much.
const HYSTERESIS_PERCENT: u32 = 20;
const HYSTERESIS: Duration = Duration::from_millis(5);

/// All relays.
pub(super) struct Relays {
    network: NetworkId,
    node: NodeId,
    clients: Vec<RelayClient>,
    home: Option<RelayId>,
}

impl Relays {
    pub(super) fn new(network: NetworkId, node: NodeId) -> Self {
        Self {
            network,
            node,
            clients: Vec::new(),
            home: None,
        }
    }

    /// Makes these the relays; those that are the same stay bound.
    pub(super) fn set(&mut self, now: Instant, infos: &[RelayInfo], rng: &mut ChaCha20Rng) {
        self.clients.retain(|client| infos.contains(client.info()));
        for info in infos.iter().take(MAX_RELAYS) {
            if !self.clients.iter().any(|client| client.info() == info) {
                let mut seed = [0; 32];
                rng.fill_bytes(&mut seed);
                let mut client = RelayClient::new(now, info.clone(), self.network, self.node, seed);
                client.handle_timeout(now);
                self.clients.push(client);
            }
        }
    }

    /// The carrier over TLS of a relay is connected behind this address; or, with none, it is not.
    pub(super) fn set_carrier(&mut self, now: Instant, relay: RelayId, carrier: Option<SocketAddr>) {
        self.clients
            .iter_mut()
            .filter(|client| client.info().id == relay)
            .for_each(|client| client.set_carrier(now, carrier));
    }

    /// Every address of every relay that tells how it sees others: nodes do not.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.clients
            .iter()
            .filter(|client| !is_node(client))
            .flat_map(|client| client.info().addresses.iter().copied())
    }

    /// Whether a datagram from `address` comes from a relay.
    pub(super) fn has_address(&self, address: SocketAddr) -> bool {
        self.clients.iter().any(|client| client.has_address(address))
    }

    /// The peer behind a session of ours.
    pub(super) fn peer_of(&self, relay: SocketAddr, session: u64) -> Option<NodeId> {
        self.clients
            .iter()
            .filter(|client| client.has_address(relay))
            .find_map(|client| client.peer_of(session))
    }

    /// Whether a control frame from `from` is awaited.
    pub(super) fn awaits(&self, from: SocketAddr, datagram: &[u8]) -> bool {
        let mut clients = self.clients.iter().filter(|client| client.has_address(from));
        clients.any(|client| client.awaits(datagram))
    }

    pub(super) fn handle_frame(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        for client in self.clients.iter_mut().filter(|client| client.has_address(from)) {
            client.handle_frame(now, from, datagram);
        }
    }

    /// The ways to `peer` that are open.
    pub(super) fn ways(&self, peer: NodeId, home: Option<RelayId>) -> impl Iterator<Item = Way> {
        self.clients.iter().filter_map(move |client| {
            let (relay, session) = (client.bound_to()?, client.session(peer)?);
            Some(Way {
                endpoint: Endpoint::Relay { relay, session },
                standing: if client.in_doubt() {
                    Standing::Doubtful
                } else {
                    Standing::Sure
                },
                crooked: !is_node(client) && home.is_some_and(|home| home != client.info().id),
                quiet: false,
                rtt: client.rtt().map(|rtt| rtt * 2),
            })
        })
    }

    /// Opens sessions to `peer`: at its home relay, else at ours, else at the nearest; at the next best one as well, so that
    /// the death of the first costs no round trip; and at every node that is a nearer relay. At all relays where the best one
    /// is in doubt or `everywhere` says so. A peer that is itself a relay is not asked for a session with itself.
    pub(super) fn open(&mut self, now: Instant, peer: NodeId, home: Option<RelayId>, everywhere: bool) {
        let own = self.home;
        let preference = |client: &RelayClient| {
            let id = Some(client.info().id);
            let unsure = client.bound_to().is_none() || client.in_doubt();
            (
                unsure,
                is_node(client),
                home.is_some() && id != home,
                id != own,
                client.rtt(),
                client.info().id,
            )
        };
        let others = self
            .clients
            .iter()
            .filter(|client| client.info().node != Some(peer));
        let mut ranked: Vec<_> = others.map(preference).collect();
        ranked.sort_unstable();
        let (best, spare) = (ranked.first().copied(), ranked.get(1).copied());
        let spare = spare.filter(|spare| !spare.0 && !spare.1);
        let doubtful = best.is_none_or(|best| best.0);
        let nearer = |client: &RelayClient| is_node(client) && best.is_some_and(|best| client.rtt() < best.4);
        let others = self.clients.iter_mut();
        for client in others.filter(|client| client.info().node != Some(peer)) {
            let rank = Some(preference(client));
            if everywhere || doubtful || nearer(client) || rank == best || rank == spare {
                client.open(now, peer);
            }
        }
    }

    /// Opens sessions to `peer` at the two best relays that answer, so that either may carry the next packet.
    pub(super) fn open_two(&mut self, now: Instant, peer: NodeId, home: Option<RelayId>) {
        let own = self.home;
        let mut ranked: Vec<_> = self
            .clients
            .iter_mut()
            .filter(|client| client.bound_to().is_some() && client.info().node != Some(peer))
            .collect();
        ranked.sort_by_key(|client| {
            let id = Some(client.info().id);
            (
                client.in_doubt(),
                is_node(client),
                home.is_some() && id != home,
                id != own,
                client.rtt(),
            )
        });
        ranked
            .into_iter()
            .take(2)
            .for_each(|client| client.open(now, peer));
    }

    /// Asks every relay, nodes excepted, where it sees `peer`.
    pub(super) fn ask_whereabouts(&mut self, peer: NodeId) {
        let relays = self.clients.iter_mut().filter(|client| !is_node(client));
        relays.for_each(|client| client.ask_whereabouts(peer));
    }

    pub(super) fn forget(&mut self, peer: NodeId) {
        self.clients.iter_mut().for_each(|client| client.forget(peer));
    }

    /// Asks the relay at `address` for a sign of life.
    pub(super) fn check(&mut self, now: Instant, address: SocketAddr) {
        self.clients
            .iter_mut()
            .filter(|client| client.bound_to() == Some(address))
            .for_each(|client| client.check(now));
    }

    pub(super) fn network_changed(&mut self, now: Instant) {
        self.clients
            .iter_mut()
            .for_each(|client| client.network_changed(now));
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.clients.iter().filter_map(RelayClient::poll_timeout).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for client in &mut self.clients {
            if client.poll_timeout().is_some_and(|due| due <= now) {
                client.handle_timeout(now);
            }
        }
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        let (to, frame) = self.clients.iter_mut().find_map(RelayClient::poll_transmit)?;
        Some(Transmit {
            to: Destination::Socket(to.into()),
            ttl: None,
            bytes: frame.to_vec(),
        })
    }

    /// The next event, with the relay.
    pub(super) fn poll_event(&mut self) -> Option<(RelayId, RelayEvent)> {
        self.clients
            .iter_mut()
            .find_map(|client| Some((client.info().id, client.poll_event()?)))
    }

    /// The address by which a relay sees the node's UDP socket; none over TLS, which shows nothing of it.
    pub(super) fn observer(&self, relay: RelayId) -> Option<SocketAddr> {
        self.clients
            .iter()
            .filter(|client| client.info().id == relay && !client.is_over_tls() && !is_node(client))
            .find_map(RelayClient::bound_to)
    }

    /// The home relay after what happened, where it has changed.
    pub(super) fn home_changed(&mut self, now: Instant) -> Option<Option<RelayId>> {
        let bound = |client: &&RelayClient| client.bound_to().is_some() && !is_node(client);
        let distance = |client: &RelayClient| (client.rtt().unwrap_or(Duration::MAX), client.info().id);
        let nearest = self
            .clients
            .iter()
            .filter(bound)
            .min_by_key(|client| distance(client));
        let present = self
            .clients
            .iter()
            .filter(bound)
            .find(|client| Some(client.info().id) == self.home);
        let home = match (present, nearest) {
            (Some(present), Some(nearest)) => {
                let (held, other) = (distance(present).0, distance(nearest).0);
                let better = held.saturating_sub(other) > HYSTERESIS.max(held / 100 * HYSTERESIS_PERCENT);
                if better { nearest } else { present }.info().id.into()
            }
            (_, nearest) => nearest.map(|client| client.info().id),
        };
        let changed = std::mem::replace(&mut self.home, home) != home;
        self.keep_near(now);
        changed.then_some(home)
    }

    /// Has home, the next after it and nodes that relay renewed often, and the others seldom.
    fn keep_near(&mut self, now: Instant) {
        let home = self.home;
        let others = self.clients.iter().filter(|client| {
            client.bound_to().is_some() && !is_node(client) && Some(client.info().id) != home
        });
        let spare = others
            .min_by_key(|client| (client.rtt().unwrap_or(Duration::MAX), client.info().id))
            .map(|client| client.info().id);
        for client in &mut self.clients {
            let id = Some(client.info().id);
            let far = !is_node(client) && home.is_some() && spare.is_some() && id != home && id != spare;
            if client.is_far() != far {
                client.set_far(now, far);
            }
        }
    }

    /// Whether a NAT may forget the node between two renewals at this relay: then what the relay sees is no news.
    pub(super) fn is_far(&self, relay: RelayId) -> bool {
        self.clients
            .iter()
            .any(|client| client.info().id == relay && client.is_far())
    }

    /// Whether any relay has us bound.
    pub(super) fn is_bound(&self) -> bool {
        self.clients.iter().any(|client| client.bound_to().is_some())
    }

    /// Whether a relay has us bound over UDP, and answered its last question.
    pub(super) fn is_bound_over_udp(&self) -> bool {
        let bound = |client: &RelayClient| {
            client.bound_to().is_some() && !client.is_over_tls() && !client.in_doubt() && !is_node(client)
        };
        self.clients.iter().any(bound)
    }

    /// Each relay, where it is bound and how far it is.
    pub(super) fn views(&self) -> impl Iterator<Item = RelayView> {
        self.clients.iter().map(|client| RelayView {
            id: client.info().id,
            bound_to: client.bound_to(),
            rtt: client.rtt(),
            home: self.home == Some(client.info().id),
            over_tls: client.is_over_tls(),
            node: client.info().node,
        })
    }
}

/// Whether the relay is a node of the network.
fn is_node(client: &RelayClient) -> bool {
    client.info().node.is_some()
}

/// A relay as a status table shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayView {
    /// The relay.
    pub id: RelayId,
    /// Its address at which the node is bound; none where it does not answer.
    pub bound_to: Option<SocketAddr>,
    /// Round-trip time to it.
    pub rtt: Option<Duration>,
    /// Whether it is the node's home.
    pub home: bool,
    /// Whether it is reached over TLS; the address is then the carrier's.
    pub over_tls: bool,
    /// The node that it is, where it is one.
    pub node: Option<NodeId>,
}
