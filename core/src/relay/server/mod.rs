//! The relay's side: who is bound where, which session leads to whom, and what becomes of each datagram.
//!
//! A frame's journey: [`RelayServer::forward`] takes the session id from the header (one hash look-up), compares the
//! sender's binding, charges its quota, writes the opposite direction's id into the frame and names the receiver's
//! address. It needs `&self`, allocates nothing and touches only atomics, so any number of threads forward at once
//! behind a read lock taken once per batch. What it answers with [`Verdict::Control`] goes to
//! [`RelayServer::handle_control`] under the write lock.
//!
//! Every table is bounded: members by what the coordinator says, sessions by [`RelayConfig::max_sessions`], rate limits
//! by a table of fixed size. A node without membership has no key that fits, so it can bind nothing; who is removed
//! loses binding and sessions at once.

mod control;
mod cookie;
mod fair;
mod forward;
mod limits;
mod members;
mod sessions;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use zeroize::Zeroizing;

use crate::id::{NetworkId, NodeId};
use crate::keys::{BindKey, blake2s_keyed};

use super::frame::ControlFrame;
use cookie::CookieJar;
use fair::Fairness;
use limits::RefusalLimiter;
use members::Members;
use sessions::Sessions;

pub use fair::Strain;
pub use members::MemberTraffic;

/// Unused sessions are looked for this often, and only while the table is more than half full.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Where the table is full, opening a session looks for unused ones at most this often.
const MAKE_ROOM_EVERY: Duration = Duration::from_secs(1);

/// One of the relay's ways to the outside, and the address at its far end. What came in by a channel is answered by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel {
    /// Which of the relay's sockets (or streams); the caller's numbering.
    pub listener: u32,
    /// The far end.
    pub address: SocketAddr,
    /// The relay's own address that it came to, where it has several: what goes back must come from there, or the NAT in
    /// between does not know it.
    pub local: Option<IpAddr>,
}

/// The listener of every stream.
const STREAMS: u32 = u32::MAX;
/// Streams have addresses under the discard-only prefix (RFC 6666), a new one for each connection. Nobody sends from
/// there, and a datagram that says so came in by a socket, which is another listener.
const STREAM_PREFIX: u128 = 0x0100 << 112;

impl Channel {
    /// The channel of a stream (a node's TLS connection). No two streams of a relay's life have the same number.
    pub fn of_stream(number: u64) -> Self {
        let address = Ipv6Addr::from(STREAM_PREFIX | u128::from(number));
        Self {
            listener: STREAMS,
            address: SocketAddr::new(address.into(), 0),
            local: None,
        }
    }

    /// The stream's number, where it is one.
    pub fn stream(&self) -> Option<u64> {
        match self.address.ip() {
            IpAddr::V6(address) if self.listener == STREAMS => Some(u128::from(address) as u64),
            _ => None,
        }
    }

    /// The address that a node is told it was seen at; unspecified over a stream, which tells nothing of UDP.
    pub fn seen(&self) -> SocketAddr {
        match self.stream() {
            Some(_) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
            None => self.address,
        }
    }

    /// Whether what comes by `other` is of the same sender.
    pub fn is_of(&self, other: &Self) -> bool {
        self.address == other.address && self.listener == other.listener
    }
}

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// Send the datagram, which was changed in place, to this channel.
    Forward {
        /// The receiver.
        to: Channel,
    },
    /// Send this back to where the datagram came from. Never longer than it.
    Reply(ControlFrame),
    /// A control message: hand it to [`RelayServer::handle_control`].
    Control,
    /// Drop it and count why.
    Drop(RelayDrop),
}

/// Why the relay dropped a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RelayDrop {
    /// Not a relay frame, or a control message that no node sends.
    Malformed,
    /// The payload is neither a WireGuard nor a discovery packet.
    ForeignPayload,
    /// Refused, but the refusals to this address are used up for this second, or the frame is shorter than a refusal.
    RefusedSilently,
    /// A MAC that is not that of the node named.
    BadMac,
    /// A bind request that was seen before, from another address.
    Replayed,
    /// More was offered than there is room for, and the sender has had its share.
    Shed,
}

