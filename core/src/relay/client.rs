//! The node's side: bound at one relay, and a session per peer that asked for one.
//!
//! Binding goes: request without cookie, to all addresses of the relay at once; the first cookie that comes back
//! decides the address; request with it; bound. It is renewed every 15 s with the cookie at hand, every 45 s where nobody is
//! expected to call by this relay ([`RelayClient::set_far`]). Three renewals in a
//! row without an answer (1 s) and the relay counts as lost, until it answers again. A `refused` that names one of our
//! sessions makes the client bind again at once, and once bound it opens the lost sessions again: a relay that was
//! restarted is whole again after four round trips.
//!
//! Where UDP stays silent the client asks for a carrier over TLS (`over_tls`), and leaves it again when UDP works.
//!
//! Vocabulary: one call of `open`, `check`, `handle_frame`, `handle_timeout` or `network_changed`, then drain
//! `poll_transmit` and `poll_event`.

mod binding;
mod event;
mod opening;
mod over_tls;
mod whereabouts;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

use crate::id::{NetworkId, NodeId, RelayId};
use crate::keys::BindKey;

use super::frame::{Control, ControlFrame, Frame, Nonce, RefusalCode, authentic, parse};
use binding::{Binding, Request};
pub use event::RelayEvent;
use opening::Openings;
use over_tls::OverTls;

/// Frames and events kept for the caller; more are dropped, and asked for again in time.
const MAX_QUEUE: usize = 4096;
/// Addresses of a relay that are tried.
const MAX_ADDRESSES: usize = 4;

/// What a node is told about a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayInfo {
    /// The relay.
    pub id: RelayId,
    /// Its UDP addresses; the first four are used.
    pub addresses: Vec<SocketAddr>,
    /// The key between this node and it.
    pub key: BindKey,
    /// The node that it is, where a node of the network relays for others ([`super::node_relay`]).
    pub node: Option<NodeId>,
}

/// One node at one relay.
pub struct RelayClient {
    info: RelayInfo,
    network: NetworkId,
    node: NodeId,
    rng: ChaCha20Rng,
    binding: Binding,
    openings: Openings,
    over_tls: OverTls,
    whereabouts: whereabouts::Questions,
    transmits: VecDeque<(SocketAddr, ControlFrame)>,
    events: VecDeque<RelayEvent>,
}

