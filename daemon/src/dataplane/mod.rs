//! The data plane of one joined network: its TUN device, its UDP sockets, its WireGuard key, and the threads between them.
//!
//! A packet's journey down (`tx`): TUN -> allowed IPs give the peer -> cut into segments -> sealed -> outbox -> one send
//! for a run. Up (`rx`): one receive for many runs -> classed by first bytes -> opened -> source checked against allowed IPs ->
//! merged -> one write for a super-packet. Everything that is not a data packet leaves these threads by a bounded queue:
//! handshakes to the handshake thread, which also runs the timers, all else to the control side.
//!
//! - Nothing on the packet path allocates, logs or waits for anything but its descriptors.
//! - Tables are read by snapshot, once for a batch. Who changes them waits until every batch on the old ones has ended:
//!   when [`DataPlane::set_peers`] returns, a removed peer's packets pass no more.
//! - All memory is taken at the start; what waits (for a handshake, for a path) waits in pools of fixed size.

mod config;
mod handshake;
mod outbox;
mod peer;
mod pieces;
mod relaying;
mod rescue;
mod rx;
mod seal;
mod shared;
mod sockets;
mod staging;
mod table;
mod too_big;
mod tun_write;
mod turn;
mod tx;
mod worker;

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use meshd_core::id::NodeId;
use meshd_core::packet::{DropCounters, DropReason};
use meshd_core::path::{Endpoint, Path, SocketId};
use meshd_core::wireguard::WireGuard;
use meshd_net::poll::Waker;
use meshd_net::tun::Tun;
use meshd_net::udp::{SendError, Transmit, UdpSocket};

pub use config::{ControlEvent, DataPlaneConfig, PeerConfig, PeerStats, Sockets, StartError};
pub use relaying::{Relaying, channel};

use handshake::{HandshakeQueue, HandshakeThread};
use peer::Peer;
use rescue::Rescue;
use shared::{Control, Drops, Shared};
use sockets::SocketSet;
use staging::Staging;
use table::PeerTable;
use too_big::TooBig;
use turn::Turn;
use worker::Worker;

/// Smallest and largest MTU of a tunnel, in bytes.
const MTU: std::ops::RangeInclusive<u16> = 1280..=8912;

/// Bytes of all buffers at the largest MTU. What no packet ever touched is not backed by memory; a peer's session comes on
/// top, about 11 KB once it is used.
const BUFFERS: usize =
    tx::BUFFERS + rx::BUFFERS + handshake::BUFFERS + (staging::SLOTS + rescue::SLOTS) * *MTU.end() as usize;
const _: () = assert!(BUFFERS <= 4 << 20, "a data plane's buffers take more than 4 MiB");

/// A running data plane. Dropping it stops its threads; [`DataPlane::shutdown`] also gives the TUN device back.
#[derive(Debug)]
pub struct DataPlane {
    shared: Arc<Shared>,
    wakers: Vec<Waker>,
    threads: Vec<JoinHandle<()>>,
    turn: Arc<Turn>,
    /// Changes of the peers come one after the other.
    changing: Mutex<()>,
}

impl DataPlane {
    /// Starts the threads. There are no peers yet.
    ///
    /// # Errors
    /// A configuration that cannot work, or a machine that is short of something.
    pub fn start(config: DataPlaneConfig) -> Result<DataPlane, StartError> {
        let threads = config.threads;
        let shared = Arc::new(share(config)?);
        let two = match threads {
            0 => thread::available_parallelism().is_ok_and(|processors| processors.get() > 1),
            count => count > 1,
        };
        let mut plane = DataPlane {
            shared,
            wakers: Vec::new(),
            threads: Vec::new(),
            turn: Arc::default(),
            changing: Mutex::new(()),
        };
        plane.start_workers(two)?;
        let handshakes = HandshakeThread::new(plane.shared.clone());
        plane.spawn("meshd-handshake", move || handshakes.run())?;
        Ok(plane)
    }

    fn start_workers(&mut self, two: bool) -> Result<(), StartError> {
        let failed = |source| StartError::System {
            what: "watch the descriptors",
            source,
        };
        let mut first = Worker::first(self.shared.clone()).map_err(failed)?;
        self.wakers.push(first.waker());
        if two {
            let second = Worker::second(self.shared.clone()).map_err(failed)?;
            let (waker, turn) = (second.waker(), self.turn.clone());
            let second = second.with(first.waker(), turn.clone());
            self.wakers.push(waker.clone());
            first = first.with(waker, turn);
            self.spawn("meshd-sender", move || second.run())?;
        }
        self.spawn("meshd-packets", move || first.run())
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(run);
        self.threads.push(spawned.map_err(|source| StartError::System {
            what: "start a packet thread",
            source,
        })?);
        Ok(())
    }

