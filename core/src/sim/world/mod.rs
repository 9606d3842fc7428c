//! The world: hosts on a network, a clock that only moves when something is due.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::id::{NetworkId, NodeId, RelayId};
use crate::keys::DiscoverySecret;
use crate::nat::NatBehaviour;
use crate::path::Event;
use crate::relay::RelayServer;

use super::net::{HostId, Net};
use super::node::{Delivery, Node};

mod build;
mod carry;
mod coordinator;

/// The network in which all nodes are members.
const NETWORK: NetworkId = NetworkId::from_bytes([1; 16]);
const RELAY_SECRET: [u8; 32] = [7; 32];
const LAN_KEY: [u8; 32] = [8; 32];
/// The port of every node's WireGuard socket, and of every relay.
pub const NODE_PORT: u16 = 51820;
/// The first port of every relay; the second is the next.
pub const RELAY_PORT: u16 = 3478;
/// So many steps at one moment are a timer that does not advance.
const MAX_STALL: u32 = 100_000;
/// From a node's new candidate to the map that says so.
const PUBLISH_AFTER: Duration = Duration::from_millis(50);

/// A datagram that arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// When.
    pub at: Instant,
    /// Where.
    pub to: HostId,
    /// From which address, as the receiver sees it.
    pub from: SocketAddr,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

enum Due {
    Datagram {
        to: HostId,
        port: u16,
        from: SocketAddr,
        bytes: Vec<u8>,
        beacon: bool,
    },
    Publish,
    Flow(usize),
}

struct Relay {
    id: RelayId,
    host: HostId,
    server: Option<RelayServer>,
    restarts: u8,
}

struct Flow {
    from: HostId,
    to: NodeId,
    every: Duration,
    until: Instant,
}

struct Member {
    secret: DiscoverySecret,
    node: Option<Node>,
    lives: u64,
    /// Events and deliveries of its earlier lives.
    past: (Vec<(Instant, Event)>, Vec<Delivery>),
    /// What it says of itself, where it lies.
    lie: Option<Vec<SocketAddr>>,
}

/// Everything.
pub struct World {
    now: Instant,
    start: Instant,
    rng: ChaCha20Rng,
    net: Net,
    members: BTreeMap<HostId, Member>,
    relays: Vec<Relay>,
    flows: Vec<Flow>,
    due: BTreeMap<(Instant, u64), Due>,
    sequence: u64,
    packets: u64,
    coordinator_up: bool,
    nats_known: bool,
    publishing: bool,
    /// Of the discovery packets that relays forward, so many more come through, and so many after them are lost.
    loses: (u64, u64),
    /// Steps without time passing.
    stalled: u32,
    log: Log,
}

/// What was seen.
#[derive(Default)]
struct Log {
    /// Everything that arrived anywhere, while [`World::record`] is on.
    arrived: Option<Vec<Arrived>>,
    /// Datagrams that arrived, per host.
    counts: BTreeMap<HostId, u64>,
    trace: u64,
}

impl World {
    /// An empty world at `start`. The same seed gives the same world.
    pub fn new(start: Instant, seed: u64) -> Self {
        Self {
            now: start,
            start,
            rng: ChaCha20Rng::seed_from_u64(seed),
            net: Net::new(),
            members: BTreeMap::new(),
            relays: Vec::new(),
            flows: Vec::new(),
            due: BTreeMap::new(),
            sequence: 0,
            packets: 0,
            coordinator_up: true,
            nats_known: true,
            publishing: false,
            loses: (0, 0),
            stalled: 0,
            log: Log::default(),
        }
    }

    // ---- seeing it

    /// The present time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// The addresses of a host, each as a prefix of 24 or 64 bits.
    pub fn addresses(&self, host: HostId) -> Vec<IpNet> {
        let prefix = |ip: &IpAddr| IpNet::new(*ip, if ip.is_ipv4() { 24 } else { 64 });
        self.net
            .addresses(host)
            .iter()
            .filter_map(|ip| prefix(ip).ok())
            .collect()
    }

    /// A running node.
    pub fn node(&self, host: HostId) -> Option<&Node> {
        self.members.get(&host)?.node.as_ref()
    }

