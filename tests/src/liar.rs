//! A member of a network that wants others to send to somebody who has nothing to do with it.
//!
//! It is in the map, bound at the relay and has sessions to every other node, so that what it says is sealed, fresh and within
//! the rules; only the addresses that it says are not its own. Its machine also holds the victim's address, so that it can send
//! in the victim's name, as an attacker in a network without source filtering can.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use meshd_core::demux::{RELAY_CONTROL_SESSION, relay_header, split_relay};
use meshd_core::id::{BootNonce, NodeId};
use meshd_core::keys::DiscoveryPublic;
use meshd_core::nat::{Allocation, Filtering, Mapping, NatBehaviour};
use meshd_core::path::discovery::{
    self, Address, Call, End, MapVersion, Message, PairKeys, Ping, Pong, Stage,
};
use meshd_core::relay::RelayClient;
use meshd_core::statement::{Candidate, CandidateKind, MAX_CANDIDATES};

use crate::hostile::Noise;
use crate::machine::Machine;
use crate::member::{Member, Told};

/// How often every peer is lied to.
const PACE: Duration = Duration::from_millis(100);
/// Ports of the victim that are named; the first is the one asked for.
const FURTHER_PORTS: u16 = 6_000;
/// Datagrams that are kept to be sent again.
const KEPT: usize = 64;

/// What the liar does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Lie {
    /// Nothing but being there.
    None,
    /// Its record names sixteen ports of the victim, and its pings say that packets wait.
    Record,
    /// Calls that name the victim, of every stage but the search, ten a second to each peer.
    Calls,
    /// Pings in the victim's name, each sent twice, and what peers sent to the liar sent back to them and on to others.
    Reflections,
    /// Calls for a birthday search at the victim.
    Search,
}

impl Lie {
    const ALL: [Self; 5] = [
        Self::None,
        Self::Record,
        Self::Calls,
        Self::Reflections,
        Self::Search,
    ];
}

/// A liar at work; it ends with this.
pub struct Liar {
    lie: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    told: Arc<AtomicUsize>,
    worker: Option<JoinHandle<Result<()>>>,
}

impl Liar {
    /// Joins by `token` at `coordinator` and binds at its relay. The victim's address is added to the machine.
    pub fn start(machine: &Machine, token: &str, coordinator: SocketAddr, victim: SocketAddr) -> Self {
        machine.run(&["ip", "addr", "add", &format!("{}/32", victim.ip()), "dev", "lo"]);
        let (lie, stop, told) = (
            Arc::<AtomicUsize>::default(),
            Arc::<AtomicBool>::default(),
            Arc::<AtomicUsize>::default(),
        );
        let shared = (Arc::clone(&lie), Arc::clone(&stop), Arc::clone(&told));
        let (machine, token) = (machine.clone(), token.to_owned());
        let worker = thread::spawn(move || machine.inside(|| run(&token, coordinator, victim, &shared)));
        Self {
            lie,
            stop,
            told,
            worker: Some(worker),
        }
    }

    /// What it does from now on.
    pub fn tell(&self, lie: Lie) {
        self.lie.store(lie as usize, Ordering::Relaxed);
    }

    /// Peers that have answered it through the relay, so that what it says to them is fresh.
    pub fn believed_by(&self) -> usize {
        self.told.load(Ordering::Relaxed)
    }

    /// Ends it.
    ///
    /// # Panics
    /// If it could not do its work.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let worker = self.worker.take().expect("it runs until it is stopped");
        worker
            .join()
            .expect("the liar did not panic")
            .expect("it could lie");
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

type Shared = (Arc<AtomicUsize>, Arc<AtomicBool>, Arc<AtomicUsize>);

fn run(token: &str, coordinator: SocketAddr, victim: SocketAddr, shared: &Shared) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut member = runtime.block_on(Member::join(token, coordinator, "liar", 1))?;
    runtime.block_on(member.publish(Vec::new(), None))?;
    let told = runtime.block_on(member.look())?;
    let mut work = Work::new(&member, told, victim)?;
    let mut published = false;
    while !shared.1.load(Ordering::Relaxed) {
        let lie = Lie::ALL[shared.0.load(Ordering::Relaxed)];
        if lie == Lie::Record && !published {
            let named = work.named(CandidateKind::ServerReflexive);
            runtime.block_on(member.publish(named, None))?;
            published = true;
        }
        work.turn(lie)?;
        shared.2.store(
            work.peers.values().filter(|peer| peer.boot.is_some()).count(),
            Ordering::Relaxed,
        );
    }
    Ok(())
}

/// One peer as the liar knows it.
struct Peer {
    keys: PairKeys,
    addresses: Vec<SocketAddr>,
    boot: Option<BootNonce>,
    sequence: u32,
    turns: usize,
}