/// Limits of a relay.
#[derive(Clone, Copy, Debug)]
pub struct RelayConfig {
    /// Sessions in all, each direction counted; past it, opening is refused. About 48 bytes each.
    pub max_sessions: usize,
    /// Sessions to which one node may send.
    pub max_sessions_per_node: usize,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            max_sessions: 1 << 18,
            max_sessions_per_node: 1 << 12,
        }
    }
}

/// The key between a node and the relay that has `secret`; the coordinator hands it to the node.
pub fn bind_key(secret: &[u8; 32], network: NetworkId, node: NodeId) -> BindKey {
    BindKey::from_bytes(blake2s_keyed(
        secret,
        &[b"meshd bind v1", network.as_bytes(), node.as_bytes()],
    ))
}

/// All decisions of one relay.
pub struct RelayServer {
    secret: Zeroizing<[u8; 32]>,
    config: RelayConfig,
    started: Instant,
    rng: ChaCha20Rng,
    cookies: CookieJar,
    members: Members,
    sessions: Sessions,
    refusals: RefusalLimiter,
    fairness: Fairness,
    sweep_at: Instant,
    room_at: Instant,
}

impl RelayServer {
    /// A relay without members. `secret` makes the bind keys and stays the same over restarts; `seed` is fresh
    /// randomness.
    pub fn new(now: Instant, secret: [u8; 32], seed: [u8; 32], config: RelayConfig) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        Self {
            secret: Zeroizing::new(secret),
            config,
            started: now,
            cookies: CookieJar::new(now, &mut rng),
            refusals: RefusalLimiter::new(rng.next_u64()),
            rng,
            members: Members::default(),
            sessions: Sessions::default(),
            fairness: Fairness::default(),
            sweep_at: now + SWEEP_EVERY,
            room_at: now,
        }
    }

    /// Makes `nodes` all members of `network`. Who is no longer among them loses binding and sessions at once.
    pub fn set_members(&mut self, network: NetworkId, nodes: impl IntoIterator<Item = NodeId>) {
        let wanted: std::collections::BTreeSet<NodeId> = nodes.into_iter().collect();
        for gone in self
            .members
            .of_network(network)
            .into_iter()
            .filter(|node| !wanted.contains(node))
        {
            self.remove_node(network, gone);
        }
        for node in wanted {
            self.add_member(network, node);
        }
    }

    /// Adds one member; does nothing where it is one.
    pub fn add_member(&mut self, network: NetworkId, node: NodeId) {
        if self.members.find(network, node).is_none() {
            self.members
                .insert(network, node, bind_key(&self.secret, network, node));
        }
    }

    /// As [`Self::set_members`], each with the key between it and the relay. Who has another key than before binds anew.
    pub fn set_keyed_members(
        &mut self,
        network: NetworkId,
        nodes: impl IntoIterator<Item = (NodeId, BindKey)>,
    ) {
        let wanted: std::collections::BTreeMap<NodeId, BindKey> = nodes.into_iter().collect();
        let stays = |node: &NodeId| {
            let held = self.members.find(network, *node);
            let held = held.and_then(|index| self.members.get(index));
            held.is_some_and(|slot| wanted.get(node) == Some(&slot.key))
        };
        let held = self.members.of_network(network);
        for gone in held.into_iter().filter(|node| !stays(node)).collect::<Vec<_>>() {
            self.remove_node(network, gone);
        }
        for (node, key) in wanted {
            if self.members.find(network, node).is_none() {
                self.members.insert(network, node, key);
            }
        }
    }

    /// Whether a data frame of this session would be forwarded, or refused by name.
    pub fn knows(&self, session: u64) -> bool {
        self.sessions.get(session).is_some()
    }

    /// Removes a node: its binding and all sessions from and to it end now.
    pub fn remove_node(&mut self, network: NetworkId, node: NodeId) {
        if let Some((index, slot)) = self.members.remove(network, node) {
            for (peer, session) in slot.peers {
                self.sessions.remove_pair(session);
                self.members.forget_session(peer, index);
            }
        }
    }

    /// Removes a network and all its nodes.
    pub fn remove_network(&mut self, network: NetworkId) {
        self.set_members(network, []);
        self.members.set_quota(network, None);
    }

    /// Limits each node of `network` to this many bytes/s sent through the relay, with a burst of a quarter of a second
    /// (at least 64 KiB); none, as at first, is no limit.
    pub fn set_quota(&mut self, network: NetworkId, bytes_per_second: Option<NonZeroU64>) {
        self.members.set_quota(network, bytes_per_second);
    }

    /// The room for all members together, bytes/s; where they offer more each gets its share. None, as at first, is what
    /// [`Self::make_shares`] finds out.
    pub fn set_capacity(&mut self, bytes_per_second: Option<NonZeroU64>) {
        self.fairness.set_capacity(bytes_per_second);
    }

    /// Whether it is time for [`Self::make_shares`], ten times a second.
    pub fn shares_due(&self, now: Instant) -> bool {
        self.fairness.is_due(self.clock(now))
    }

    /// Makes shares of what members have offered lately, and of what became of it. Whoever forwards calls this where
    /// [`Self::shares_due`]; who never does has no shares.
    pub fn make_shares(&mut self, now: Instant, strain: &Strain) {
        let clock = self.clock(now);
        let offers = self.members.iter().map(members::Slot::take_offered);
        self.fairness.settle(clock, offers, strain);
    }

    /// Whether the node is a member of the network.
    pub fn is_member(&self, network: NetworkId, node: NodeId) -> bool {
        self.members.find(network, node).is_some()
    }

    /// What a member has sent through the relay since it became one; none for who is not a member.
    pub fn traffic(&self, network: NetworkId, node: NodeId) -> Option<MemberTraffic> {
        Some(self.members.get(self.members.find(network, node)?)?.traffic())
    }

    /// Where a member is bound now.
    pub fn binding(&self, now: Instant, network: NetworkId, node: NodeId) -> Option<Channel> {
        self.members
            .get(self.members.find(network, node)?)?
            .bound_at(self.clock(now))
    }

    /// Sessions open now, each direction counted.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Members with a binding now.
    pub fn bindings(&self, now: Instant) -> usize {
        let clock = self.clock(now);
        self.members
            .iter()
            .filter(|slot| slot.bound_at(clock).is_some())
            .count()
    }

    /// Both steps for one datagram: [`Self::forward`], then [`Self::handle_control`] where that is due.
    pub fn handle_datagram(&mut self, now: Instant, from: Channel, datagram: &mut [u8]) -> Verdict {
        match self.forward(now, from, datagram) {
            Verdict::Control => self.handle_control(now, from, datagram),
            verdict => verdict,
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Instant {
        self.sweep_at.min(self.cookies.rotates_at())
    }

    /// Changes the cookie secret and drops unused sessions where room is short.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.cookies.rotate(now, &mut self.rng);
        if now >= self.sweep_at {
            self.sweep_at = now + SWEEP_EVERY;
            if self.sessions.len() > self.config.max_sessions / 2 {
                self.sweep(now);
            }
        }
    }

    /// Drops unused sessions, at most once a second: a full table must not make every request walk through it.
    fn make_room(&mut self, now: Instant) {
        if now >= self.room_at {
            self.room_at = now + MAKE_ROOM_EVERY;
            self.sweep(now);
        }
    }

    fn sweep(&mut self, now: Instant) {
        for session in self.sessions.unused(self.clock(now)) {
            if let Some((from, to)) = self.sessions.remove_pair(session) {
                self.members.forget_session(from, to);
                self.members.forget_session(to, from);
            }
        }
    }

    /// Nanoseconds since one second before the start: what the atomics hold, in which 0 is long ago.
    fn clock(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.started) + Duration::from_secs(1);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}
