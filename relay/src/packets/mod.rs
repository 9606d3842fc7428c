//! The packet plane: one plain thread that answers STUN and forwards relay frames, in batches.
//!
//! A batch's journey (`worker`): `recvmmsg` fills buffers of coalesced datagrams; each is judged by the core's relay
//! under one read lock for the batch; neighbours that go the same way leave as one `UDP_SEGMENT` send, straight from the
//! buffer that they came in. Nothing is copied or allocated on the way. Control messages of the batch are handled after
//! that, under the write lock.
//!
//! Nodes that cannot use UDP come over TLS ([`streams`]): the same frames, the same decisions, on a thread of their own.
//!
//! The coordinator tells the plane who is a member ([`Members`]): a removed node's binding and sessions are gone when the
//! call returns.

mod gauge;
mod runs;
pub mod streams;
mod worker;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Instant;

use meshd_core::id::{NetworkId, NodeId};
use meshd_core::relay::{RelayConfig, RelayServer};
use meshd_net::poll::{Interest, Poller, Waker};
use meshd_net::udp::{UdpConfig, UdpError, UdpSocket};
use tokio::sync::Notify;
use tracing::{debug, error};
use zeroize::Zeroizing;

use crate::config::Listen;

use streams::{StreamEntry, StreamThread, Streams};
pub use worker::{Opened, Worker};

/// Poller token of the waker; sockets have their index.
const WAKER: u64 = u64::MAX;

/// Why the packet plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// A socket.
    #[error(transparent)]
    Socket(#[from] UdpError),
    /// The machine is out of descriptors, threads or memory.
    #[error("cannot start the packet threads: {0}")]
    System(#[from] std::io::Error),
}

/// What happened since the start. All count up from 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PacketMetrics {
    /// Datagrams received.
    pub received: u64,
    /// Frames forwarded.
    pub forwarded: u64,
    /// Their bytes, relay header included.
    pub forwarded_bytes: u64,
    /// Frames that could not be sent: no room, no route.
    pub unsent: u64,
    /// Of these, those for which a socket's queue or the device had no room.
    pub no_room: u64,
    /// Frames that were dropped so that others of less busy nodes have room.
    pub shed: u64,
    /// Control messages answered or refused.
    pub control: u64,
    /// STUN requests answered.
    pub stun: u64,
    /// Datagrams that are nothing, or that no rule lets through.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct Counters {
    received: AtomicU64,
    forwarded: AtomicU64,
    forwarded_bytes: AtomicU64,
    unsent: AtomicU64,
    no_room: AtomicU64,
    shed: AtomicU64,
    control: AtomicU64,
    stun: AtomicU64,
    dropped: AtomicU64,
}

impl Counters {
    /// Adds what one batch did.
    fn add(&self, batch: &PacketMetrics) {
        for (counter, count) in [
            (&self.received, batch.received),
            (&self.forwarded, batch.forwarded),
            (&self.forwarded_bytes, batch.forwarded_bytes),
            (&self.unsent, batch.unsent),
            (&self.no_room, batch.no_room),
            (&self.shed, batch.shed),
            (&self.control, batch.control),
            (&self.stun, batch.stun),
            (&self.dropped, batch.dropped),
        ] {
            counter.fetch_add(count, Relaxed);
        }
    }

    fn read(&self) -> PacketMetrics {
        PacketMetrics {
            received: self.received.load(Relaxed),
            forwarded: self.forwarded.load(Relaxed),
            forwarded_bytes: self.forwarded_bytes.load(Relaxed),
            unsent: self.unsent.load(Relaxed),
            no_room: self.no_room.load(Relaxed),
            shed: self.shed.load(Relaxed),
            control: self.control.load(Relaxed),
            stun: self.stun.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
        }
    }
}

/// What the thread and its callers share.
struct Shared {
    sockets: Vec<UdpSocket>,
    streams: Arc<Streams>,
    /// Addresses of this host, as nodes know them: STUN answers may be asked for from another one.
    own_addresses: OnceLock<Vec<IpAddr>>,
    members: Members,
    counters: Counters,
    stop: AtomicBool,
    failed: Notify,
}

/// The relay's decisions, and so its members; clones are the same.
#[derive(Clone)]
pub struct Members {
    server: Arc<RwLock<RelayServer>>,
    limits: Limits,
}