struct Work {
    own: End,
    boot: BootNonce,
    map: MapVersion,
    victim: SocketAddr,
    /// Its own socket, and one at the victim's address.
    socket: UdpSocket,
    disguised: UdpSocket,
    relay: RelayClient,
    peers: BTreeMap<NodeId, Peer>,
    by_key: BTreeMap<DiscoveryPublic, NodeId>,
    kept: Vec<Vec<u8>>,
    noise: Noise,
    next: Instant,
}

impl Work {
    fn new(member: &Member, told: Told, victim: SocketAddr) -> Result<Self> {
        let own = member.end();
        let secret = member.discovery();
        let relay = told.relays.first().context("no relay")?.clone();
        let nodes = told.view.nodes.values().filter(|node| node.id != own.node);
        let mut peers = BTreeMap::new();
        for node in nodes {
            let end = End {
                node: node.id,
                key: node.keys.discovery,
            };
            let addresses = node.candidates.iter().map(|candidate| candidate.addr);
            let addresses = addresses.filter(|address| address.ip() != victim.ip()).collect();
            peers.insert(
                node.id,
                Peer {
                    keys: PairKeys::agree(&secret, &own, &end).context("a low-order key")?,
                    addresses,
                    boot: None,
                    sequence: 0,
                    turns: 0,
                },
            );
        }
        let by_key = told
            .view
            .nodes
            .values()
            .map(|node| (node.keys.discovery, node.id))
            .collect();
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(5)))?;
        Ok(Self {
            own,
            boot: BootNonce::from([0x6c; 8]),
            map: told.view.at.into(),
            victim,
            socket,
            disguised: UdpSocket::bind(victim)?,
            relay: member.client(relay),
            peers,
            by_key,
            kept: Vec::new(),
            noise: Noise::new(4711),
            next: Instant::now(),
        })
    }

    /// Takes what came, then says to everybody what is due.
    fn turn(&mut self, lie: Lie) -> Result<()> {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            self.take(from, &buffer[..length]);
        }
        let now = Instant::now();
        self.relay.handle_timeout(now);
        while self.relay.poll_event().is_some() {}
        if now >= self.next {
            self.next = now + PACE;
            let peers: Vec<NodeId> = self.peers.keys().copied().collect();
            for peer in peers {
                self.relay.open(now, peer);
                self.say(peer, lie);
            }
        }
        while let Some((to, frame)) = self.relay.poll_transmit() {
            let _ = self.socket.send_to(&frame, to);
        }
        Ok(())
    }

    fn take(&mut self, from: SocketAddr, datagram: &[u8]) {
        let now = Instant::now();
        match split_relay(datagram) {
            Ok((RELAY_CONTROL_SESSION, _)) => self.relay.handle_frame(now, from, datagram),
            Ok((_, packet)) => self.message(packet),
            Err(_) => self.message(datagram),
        }
    }

    fn message(&mut self, packet: &[u8]) {
        let sender = discovery::sender_of(packet).and_then(|key| self.by_key.get(&key).copied());
        let Some((node, peer)) = sender.and_then(|node| Some((node, self.peers.get_mut(&node)?))) else {
            return;
        };
        if self.kept.len() < KEPT {
            self.kept.push(packet.to_vec());
        }
        match discovery::open(packet, &peer.keys) {
            Some(Message::Pong(pong)) => peer.boot = Some(pong.boot),
            Some(Message::Ping(ping)) => {
                let pong = Pong {
                    transaction: ping.transaction,
                    boot: self.boot,
                    sequence: peer.sequence,
                    seen: None,
                    map: self.map,
                };
                self.by_relay(node, &Message::Pong(pong));
            }
            _ => {}
        }
    }

    fn say(&mut self, node: NodeId, lie: Lie) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        peer.turns += 1;
        let (turns, known) = (peer.turns, peer.boot.is_some());
        if !known || lie == Lie::Record && turns.is_multiple_of(10) {
            let ping = self.ping(node);
            self.by_relay(node, &ping);
        }
        let candidates: Vec<SocketAddr> = self
            .named(CandidateKind::Host)
            .iter()
            .map(|named| named.addr)
            .collect();
        match lie {
            Lie::None | Lie::Record => {}
            Lie::Calls => {
                let stages = [
                    Stage::Candidates,
                    Stage::Primed,
                    Stage::FreshAsked,
                    Stage::FreshReady,
                ];
                self.call(node, stages[turns % stages.len()], candidates);
            }
            Lie::Search => self.call(node, Stage::Birthday, candidates),
            Lie::Reflections => self.reflect(node),
        }
    }

    /// Sixteen addresses of the victim.
    fn named(&self, kind: CandidateKind) -> Vec<Candidate> {
        let further =
            (0..MAX_CANDIDATES as u16 - 1).map(|nth| SocketAddr::new(self.victim.ip(), FURTHER_PORTS + nth));
        [self.victim]
            .into_iter()
            .chain(further)
            .map(|addr| Candidate { kind, addr })
            .collect()
    }

    fn ping(&mut self, node: NodeId) -> Message {
        let transaction = self.noise.word().to_le_bytes();
        Message::Ping(Ping {
            transaction,
            boot: self.boot,
            sequence: self.sequence(node),
            map: self.map,
            in_use: true,
        })
    }

    fn sequence(&mut self, node: NodeId) -> u32 {
        self.peers.get_mut(&node).map_or(0, |peer| {
            peer.sequence += 1;
            peer.sequence
        })
    }

    fn call(&mut self, node: NodeId, stage: Stage, candidates: Vec<SocketAddr>) {
        let Some(to) = self.peers.get(&node).and_then(|peer| peer.boot) else {
            return;
        };
        let address = Address {
            to,
            from: self.boot,
            sequence: self.sequence(node),
        };
        // a port that nobody can know: then the others have to search
        let nat = NatBehaviour {
            mapping: Mapping::AddressAndPortDependent,
            filtering: Filtering::AddressAndPortDependent,
            allocation: Allocation::Random,
            udp_blocked: false,
        };
        let call = Call {
            candidates,
            nat,
            stage,
        };
        self.by_relay(node, &Message::CallMeMaybe(address, call));
    }

    /// In the victim's name: a fresh ping, the same once more, and something that somebody once sent.
    fn reflect(&mut self, node: NodeId) {
        let ping = self.ping(node);
        let Some(fresh) = self.sealed(node, &ping) else {
            return;
        };
        let old = usize::try_from(self.noise.word())
            .ok()
            .and_then(|nth| self.kept.get(nth % self.kept.len().max(1)));
        let addresses = self.peers.get(&node).map(|peer| peer.addresses.clone());
        for to in addresses.into_iter().flatten() {
            for packet in [Some(&fresh), Some(&fresh), old].into_iter().flatten() {
                let _ = self.disguised.send_to(packet, to);
            }
        }
        if let (Some(old), Some(session)) = (old, self.relay.session(node))
            && let Some(relay) = self.relay.bound_to()
        {
            let _ = self
                .socket
                .send_to(&[&relay_header(session)[..], old].concat(), relay);
        }
    }

    fn sealed(&mut self, node: NodeId, message: &Message) -> Option<Vec<u8>> {
        let mut nonce = [0; 24];
        nonce
            .chunks_mut(8)
            .for_each(|part| part.copy_from_slice(&self.noise.word().to_le_bytes()));
        let mut packet = Vec::new();
        let keys = &self.peers.get(&node)?.keys;
        discovery::seal(message, &self.own.key, keys, nonce, &mut packet);
        Some(packet)
    }

    fn by_relay(&mut self, node: NodeId, message: &Message) {
        let (Some(relay), Some(session)) = (self.relay.bound_to(), self.relay.session(node)) else {
            return;
        };
        if let Some(packet) = self.sealed(node, message) {
            let frame = [&relay_header(session)[..], &packet].concat();
            let _ = self.socket.send_to(&frame, relay);
        }
    }
}

