//! A node: an agent, and the toy data plane that drives it as the real one does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::demux::{Class, RELAY_CONTROL_SESSION, classify, split_relay};
use crate::id::NodeId;
use crate::path::{Agent, Destination, Endpoint, Event, Path, Remote, SocketId, Source, Switch, Transmit};

use super::tunnel::{self, Heard, Tunnel};
use super::world::NODE_PORT;

/// Packets sent and received are noted to the agent this often, as the real packet path does.
const NOTE_EVERY: Duration = Duration::from_millis(50);

/// Ports of the sockets that are not primary, as far as there are.
const FIRST_FRESH_PORT: u16 = 52_000;
const FRESH_PORTS: u16 = 13_000;

/// A numbered packet that came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// When.
    pub at: Instant,
    /// Who sent it.
    pub from: NodeId,
    /// Its number.
    pub number: u64,
    /// The way it came.
    pub by: Endpoint,
}

/// What the agent is told. While the control side of the node is busy it waits.
#[derive(Clone, Debug)]
enum Word {
    Datagram(Source, Vec<u8>),
    Sent(NodeId),
    Received(NodeId, Endpoint),
    Initiated(NodeId),
    HandshakeDone(NodeId),
}

/// What the node's side of one peer looks like.
#[derive(Default)]
struct PeerState {
    tunnel: Tunnel,
    switch: Switch,
    noted_sent: Option<Instant>,
    noted_received: BTreeMap<Endpoint, Instant>,
    /// Where its last authentic message came from.
    last_from: Option<Endpoint>,
}

/// A node.
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// The agent under test.
    pub agent: Agent,
    /// Every event of the agent, with its time.
    pub events: Vec<(Instant, Event)>,
    /// Every numbered packet that came through.
    pub deliveries: Vec<Delivery>,
    /// What the node's clock says more than the world's, microseconds.
    pub clock_ahead_us: i64,
    pub(super) out: VecDeque<Transmit>,
    /// What the node says of itself has changed.
    pub(super) news: bool,
    /// Sockets besides the primary one that are open.
    pub(super) sockets: BTreeSet<SocketId>,
    peers: BTreeMap<NodeId, PeerState>,
    /// The control side does nothing until then; packets pass as ever.
    busy_until: Option<Instant>,
    /// What it is told then.
    waiting: VecDeque<Word>,
    start: Instant,
    sessions: u64,
}

impl Node {
    /// A node in a fresh life; `life` tells it from earlier ones. Its first events are followed with the next call.
    pub(super) fn new(start: Instant, id: NodeId, agent: Agent, life: u64) -> Self {
        Self {
            id,
            agent,
            events: Vec::new(),
            deliveries: Vec::new(),
            clock_ahead_us: 0,
            out: VecDeque::new(),
            news: false,
            sockets: BTreeSet::new(),
            peers: BTreeMap::new(),
            busy_until: None,
            waiting: VecDeque::new(),
            start,
            sessions: life << 32,
        }
    }

    /// The path that the data plane uses to a peer; a direct one that it will use waits for a session.
    pub fn path(&self, peer: NodeId) -> Path {
        self.peers
            .get(&peer)
            .map(|state| state.switch.path())
            .unwrap_or_default()
    }

    /// The port of one of its sockets, while that is open.
    pub(super) fn port_of(&self, socket: SocketId) -> Option<u16> {
        if socket.is_primary() {
            return Some(NODE_PORT);
        }
        self.sockets
            .contains(&socket)
            .then(|| FIRST_FRESH_PORT + socket.0 % FRESH_PORTS)
    }

    /// The open socket on a port.
    pub(super) fn socket_at(&self, port: u16) -> Option<SocketId> {
        if port == NODE_PORT {
            return Some(SocketId::PRIMARY);
        }
        self.sockets
            .iter()
            .copied()
            .find(|&socket| self.port_of(socket) == Some(port))
    }

    pub(super) fn next(&self) -> Option<Instant> {
        let tunnels = self
            .peers
            .values()
            .flat_map(|state| [state.tunnel.next(), state.switch.poll_timeout()])
            .flatten();
        let agent = self.agent.poll_timeout().max(self.busy_until);
        tunnels.chain(agent).min()
    }

