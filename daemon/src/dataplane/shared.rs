//! What all threads of a data plane share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use arc_swap::{ArcSwap, ArcSwapOption};
use meshd_core::packet::{DropCounters, DropReason};
use meshd_core::relay::RelayServer;
use meshd_core::wireguard::WireGuard;
use meshd_net::tun::Tun;
use tokio::sync::mpsc;

use super::config::ControlEvent;
use super::handshake::HandshakeQueue;
use super::rescue::Rescue;
use super::sockets::SocketSet;
use super::staging::Staging;
use super::table::PeerTable;
use super::too_big::TooBig;

/// The parts that threads share. Locks are taken in this order: passage, one peer, staging or rescue.
pub(super) struct Shared {
    pub(super) own: WireGuard,
    pub(super) mtu: u16,
    pub(super) tun: Tun,
    pub(super) too_big: TooBig,
    pub(super) sockets: ArcSwap<SocketSet>,
    pub(super) table: ArcSwap<PeerTable>,
    pub(super) relays: ArcSwap<Vec<SocketAddr>>,
    /// Where this node relays for others; its lock is taken after the passage and before a peer's.
    pub(super) relaying: ArcSwapOption<RwLock<RelayServer>>,
    pub(super) handshakes: HandshakeQueue,
    pub(super) drops: Drops,
    pub(super) control: Control,
    pub(super) staging: Mutex<Staging>,
    pub(super) rescue: Mutex<Rescue>,
    /// Held for reading while a batch is under way; see [`Shared::wait_for_batches`].
    pub(super) passage: RwLock<()>,
    /// The packet threads shall end.
    pub(super) stop: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("mtu", &self.mtu)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn staging(&self) -> MutexGuard<'_, Staging> {
        self.staging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn rescue(&self) -> MutexGuard<'_, Rescue> {
        self.rescue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be held while a batch is handled, from reading the tables to the last system call.
    #[inline]
    pub(super) fn enter(&self) -> RwLockReadGuard<'_, ()> {
        self.passage.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when every batch that might have read an older table has ended.
    pub(super) fn wait_for_batches(&self) {
        drop(self.passage.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Drop counters that all threads add to.
#[derive(Debug, Default)]
pub(super) struct Drops {
    counts: [AtomicU64; DropReason::ALL.len()],
    /// Where a datagram would have gone that was larger than the link takes.
    too_large: Mutex<Option<SocketAddr>>,
}

impl Drops {
    #[inline]
    pub(super) fn count(&self, reason: DropReason) {
        self.add(reason, 1);
    }

    #[inline]
    pub(super) fn add(&self, reason: DropReason, packets: u64) {
        self.counts[reason as usize].fetch_add(packets, Ordering::Relaxed);
    }

    /// Notes that the kernel refused a datagram for its size.
    #[cold]
    pub(super) fn note_too_large(&self, to: SocketAddr) {
        *self.too_large.lock().unwrap_or_else(PoisonError::into_inner) = Some(to);
    }

    pub(super) fn take_too_large(&self) -> Option<SocketAddr> {
        self.too_large
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    pub(super) fn get(&self, reason: DropReason) -> u64 {
        self.counts[reason as usize].load(Ordering::Relaxed)
    }

    pub(super) fn snapshot(&self) -> DropCounters {
        let mut counters = DropCounters::default();
        for reason in DropReason::ALL {
            counters.add(reason, self.get(reason));
        }
        counters
    }
}

/// The way to the control side. Nothing here ever waits for it.
#[derive(Debug)]
pub(super) struct Control {
    sender: mpsc::Sender<ControlEvent>,
}

impl Control {
    pub(super) fn new(sender: mpsc::Sender<ControlEvent>) -> Control {
        Control { sender }
    }

    /// Tells the control side, or counts that there was no room. The event is made only where there is.
    pub(super) fn tell(&self, drops: &Drops, event: impl FnOnce() -> ControlEvent) {
        match self.sender.try_reserve() {
            Ok(permit) => permit.send(event()),
            Err(_) => drops.count(DropReason::ControlQueueFull),
        }
    }
}
