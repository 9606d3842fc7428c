//! The relay over TLS: connections that carry relay frames, each after its u16 length (docs/wire.md section 6).
//!
//! To the core's relay a stream is a [`Channel`] like any socket's far end, with an address that no datagram can come
//! from: bindings, sessions, quotas and refusals are the same code, and count for each connection and each node. A
//! frame from a stream is judged on the thread of the streams, under the same read lock as the packet thread's batches,
//! and leaves by the packet plane's sockets or into another stream's queue; no datagram of anybody reaches that way.
//! What goes to a stream is copied once, into its bounded queue.
//!
//! - A stream is opened for who has proven to be a node of a network, and may bind that node and no other.
//! - A node has at most [`MAX_PER_NODE`] streams, of which the oldest gives way; there are at most [`MAX_STREAMS`].
//! - It ends when its node is no member any more, or has said nothing for [`IDLE`]; a binding is renewed every 15 s.
//! - A slow reader loses its oldest frames, and nobody waits for it.

mod carry;
mod queue;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use meshd_core::id::{NetworkId, NodeId};
use meshd_core::relay::Channel;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Shared;
use queue::Queue;

/// Streams of one node at once: the present one, and the one before it that is not known to be dead yet.
pub const MAX_PER_NODE: usize = 2;
/// Streams at once.
pub const MAX_STREAMS: usize = 1024;
/// Silence after which a stream ends: three renewals of a binding missed.
pub const IDLE: Duration = Duration::from_secs(60);

/// Who holds a stream.
pub type Holder = (NetworkId, NodeId);

/// All streams, as those who send into them see them.
#[derive(Default)]
pub struct Streams {
    queues: RwLock<HashMap<u64, Arc<Queue>>>,
    holders: Mutex<BTreeMap<Holder, Vec<u64>>>,
    next: AtomicU64,
}

impl Streams {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.queues.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Queues a run of frames for a stream; gives how many frames were dropped for it, all of them where it has ended.
    pub fn push(&self, number: u64, run: &[u8], size: usize) -> u64 {
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        match queues.get(&number) {
            Some(queue) => queue.push(run, size),
            None => run.len().div_ceil(size.max(1)) as u64,
        }
    }

    /// A new stream of `holder`; its oldest gives way where it has too many. None where there are too many in all.
    fn enter(self: &Arc<Self>, holder: Holder) -> Option<Place> {
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let held = holders.entry(holder).or_default();
        if held.len() >= MAX_PER_NODE {
            let oldest = held.remove(0);
            if let Some(queue) = queues.remove(&oldest) {
                queue.cut();
            }
        } else if queues.len() >= MAX_STREAMS {
            return None;
        }
        let number = self.next.fetch_add(1, Relaxed);
        let queue = Arc::new(Queue::default());
        queues.insert(number, queue.clone());
        held.push(number);
        Some(Place {
            streams: self.clone(),
            holder,
            number,
            queue,
        })
    }

    fn leave(&self, holder: Holder, number: u64) {
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        queues.remove(&number);
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = holders.get_mut(&holder) {
            held.retain(|other| *other != number);
            if held.is_empty() {
                holders.remove(&holder);
            }
        }
    }
}

/// A stream's place among the others; given back on drop.
pub struct Place {
    streams: Arc<Streams>,
    holder: Holder,
    number: u64,
    queue: Arc<Queue>,
}

impl Place {
    fn channel(&self) -> Channel {
        Channel::of_stream(self.number)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.streams.leave(self.holder, self.number);
    }
}

/// Where new streams are brought; clones are the same.
#[derive(Clone)]
pub struct StreamEntry {
    shared: Arc<Shared>,
    handle: Handle,
}

impl StreamEntry {
    /// A place for a stream of a node that has proven itself; none where there are too many.
    pub fn enter(&self, network: NetworkId, node: NodeId) -> Option<Place> {
        self.shared.streams.enter((network, node))
    }

    /// Carries frames between `io` and the relay, on the streams' thread, until either side ends; `held` is dropped then.
    pub fn carry<T, H>(&self, place: Place, io: T, held: H)
    where
        T: AsyncRead + AsyncWrite + Send + 'static,
        H: Send + 'static,
    {
        let shared = self.shared.clone();
        self.handle.spawn(async move {
            carry::carry(shared, place, io).await;
            drop(held);
        });
    }
}

/// The thread on which all streams are carried; ends on drop.
pub struct StreamThread {
    entry: StreamEntry,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl StreamThread {
    /// Starts it.
    pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = move || {
            let _ = runtime.block_on(stopped); // then all streams are dropped with the runtime
        };
        let thread = std::thread::Builder::new().name("streams".into()).spawn(run)?;
        Ok(Self {
            entry: StreamEntry { shared, handle },
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where new streams are brought.
    pub fn entry(&self) -> StreamEntry {
        self.entry.clone()
    }
}

impl Drop for StreamThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(n: u8) -> Holder {
        ([1; 16].into(), [n; 16].into())
    }

    #[test]
    fn a_nodes_third_stream_takes_the_place_of_its_first() {
        let streams = Arc::new(Streams::default());
        let held: Vec<_> = (0..3).map(|_| streams.enter(holder(1)).unwrap()).collect();
        assert_eq!(streams.len(), 2);
        assert_eq!(streams.push(held[0].number, &[1, 2], 1), 2, "the first has ended");
        assert_eq!(streams.push(held[2].number, &[1, 2], 1), 0);
        drop(held);
        assert!(streams.is_empty() && streams.holders.lock().unwrap().is_empty());
    }

    #[test]
    fn there_are_so_many_and_no_more_and_no_number_comes_twice() {
        let streams = Arc::new(Streams::default());
        let held: Vec<_> = (0..=255)
            .flat_map(|n| [holder(n); 2])
            .chain((0..=255).flat_map(|n| [([2; 16].into(), [n; 16].into()); 2]))
            .map_while(|holder| streams.enter(holder))
            .collect();
        assert_eq!(held.len(), MAX_STREAMS);
        assert!(streams.enter(([3; 16].into(), [0; 16].into())).is_none());
        let last = held.last().map(|place| place.number);
        drop(held);
        assert!(streams.enter(holder(1)).map(|place| place.number) > last);
    }
}