/// What may be sent through the relay, bytes/s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// By each node; none is no limit.
    pub node: Option<NonZeroU64>,
    /// By all together, each its share; none is what the queues take.
    pub all: Option<NonZeroU64>,
}

impl Members {
    /// A relay without members. `secret` makes the bind keys.
    pub fn new(secret: &Zeroizing<[u8; 32]>, seed: [u8; 32], limits: Limits) -> Self {
        let mut server = RelayServer::new(Instant::now(), **secret, seed, RelayConfig::default());
        server.set_capacity(limits.all);
        Self {
            server: Arc::new(RwLock::new(server)),
            limits,
        }
    }

    /// Makes `nodes` all members of `network`; who no longer is one loses binding and sessions at once.
    pub fn set(&self, network: NetworkId, nodes: impl IntoIterator<Item = NodeId>) {
        let mut server = self.write();
        server.set_quota(network, self.limits.node);
        server.set_members(network, nodes);
    }

    /// Ends a network here.
    pub fn remove_network(&self, network: NetworkId) {
        self.write().remove_network(network);
    }

    fn read(&self) -> RwLockReadGuard<'_, RelayServer> {
        self.server
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, RelayServer> {
        self.server
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The plane; stops on drop.
pub struct PacketPlane {
    shared: Arc<Shared>,
    waker: Waker,
    streams: StreamThread,
    thread: Option<JoinHandle<()>>,
}

impl PacketPlane {
    /// Opens the sockets and starts the thread. A socket that is not required may fail.
    pub fn start(listen: &[Listen], members: Members) -> Result<Self, PlaneError> {
        let (mut plane, opened) = Self::open(listen, members)?;
        let of_thread = plane.shared.clone();
        let run = move || {
            if let Err(cause) = opened.into_worker().run() {
                error!(%cause, "the packet thread cannot go on");
                of_thread.failed.notify_one();
            }
        };
        plane.thread = Some(std::thread::Builder::new().name("packets".into()).spawn(run)?);
        Ok(plane)
    }

    /// Opens the sockets; the caller is, or makes, the packet thread.
    pub fn open(listen: &[Listen], members: Members) -> Result<(Self, Opened), PlaneError> {
        let mut sockets = Vec::new();
        for Listen { addr, required } in listen {
            match UdpSocket::bind(&UdpConfig::new(*addr)) {
                Ok(socket) => sockets.push(socket),
                Err(cause) if !required => debug!(%addr, %cause, "not listened on"),
                Err(cause) => return Err(cause.into()),
            }
        }
        let poller = Poller::new()?;
        for (index, socket) in sockets.iter().enumerate() {
            poller.add(socket, index as u64, Interest::READ)?;
        }
        let waker = Waker::new(&poller, WAKER)?;
        let shared = Arc::new(Shared {
            sockets,
            streams: Arc::default(),
            own_addresses: OnceLock::new(),
            members,
            counters: Counters::default(),
            stop: AtomicBool::new(false),
            failed: Notify::new(),
        });
        let opened = Opened {
            shared: shared.clone(),
            poller,
            waker: waker.clone(),
        };
        let streams = StreamThread::start(shared.clone())?;
        let plane = Self {
            shared,
            waker,
            streams,
            thread: None,
        };
        Ok((plane, opened))
    }

    /// Resolves when the plane cannot go on.
    pub async fn until_failed(&self) {
        self.shared.failed.notified().await;
    }

    /// Says, once, by which of this host's addresses nodes know it. Others than the host's own are left out: nothing can be sent
    /// from them.
    pub fn set_own_addresses(&self, addresses: impl IntoIterator<Item = IpAddr>) {
        let own = |address: &IpAddr| std::net::UdpSocket::bind((*address, 0)).is_ok();
        let _ = self
            .shared
            .own_addresses
            .set(addresses.into_iter().filter(own).collect());
    }

    /// The addresses listened on, in the order asked for.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.shared.sockets.iter().map(UdpSocket::local_addr).collect()
    }

    /// Where connections over TLS are brought.
    pub fn streams(&self) -> StreamEntry {
        self.streams.entry()
    }

    /// Connections over TLS at present.
    pub fn open_streams(&self) -> usize {
        self.shared.streams.len()
    }

    /// What happened so far.
    pub fn metrics(&self) -> PacketMetrics {
        self.shared.counters.read()
    }
}

impl Drop for PacketPlane {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