    /// Replaces the peers. Unchanged ones (same node, key, preshared key and keepalive) keep session and path. When this
    /// returns, no packet of a removed peer, and none under the old allowed IPs, passes any more.
    pub fn set_peers(&self, peers: Vec<PeerConfig>) {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &self.shared;
        let (table, removed) = shared.table.load().next(&shared.own, shared.mtu, peers);
        shared.table.store(Arc::new(table));
        for peer in &removed {
            let mut state = peer.lock();
            state.alive = false;
            state.session.rebuild();
        }
        shared.wait_for_batches();
        for peer in removed {
            shared.rescue().forget(peer.index);
            let dropped = shared.staging().forget(peer.index);
            shared.drops.add(DropReason::NoRoute, dropped as u64);
        }
    }

    /// Sets where packets for a peer go, and where a copy of each goes as well; how large they may be is not known.
    pub fn set_path(&self, node: NodeId, primary: Option<Endpoint>, duplicate: Option<Endpoint>) {
        self.follow(
            node,
            Path {
                primary,
                duplicate,
                max_packet: None,
            },
        );
    }

    /// Sets the path of a peer's packets. From a relay to a direct one they change with the next session
    /// ([`meshd_core::path::Switch`]). What is too large for it: TCP is cut and told to be smaller, IPv4 that may be is fragmented,
    /// other senders are answered "packet too big". Unknown nodes are ignored.
    pub fn follow(&self, node: NodeId, path: Path) {
        let Some(peer) = self.peer(&node) else { return };
        let mut state = peer.lock();
        let primary = path.primary;
        let is_new = primary.is_some() && primary != state.switch.path().primary;
        let last_sent = state.traffic.last_tx.filter(|_| state.session.is_ready());
        let rescue = state.rescue_by(&path);
        if state.switch.set(Instant::now(), path, last_sent) {
            peer.forced.store(true, Ordering::Release);
        }
        if is_new && !state.session.is_ready() && (state.staged || state.session.pending_since().is_some()) {
            peer.forced.store(true, Ordering::Release);
        }
        drop(state);
        if is_new || rescue {
            self.shared.handshakes.want(&peer);
        }
    }

    /// Sets the relays' addresses: relay frames from elsewhere are dropped.
    pub fn set_relays(&self, relays: Vec<SocketAddr>) {
        self.shared.relays.store(Arc::new(relays));
    }

    /// Relays frames between other nodes from now on, or no longer. Requests to bind come as control datagrams.
    pub fn set_relaying(&self, relaying: Option<Relaying>) {
        self.shared.relaying.store(relaying);
    }

    /// Sends a control datagram from the sockets of this network. Towards a relay's session its header is put in front.
    ///
    /// # Errors
    /// Why it did not leave; it is lost.
    pub fn send(&self, to: Endpoint, datagram: &[u8]) -> Result<(), SendError> {
        self.send_from(to, None, datagram)
    }

    /// As [`DataPlane::send`], from a certain address of ours, such as the one that a question came to.
    ///
    /// # Errors
    /// Why it did not leave; it is lost.
    pub fn send_from(&self, to: Endpoint, source: Option<IpAddr>, datagram: &[u8]) -> Result<(), SendError> {
        self.send_with(to, source, None, datagram)
    }

    /// As [`DataPlane::send`], with this time to live (hop limit).
    ///
    /// # Errors
    /// Why it did not leave; it is lost.
    pub fn send_with_ttl(&self, to: Endpoint, ttl: Option<u8>, datagram: &[u8]) -> Result<(), SendError> {
        self.send_with(to, None, ttl, datagram)
    }

    fn send_with(
        &self,
        to: Endpoint,
        source: Option<IpAddr>,
        ttl: Option<u8>,
        datagram: &[u8],
    ) -> Result<(), SendError> {
        let sockets = self.shared.sockets.load();
        let socket = sockets
            .towards(to.socket(), to.address())
            .ok_or(SendError::Unreachable)?;
        let header = to.header();
        let parts = [
            IoSlice::new(header.as_ref().map_or(&[], |header| header)),
            IoSlice::new(datagram),
        ];
        socket.send_segments(&Transmit {
            source,
            ttl: ttl.unwrap_or(0),
            ..Transmit::new(to.address(), &parts)
        })
    }