    /// What a node would measure of the NATs in front of it.
    pub fn behaviour(&self, host: HostId) -> NatBehaviour {
        self.net.behaviour(host)
    }

    /// Sockets that a node has open besides its primary one.
    pub fn open_sockets(&self, host: HostId) -> usize {
        self.node(host).map_or(0, |node| node.sockets.len())
    }

    /// Does something with a running node, and what follows from it.
    pub fn with_node(&mut self, host: HostId, change: impl FnOnce(&mut Node, Instant)) {
        let now = self.now;
        if let Some(node) = self
            .members
            .get_mut(&host)
            .and_then(|member| member.node.as_mut())
        {
            change(node, now);
            node.drain(now);
        }
        self.carry_out(host);
    }

    /// Datagrams that arrived at a host, beacons not counted.
    pub fn count(&self, host: HostId) -> u64 {
        self.log.counts.get(&host).copied().unwrap_or(0)
    }

    /// Begins to record what arrives, or gives what was recorded and ends.
    pub fn record(&mut self) -> Vec<Arrived> {
        match self.log.arrived.take() {
            Some(arrived) => arrived,
            None => {
                self.log.arrived = Some(Vec::new());
                Vec::new()
            }
        }
    }

    /// A number that two runs share only where they went alike.
    pub fn trace(&self) -> u64 {
        self.log.trace
    }

    // ---- running it

    /// Lets this much time pass.
    pub fn run(&mut self, lasting: Duration) {
        let end = self.now + lasting;
        while self.step(end) {}
        self.now = end;
    }

    /// Lets time pass until something is so; whether it came to that within `lasting`.
    pub fn run_until(&mut self, lasting: Duration, mut so: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + lasting;
        loop {
            if so(self) {
                return true;
            }
            if !self.step(end) {
                self.now = end;
                return so(self);
            }
        }
    }

    /// Goes to the next thing that is due, unless that is after `end`.
    fn step(&mut self, end: Instant) -> bool {
        let nodes = self
            .members
            .values()
            .filter_map(|member| member.node.as_ref()?.next())
            .min();
        let relays = self
            .relays
            .iter()
            .filter_map(|relay| Some(relay.server.as_ref()?.poll_timeout()))
            .min();
        let queued = self.due.keys().next().map(|(at, _)| *at);
        let Some(next) = [nodes, relays, queued]
            .into_iter()
            .flatten()
            .min()
            .filter(|next| *next <= end)
        else {
            return false;
        };
        self.stalled = if next > self.now { 0 } else { self.stalled + 1 };
        assert!(
            self.stalled < MAX_STALL,
            "a timer that never advances, {:?} after the start",
            self.elapsed()
        );
        self.now = self.now.max(next);
        let now = self.now;
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now) {
            let due = entry.remove();
            self.happen(due);
        }
        for relay in &mut self.relays {
            if let Some(server) = relay
                .server
                .as_mut()
                .filter(|server| server.poll_timeout() <= now)
            {
                server.handle_timeout(now);
            }
        }
        let next = |member: &Member| member.node.as_ref().and_then(Node::next);
        let due = self
            .members
            .iter()
            .filter(|(_, member)| next(member).is_some_and(|at| at <= now));
        let due: Vec<HostId> = due.map(|(&host, _)| host).collect();
        for host in due {
            self.with_node(host, |node, now| node.tick(now));
        }
        true
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Datagram {
                to,
                port,
                from,
                bytes,
                beacon,
            } => self.arrive(to, port, from, bytes, beacon),
            Due::Publish => self.publish(),
            Due::Flow(index) => {
                let flow = &self.flows[index];
                let (from, to, every) = (flow.from, flow.to, flow.every);
                self.packets += 1;
                let number = self.packets;
                if self.now + every < flow.until {
                    self.push(every, Due::Flow(index));
                }
                self.with_node(from, |node, now| node.send(now, to, number));
            }
        }
    }
}

/// The node id of a host.
pub fn node_id(host: HostId) -> NodeId {
    let mut bytes = [host.0 as u8 + 1; 16];
    bytes[0] = (host.0 >> 8) as u8;
    NodeId::from_bytes(bytes)
}