/// Counts at a machine what comes to one of its addresses: nftables' own counters.
pub struct Victim {
    machine: Machine,
}

impl Victim {
    /// Begins to count UDP for `address`; datagrams of more than 128 bytes are counted once more.
    pub fn count(machine: &Machine, address: IpAddr) -> Self {
        machine.sh(&format!(
            "nft 'add table ip victim; add counter ip victim datagrams; add counter ip victim longer; \
             add chain ip victim in {{ type filter hook prerouting priority -300; }}; \
             add rule ip victim in ip daddr {address} meta l4proto udp counter name datagrams; \
             add rule ip victim in ip daddr {address} meta l4proto udp meta length > 156 counter name longer'"
        ));
        Self {
            machine: machine.clone(),
        }
    }

    /// Datagrams so far, and those of more than 128 bytes.
    ///
    /// # Panics
    /// If nft does not say it.
    pub fn counted(&self) -> (u64, u64) {
        let packets = |counter: &str| {
            let said = self
                .machine
                .run(&["nft", "list", "counter", "ip", "victim", counter]);
            let mut words = said.split_whitespace();
            let found = words.find(|word| *word == "packets").and_then(|_| words.next());
            found.and_then(|count| count.parse().ok()).expect("a count")
        };
        (packets("datagrams"), packets("longer"))
    }
}
