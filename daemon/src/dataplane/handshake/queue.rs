//! The way to the handshake thread: what waits for it, in queues of fixed size, direct and relayed each.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use meshd_core::packet::DropReason;
use meshd_core::path::Endpoint;
use meshd_core::wireguard::INITIATION_LEN;

use crate::dataplane::peer::Peer;

/// Messages that may wait, direct and relayed each.
const QUEUE_LEN: usize = 512;
/// Bytes of the queues.
pub(super) const BYTES: usize = 2 * QUEUE_LEN * size_of::<Message>();

/// A handshake message in the queue.
#[derive(Clone, Copy, Debug)]
pub(in crate::dataplane) struct Message {
    pub(super) from: Endpoint,
    pub(super) local: Option<IpAddr>,
    length: usize,
    bytes: [u8; INITIATION_LEN],
}

impl Message {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[derive(Debug)]
struct Queues {
    direct: VecDeque<Message>,
    relayed: VecDeque<Message>,
    work: VecDeque<Arc<Peer>>,
    relayed_next: bool,
    stop: bool,
}

/// The way to the handshake thread.
#[derive(Debug)]
pub(in crate::dataplane) struct HandshakeQueue {
    queues: Mutex<Queues>,
    filled: Condvar,
}

#[allow(clippy::large_enum_variant, reason = "one at a time, on the stack")]
pub(super) enum Job {
    Stop,
    Tick,
    Message(Message),
    Work(Arc<Peer>),
}

impl HandshakeQueue {
    pub(in crate::dataplane) fn new() -> HandshakeQueue {
        let ring = || VecDeque::with_capacity(QUEUE_LEN);
        let queues = Queues {
            direct: ring(),
            relayed: ring(),
            work: VecDeque::new(),
            relayed_next: false,
            stop: false,
        };
        HandshakeQueue {
            queues: Mutex::new(queues),
            filled: Condvar::new(),
        }
    }

    /// Takes a message of types 1 to 3.
    ///
    /// # Errors
    /// The reason for the drop, where it is too long or the queue is full.
    pub(in crate::dataplane) fn push(
        &self,
        from: Endpoint,
        local: Option<IpAddr>,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let length = datagram.len();
        let mut bytes = [0; INITIATION_LEN];
        bytes
            .get_mut(..length)
            .ok_or(DropReason::HandshakeInvalid)?
            .copy_from_slice(datagram);
        let mut queues = self.lock();
        let queue = if from.is_relay() {
            &mut queues.relayed
        } else {
            &mut queues.direct
        };
        if queue.len() >= QUEUE_LEN {
            return Err(DropReason::HandshakeQueueFull);
        }
        queue.push_back(Message {
            from,
            local,
            length,
            bytes,
        });
        drop(queues);
        self.filled.notify_one();
        Ok(())
    }

    /// Asks for attention to a peer: what it needs now, a handshake or its waiting packets sent.
    pub(in crate::dataplane) fn want(&self, peer: &Arc<Peer>) {
        if !peer.queued.swap(true, Ordering::AcqRel) {
            self.lock().work.push_back(peer.clone());
            self.filled.notify_one();
        }
    }

    pub(in crate::dataplane) fn stop(&self) {
        self.lock().stop = true;
        self.filled.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next job, until `tick` at most.
    pub(super) fn next(&self, tick: Instant) -> Job {
        let mut queues = self.lock();
        loop {
            if queues.stop {
                return Job::Stop;
            }
            let Some(left) = tick
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
            else {
                return Job::Tick;
            };
            if let Some(peer) = queues.work.pop_front() {
                peer.queued.store(false, Ordering::Release);
                return Job::Work(peer);
            }
            if let Some(message) = queues.pop() {
                return Job::Message(message);
            }
            queues = self
                .filled
                .wait_timeout(queues, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |woken| woken.0);
        }
    }
}

impl Queues {
    fn pop(&mut self) -> Option<Message> {
        self.relayed_next = !self.relayed_next;
        if self.relayed_next {
            self.relayed.pop_front().or_else(|| self.direct.pop_front())
        } else {
            self.direct.pop_front().or_else(|| self.relayed.pop_front())
        }
    }
}
