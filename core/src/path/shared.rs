//! What all peers of an agent share: the node's own keys and place, its relays, the limits, the way out.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

use crate::id::{BootNonce, NodeId};
use crate::keys::{DiscoveryPublic, DiscoverySecret};
use crate::nat::NatBehaviour;
use crate::statement::{Candidate, CandidateKind};

use super::candidate::{Local, Vicinity};
use super::discovery::{self, End, MapVersion, Message, PairKeys};
use super::limits::{Budget, Charge};
use super::reflexive::Reflexive;
use super::relays::Relays;
use super::socket_ids::SocketIds;
use super::{Counters, Destination, Endpoint, Event, Remote, SocketId, Transmit};

/// Datagrams that wait for the driver; more are dropped and counted.
const MAX_TRANSMITS: usize = 4096;
/// Events that wait for the driver. A driver that drains after each call never sees this reached.
const MAX_EVENTS: usize = 65_536;

/// The node itself.
pub(super) struct Me {
    pub(super) node: NodeId,
    pub(super) secret: DiscoverySecret,
    pub(super) public: DiscoveryPublic,
    pub(super) boot: BootNonce,
    pub(super) map: MapVersion,
}

impl Me {
    /// This end of every pair.
    pub(super) fn end(&self) -> End {
        End {
            node: self.node,
            key: self.public,
        }
    }
}

/// What all peers share.
pub(super) struct Shared {
    pub(super) me: Me,
    pub(super) local: Local,
    /// The NAT in front of the node, as far as it was measured.
    pub(super) nat: NatBehaviour,
    /// The tunnel's MTU, where ways are to be measured.
    pub(super) tunnel_mtu: Option<u16>,
    pub(super) relays: Relays,
    /// Where the router maps the node's UDP port to.
    pub(super) port_mapped: Option<SocketAddr>,
    pub(super) reflexive: Reflexive,
    pub(super) counters: Counters,
    /// Sockets besides the primary ones.
    pub(super) sockets: SocketIds,
    /// The peer for which a birthday search runs.
    pub(super) searching: Option<NodeId>,
    /// When another peer last wanted one.
    pub(super) search_wanted: Option<Instant>,
    pub(super) rng: ChaCha20Rng,
    started: Instant,
    budget: Budget,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Shared {
    pub(super) fn new(now: Instant, me: Me, relays: Relays, rng: ChaCha20Rng) -> Self {
        Self {
            me,
            local: Local::default(),
            nat: NatBehaviour::default(),
            tunnel_mtu: None,
            relays,
            port_mapped: None,
            reflexive: Reflexive::default(),
            counters: Counters::default(),
            sockets: SocketIds::default(),
            searching: None,
            search_wanted: None,
            rng,
            started: now,
            budget: Budget::new(now),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    pub(super) fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    pub(super) fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// The node's own candidates.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        self.local
            .candidates(self.port_mapped, self.reflexive.addresses())
    }

    /// The vicinity of this node and a peer with these candidates.
    pub(super) fn vicinity(&self, theirs: &[Candidate]) -> Vicinity<'_> {
        let behind = |ip: IpAddr| {
            let outer = theirs
                .iter()
                .filter(|candidate| candidate.kind != CandidateKind::Host);
            outer
                .map(|candidate| candidate.addr.ip())
                .any(|theirs| theirs == ip)
        };
        let same_public_address = self.reflexive.addresses().any(|own| behind(own.ip()));
        Vicinity {
            local: &self.local,
            same_public_address,
        }
    }

    /// Charges a datagram to an address that has not proven itself.
    ///
    /// # Errors
    /// How long to wait where a limit is reached.
    pub(super) fn charge(&mut self, now: Instant, charge: Charge) -> Result<(), Duration> {
        self.budget
            .take(now, charge)
            .inspect_err(|_| self.counters.limited += 1)
    }

    /// A peer is none any more.
    pub(super) fn forget(&mut self, peer: NodeId) {
        self.relays.forget(peer);
        self.budget.forget(peer);
    }

    /// Charges a datagram of a birthday search; whether it may be sent now.
    pub(super) fn charge_birthday(&mut self, now: Instant) -> bool {
        self.budget.take_birthday(now)
    }

    /// Has sockets opened on fresh ports for a peer; gives the first's id.
    pub(super) fn open_sockets(&mut self, owner: NodeId, count: u16, ipv6: bool) -> Option<SocketId> {
        let first = self.sockets.open(owner, count)?;
        self.event(Event::OpenSockets { first, count, ipv6 });
        Some(first)
    }

    /// Has them closed.
    pub(super) fn close_sockets(&mut self, first: SocketId, count: u16) {
        if count > 0 {
            self.sockets.close(first, count);
            self.event(Event::CloseSockets { first, count });
        }
    }

    /// Who tells what address a socket has, over IPv4 or IPv6, counted round: relays answer STUN. Not one that is reached
    /// through the node itself, such as a relay over TLS.
    pub(super) fn observer(&self, nth: usize, ipv6: bool) -> Option<SocketAddr> {
        let fit = |address: &SocketAddr| address.is_ipv6() == ipv6 && !address.ip().is_loopback();
        let count = self.relays.addresses().filter(fit).count();
        self.relays.addresses().filter(fit).nth(nth.checked_rem(count)?)
    }

    /// Seals a message and sends it. Whether `to` may have it was decided before.
    pub(super) fn seal(&mut self, keys: &PairKeys, to: Endpoint, message: &Message, ttl: Option<u8>) {
        let mut bytes = to.header().map(Vec::from).unwrap_or_default();
        let nonce = self.random();
        discovery::seal(message, &self.me.public, keys, nonce, &mut bytes);
        self.transmit(Transmit {
            to: Destination::Socket(Remote {
                address: to.address(),
                socket: to.socket(),
            }),
            ttl,
            bytes,
        });
    }

    /// As [`Self::seal`], so that the datagram has `size` bytes in all.
    pub(super) fn seal_padded(&mut self, keys: &PairKeys, to: Endpoint, message: &Message, size: u16) {
        let mut bytes = to.header().map(Vec::from).unwrap_or_default();
        let (nonce, length) = (self.random(), usize::from(size).saturating_sub(bytes.len()));
        discovery::seal_padded(message, &self.me.public, keys, nonce, length, &mut bytes);
        self.transmit(Transmit {
            to: Destination::Socket(Remote {
                address: to.address(),
                socket: to.socket(),
            }),
            ttl: None,
            bytes,
        });
    }

    pub(super) fn transmit(&mut self, transmit: Transmit) {
        if self.transmits.len() < MAX_TRANSMITS {
            self.counters.sent += 1;
            self.transmits.push_back(transmit);
        } else {
            self.counters.overflowed += 1;
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        } else {
            self.counters.overflowed += 1;
        }
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front().or_else(|| self.relays.poll_transmit())
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}