    /// The computer has no time for the control side until then: what the agent would be told waits, and so do its timers.
    pub fn be_busy(&mut self, until: Instant) {
        self.busy_until = self.busy_until.max(Some(until));
    }

    fn is_busy(&self, now: Instant) -> bool {
        self.busy_until.is_some_and(|until| now < until)
    }

    pub(super) fn tick(&mut self, now: Instant) {
        if !self.is_busy(now) {
            self.busy_until = None;
            while let Some(word) = self.waiting.pop_front() {
                self.say(now, word);
            }
        }
        if !self.is_busy(now) && self.agent.poll_timeout().is_some_and(|due| due <= now) {
            self.agent.handle_timeout(now);
            self.drain(now);
        }
        for state in self.peers.values_mut() {
            state.switch.handle_timeout(now);
        }
        let due = |state: &PeerState| state.tunnel.next().is_some_and(|next| next <= now);
        let peers: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(_, state)| due(state))
            .map(|(id, _)| *id)
            .collect();
        for peer in peers {
            let id = self.id;
            let (handshake, keepalive) = self.state(peer).tunnel.tick(now, id);
            if let Some(packet) = keepalive {
                self.emit(peer, &packet);
            }
            if handshake {
                self.initiate(now, peer, true);
            }
        }
    }

    /// The application sends a numbered packet.
    pub(super) fn send(&mut self, now: Instant, to: NodeId, number: u64) {
        let id = self.id;
        if let Some(packet) = self.state(to).tunnel.send(now, id, number) {
            self.emit(to, &packet);
        }
        self.note_sent(now, to);
        if self.state(to).tunnel.waiting() && self.path(to).primary.is_some() {
            self.initiate(now, to, false);
        }
    }

    pub(super) fn receive(&mut self, now: Instant, at: Remote, bytes: &[u8]) {
        let from = at.address;
        match classify(bytes) {
            Class::Relay => match split_relay(bytes) {
                Ok((session, payload)) if session != RELAY_CONTROL_SESSION && is_wireguard(payload) => {
                    self.tunnel_packet(now, Endpoint::Relay { relay: from, session }, payload);
                }
                _ => self.hand_over(now, Source::Socket(at), bytes),
            },
            _ if is_wireguard(bytes) => self.tunnel_packet(now, Endpoint::Direct(at), bytes),
            _ => self.hand_over(now, Source::Socket(at), bytes),
        }
    }

    pub(super) fn hand_over(&mut self, now: Instant, source: Source, bytes: &[u8]) {
        self.tell(now, Word::Datagram(source, bytes.to_vec()));
    }

    /// Tells the agent, now or when there is time for it.
    fn tell(&mut self, now: Instant, word: Word) {
        if self.is_busy(now) || !self.waiting.is_empty() {
            self.waiting.push_back(word);
        } else {
            self.say(now, word);
        }
    }

    fn say(&mut self, now: Instant, word: Word) {
        match word {
            Word::Datagram(source, bytes) => self.agent.handle_datagram(now, source, &bytes),
            Word::Sent(peer) => self.agent.handle_activity(now, peer),
            Word::Received(peer, from) => self.agent.note_received(now, peer, from),
            Word::Initiated(peer) => self.agent.initiation_sent(now, peer),
            Word::HandshakeDone(peer) => self.agent.handshake_done(now, peer),
        }
        self.drain(now);
    }

    /// Follows what the agent wants, after whatever was done to it.
    pub(super) fn drain(&mut self, now: Instant) {
        while let Some(transmit) = self.agent.poll_transmit() {
            self.out.push_back(transmit);
        }
        while let Some(event) = self.agent.poll_event() {
            self.events.push((now, event));
            match event {
                Event::PathChanged { peer, path, .. } => {
                    let state = self.state(peer);
                    let last_sent = state.tunnel.last_sent();
                    if state.switch.set(now, path, last_sent) {
                        self.initiate(now, peer, true);
                    }
                }
                Event::Initiate { peer } => self.initiate(now, peer, true),
                Event::OpenSockets { first, count, .. } => {
                    self.sockets.extend((first.0..first.0 + count).map(SocketId));
                }
                Event::CloseSockets { first, count } => {
                    let closed = first.0..first.0 + count;
                    self.sockets.retain(|socket| !closed.contains(&socket.0));
                }
                Event::ReflexiveAddress { .. } | Event::HomeRelay { .. } => self.news = true,
                Event::Carrier { .. } => {} // links of the simulated world never block UDP alone
                _ => {}
            }
        }
    }

    fn state(&mut self, peer: NodeId) -> &mut PeerState {
        self.peers.entry(peer).or_default()
    }

    fn initiate(&mut self, now: Instant, peer: NodeId, force: bool) {
        if self.path(peer).primary.is_none() {
            return;
        }
        self.sessions += 1;
        let (id, session, stamp) = (self.id, self.sessions, self.stamp(now));
        let Some(packet) = self.state(peer).tunnel.initiate(now, id, stamp, session, force) else {
            return;
        };
        self.emit(peer, &packet);
        self.tell(now, Word::Initiated(peer));
    }

    fn stamp(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.start).as_micros() as i64;
        (1_000_000_000_000_000 + elapsed + self.clock_ahead_us) as u64
    }

    fn emit(&mut self, peer: NodeId, packet: &[u8]) {
        let path = self.path(peer);
        // as the real packet path does
        let last = self.peers.get(&peer).and_then(|state| state.last_from);
        for endpoint in [path.primary.or(last), path.duplicate].into_iter().flatten() {
            self.emit_by(endpoint, packet);
        }
    }

    fn emit_by(&mut self, endpoint: Endpoint, packet: &[u8]) {
        let bytes = tunnel::framed(endpoint, packet);
        self.out.push_back(Transmit {
            to: Destination::Socket(Remote {
                address: endpoint.address(),
                socket: endpoint.socket(),
            }),
            ttl: None,
            bytes,
        });
    }

    fn note_sent(&mut self, now: Instant, peer: NodeId) {
        let state = self.state(peer);
        if state.noted_sent.is_none_or(|at| now >= at + NOTE_EVERY) {
            state.noted_sent = Some(now);
            self.tell(now, Word::Sent(peer));
        }
    }

    fn tunnel_packet(&mut self, now: Instant, from: Endpoint, bytes: &[u8]) {
        let Some(peer) = tunnel::sender_of(bytes) else {
            return;
        };
        let Some(heard) = self.state(peer).tunnel.receive(now, bytes) else {
            return;
        };
        let state = self.state(peer);
        state.last_from = Some(from);
        if state
            .noted_received
            .get(&from)
            .is_none_or(|at| now >= *at + NOTE_EVERY)
        {
            state.noted_received.insert(from, now);
            self.tell(now, Word::Received(peer, from));
        }
        match heard {
            Heard::Initiation { session } => self.emit_by(from, &tunnel::response(self.id, session)),
            Heard::Response => {
                let id = self.id;
                if let Some(keepalive) = self.state(peer).tunnel.data(now, id, None) {
                    self.emit_by(from, &keepalive);
                }
                self.handshake_done(now, peer);
            }
            Heard::Data { number, confirmed } => {
                if confirmed {
                    self.handshake_done(now, peer);
                }
                let delivery = number.map(|number| Delivery {
                    at: now,
                    from: peer,
                    number,
                    by: from,
                });
                self.deliveries.extend(delivery);
            }
        }
    }

    fn handshake_done(&mut self, now: Instant, peer: NodeId) {
        self.state(peer).switch.session_began();
        self.tell(now, Word::HandshakeDone(peer));
        let id = self.id;
        for packet in self.state(peer).tunnel.flush(now, id) {
            self.emit(peer, &packet);
        }
    }
}

fn is_wireguard(bytes: &[u8]) -> bool {
    matches!(
        classify(bytes),
        Class::Data | Class::HandshakeInitiation | Class::HandshakeResponse | Class::CookieReply
    )
}

/// Where a beacon of a host with this address comes from.
pub(super) fn beacon_source(ip: IpAddr) -> Source {
    Source::Beacon(SocketAddr::new(ip, crate::path::beacon::BEACON_PORT))
}