impl RelayClient {
    /// A client that begins to bind when [`Self::handle_timeout`] is first called. `seed` is fresh randomness.
    pub fn new(now: Instant, info: RelayInfo, network: NetworkId, node: NodeId, seed: [u8; 32]) -> Self {
        Self {
            binding: Binding::new(now),
            openings: Openings::default(),
            over_tls: OverTls::default(),
            whereabouts: whereabouts::Questions::default(),
            info,
            network,
            node,
            rng: ChaCha20Rng::from_seed(seed),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// What it was made with.
    pub fn info(&self) -> &RelayInfo {
        &self.info
    }

    /// The address of the relay at which the node is bound now.
    pub fn bound_to(&self) -> Option<SocketAddr> {
        self.binding.bound_to()
    }

    /// Whether a renewal has been sent and not been answered in time.
    pub fn in_doubt(&self) -> bool {
        self.binding.in_doubt()
    }

    /// Round-trip time to the relay, smoothed.
    pub fn rtt(&self) -> Option<Duration> {
        self.binding.rtt()
    }

    /// Whether this relay need only be known, because nobody is expected to call by it: it costs a third then.
    pub fn set_far(&mut self, now: Instant, far: bool) {
        self.binding.set_far(now, far);
    }

    /// As [`Self::set_far`] was last told.
    pub fn is_far(&self) -> bool {
        self.binding.is_far()
    }

    /// Whether `address` is one of the relay's, or its carrier's.
    pub fn has_address(&self, address: SocketAddr) -> bool {
        self.udp().contains(&address) || self.over_tls.address() == Some(address)
    }

    /// Whether the node is bound over TLS.
    pub fn is_over_tls(&self) -> bool {
        self.bound_to()
            .is_some_and(|to| self.over_tls.address() == Some(to))
    }

    fn udp(&self) -> &[SocketAddr] {
        let addresses = &self.info.addresses;
        &addresses[..addresses.len().min(MAX_ADDRESSES)]
    }

    /// The carrier is connected behind this address of loopback; or, with none, it is not.
    pub fn set_carrier(&mut self, now: Instant, carrier: Option<SocketAddr>) {
        let before = self.over_tls.address();
        if before == carrier {
            return;
        }
        self.over_tls.set_address(carrier);
        if before.is_some_and(|gone| self.binding.unbind(now, gone)) {
            self.event(RelayEvent::Lost);
        } else if self.bound_to().is_none() {
            self.binding.restart(now);
        }
        self.pump(now);
    }

    /// The session that reaches `peer`, while the node is bound.
    pub fn session(&self, peer: NodeId) -> Option<u64> {
        self.bound_to().and_then(|_| self.openings.session(peer))
    }

    /// The peer that a session of ours reaches.
    pub fn peer_of(&self, session: u64) -> Option<NodeId> {
        self.openings.peer_of(session)
    }

    /// Wants a session to `peer`: asks for one unless there is one, and keeps asking for 10 s.
    pub fn open(&mut self, now: Instant, peer: NodeId) {
        self.openings.want(now, peer);
        self.binding.wanted(now);
        self.pump(now);
    }

    /// Drops everything about a peer.
    pub fn forget(&mut self, peer: NodeId) {
        self.openings.forget(peer);
    }

    /// Asks the relay for a sign of life, unless it gave one in the last 500 ms.
    pub fn check(&mut self, now: Instant) {
        self.binding.wanted(now);
        self.binding.check(now);
        self.pump(now);
    }

    /// The node's own address may have changed: bind again now. Sessions stay.
    pub fn network_changed(&mut self, now: Instant) {
        self.binding.restart(now);
        self.over_tls.stop_looking();
        self.pump(now);
    }

    /// Whether a frame answers a request of ours, or speaks of a session of ours: nobody makes such a one up who does not see
    /// our packets.
    pub fn awaits(&self, datagram: &[u8]) -> bool {
        let Some(Frame::Control(control)) = parse(datagram) else {
            return false;
        };
        let asked = |nonce| self.binding.asked(nonce) || self.over_tls.asked(nonce);
        match control {
            Control::BindCookie { nonce, .. } | Control::Bound { nonce, .. } => {
                asked(nonce) || self.whereabouts.shows(nonce)
            }
            Control::Opened { nonce, .. } => self.openings.asked(nonce).is_some(),
            Control::Refused { subject, .. } => {
                let session = u64::from_le_bytes(subject);
                asked(subject)
                    || self.openings.asked(subject).is_some()
                    || self.openings.peer_of(session).is_some()
            }
            Control::Where { nonce, .. } => self.whereabouts.asked(nonce),
            Control::BindRequest { .. }
            | Control::OpenRequest { .. }
            | Control::WhereRequest { .. }
            | Control::Witness { .. } => false,
        }
    }

    /// Takes a control frame that came from one of the relay's addresses.
    pub fn handle_frame(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        let Some(Frame::Control(control)) = parse(datagram) else {
            return;
        };
        match control {
            Control::BindCookie { nonce, cookie } if self.whereabouts.shows(nonce) => {
                self.show(from, nonce, &cookie);
            }
            Control::BindCookie { nonce, cookie } => {
                match self.over_tls.cookie(now, from, nonce, cookie, &mut self.rng) {
                    Some(request) => self.request(request),
                    None => self.binding.cookie(now, from, nonce, cookie),
                }
            }
            Control::Bound {
                nonce,
                lifetime_s,
                seen,
            } if authentic(datagram, &self.info.key) => {
                self.bound(now, from, nonce, lifetime_s, seen);
            }
            Control::Opened { nonce, peer, session } if authentic(datagram, &self.info.key) => {
                self.opened(now, nonce, peer, session);
            }
            Control::Where { nonce, peer, seen } if authentic(datagram, &self.info.key) => {
                self.told_whereabouts(nonce, peer, seen);
            }
            Control::Refused { subject, code } => self.refused(now, subject, code),
            _ => {}
        }
        self.pump(now);
    }

    fn bound(&mut self, now: Instant, from: SocketAddr, nonce: Nonce, lifetime_s: u16, seen: SocketAddr) {
        let lifetime = Duration::from_secs(lifetime_s.into());
        let jitter = self.rng.next_u32();
        let before = self.binding.bound_to();
        if before == Some(from) && self.binding.asked(nonce) {
            self.binding.seen_at(seen);
        }
        let anew = self.bound_to() != Some(from);
        let rtt = match self.over_tls.answered(from, nonce) {
            Some(asked) => Some(self.binding.settle(now, &asked, lifetime, jitter)),
            None => self.binding.bound(now, from, nonce, lifetime, jitter),
        };
        if let Some(rtt) = rtt {
            self.over_tls.bound(now, from);
            self.openings.retry_now(now);
            self.event(RelayEvent::Bound { seen, rtt, anew });
        }
    }

    fn opened(&mut self, now: Instant, nonce: Nonce, peer: NodeId, session: u64) {
        if self.openings.opened(nonce, peer, session) {
            self.binding.heard(now);
            self.event(RelayEvent::Opened { peer, session });
        }
    }

    /// A refusal counts only where it names a session or a request of ours: whoever does not see our packets cannot
    /// know one.
    fn refused(&mut self, now: Instant, subject: Nonce, code: RefusalCode) {
        let session = u64::from_le_bytes(subject);
        let about = self.openings.peer_of(session);
        let asked = self.openings.asked(subject);
        if let Some(peer) = about.or(asked) {
            match code {
                RefusalCode::NotBound => self.binding.rebind(now),
                RefusalCode::UnknownSession if about.is_some() => {
                    self.openings.lost(now, peer);
                    self.binding.rebind(now);
                    self.event(RelayEvent::SessionLost { peer });
                }
                _ => self.event(RelayEvent::Refused { peer, code }),
            }
        } else if code == RefusalCode::NotAMember && self.binding.asked(subject) {
            self.binding.not_a_member(now);
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let openings = self.bound_to().and_then(|_| self.openings.next());
        [self.binding.next(), openings, self.over_tls.next()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Sends what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.pump(now);
    }

    /// The next frame to send, and where to.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, ControlFrame)> {
        self.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<RelayEvent> {
        self.events.pop_front()
    }

    fn pump(&mut self, now: Instant) {
        let was_bound = self.bound_to().is_some();
        let mut addresses = self.udp().to_vec();
        let looks = self.over_tls.due(now, &addresses, &mut self.rng);
        addresses.extend(self.over_tls.address());
        for request in self
            .binding
            .due(now, &addresses, &mut self.rng)
            .into_iter()
            .chain(looks)
        {
            self.request(request);
        }
        if was_bound && self.bound_to().is_none() {
            self.over_tls.stop_looking();
            self.event(RelayEvent::Lost);
        }
        self.ask_for_carrier(now);
        let Some(to) = self.bound_to() else { return };
        for (peer, nonce) in self.openings.due(now, &mut self.rng) {
            let frame = ControlFrame::open_request(self.network, self.node, nonce, peer, &self.info.key);
            self.transmit(to, frame);
        }
    }

    fn ask_for_carrier(&mut self, now: Instant) {
        if self.bound_to().is_none() && self.binding.is_silent() && self.over_tls.want() {
            self.event(RelayEvent::Carrier { wanted: true });
        }
        if self.over_tls.lets_go(now) {
            self.event(RelayEvent::Carrier { wanted: false });
        }
    }

    fn request(&mut self, request: Request) {
        let Request { to, nonce, cookie } = request;
        let frame = ControlFrame::bind_request(self.network, self.node, nonce, &cookie, &self.info.key);
        self.transmit(to, frame);
    }

    fn transmit(&mut self, to: SocketAddr, frame: ControlFrame) {
        if self.transmits.len() < MAX_QUEUE {
            self.transmits.push_back((to, frame));
        }
    }

    fn event(&mut self, event: RelayEvent) {
        if self.events.len() < MAX_QUEUE {
            self.events.push_back(event);
        }
    }
}