    /// Starts a handshake with a peer now, whatever is on its way already. Without a path nothing is sent.
    pub fn initiate(&self, node: NodeId) {
        if let Some(peer) = self.peer(&node) {
            peer.forced.store(true, Ordering::Release);
            self.shared.handshakes.want(&peer);
        }
    }

    /// Forgets the sessions with a peer and reads the wall clock anew for its next handshake, which is started now: for a
    /// clock that was set right after it had been far off.
    pub fn rebuild(&self, node: NodeId) {
        if let Some(peer) = self.peer(&node) {
            peer.lock().session.rebuild();
            self.initiate(node);
        }
    }

    /// What is known of each peer.
    pub fn stats(&self) -> Vec<PeerStats> {
        self.shared.table.load().iter().map(|peer| peer.stats()).collect()
    }

    /// What tells at any time when something authentic last came from a peer, as long as there is a data plane.
    pub fn ears(&self) -> impl Fn(NodeId) -> Option<Instant> + Send + Sync + use<> {
        let shared = Arc::downgrade(&self.shared);
        move |node| {
            let shared = shared.upgrade()?;
            let peer = shared.table.load().by_node(&node).cloned()?;
            peer.lock().traffic.last_rx
        }
    }

    /// How often the way out went from one packet thread to the other since the start: odd while the second one has it, because
    /// both ways are too much for the first.
    pub fn turns(&self) -> u64 {
        self.turn.given()
    }

    /// Packets dropped since the start, by reason.
    pub fn drops(&self) -> DropCounters {
        self.shared.drops.snapshot()
    }

    /// An address to which a datagram did not go since this was last asked, since the link takes none so large.
    pub fn take_too_large(&self) -> Option<SocketAddr> {
        self.shared.drops.take_too_large()
    }

    /// Uses other primary sockets from now on. The old ones are closed once the threads have let them go.
    pub fn replace_sockets(&self, sockets: Sockets) {
        self.change_sockets(|set| set.with_primary(sockets));
    }

    /// Sends and receives by these sockets too, known by the ids from `first` on.
    pub fn open_sockets(&self, first: SocketId, sockets: Vec<UdpSocket>) {
        self.change_sockets(|set| set.with(first, sockets));
    }

    /// Gives up the `count` sockets from `first` on; they are closed once the threads have let them go.
    pub fn close_sockets(&self, first: SocketId, count: u16) {
        self.change_sockets(|set| set.without(first, count));
    }

    fn change_sockets(&self, change: impl FnOnce(&SocketSet) -> SocketSet) {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let set = change(&self.shared.sockets.load());
        self.shared.sockets.store(Arc::new(set));
        self.wake();
    }

    /// Stops and joins the threads and gives the TUN device back, its queues as they are.
    pub fn shutdown(mut self) -> Option<Tun> {
        self.stop();
        let shared = self.shared.clone();
        drop(self);
        Arc::into_inner(shared).map(|shared| shared.tun)
    }

    fn peer(&self, node: &NodeId) -> Option<Arc<Peer>> {
        self.shared.table.load().by_node(node).cloned()
    }

    fn wake(&self) {
        for waker in &self.wakers {
            waker.wake();
        }
    }

    fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.handshakes.stop();
        self.wake();
        for thread in self.threads.drain(..) {
            // a thread that panicked has said so already
            let _ = thread.join();
        }
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.stop();
    }
}

fn share(config: DataPlaneConfig) -> Result<Shared, StartError> {
    if config.tun.queues().is_empty() {
        return Err(StartError::NoQueue);
    }
    if config.sockets.is_empty() {
        return Err(StartError::NoSocket);
    }
    if !MTU.contains(&config.mtu) {
        return Err(StartError::Mtu(config.mtu));
    }
    Ok(Shared {
        own: WireGuard::new(config.private_key),
        mtu: config.mtu,
        tun: config.tun,
        too_big: TooBig::new(config.addresses),
        sockets: ArcSwap::from_pointee(config.sockets.into()),
        table: ArcSwap::from_pointee(PeerTable::default()),
        relays: ArcSwap::from_pointee(Vec::new()),
        relaying: ArcSwapOption::empty(),
        handshakes: HandshakeQueue::new(),
        drops: Drops::default(),
        control: Control::new(config.control),
        staging: Mutex::new(Staging::new(usize::from(config.mtu))),
        rescue: Mutex::new(Rescue::new(usize::from(config.mtu))),
        passage: RwLock::new(()),
        stop: AtomicBool::new(false),
    })
}
