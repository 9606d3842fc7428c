//! Frames that wait for one stream. Threads push; the stream's task takes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use meshd_core::relay::stream::FrameRing;
use tokio::sync::Notify;

/// Most bytes that wait, length prefixes included: 20 ms at 50 Mbit/s. More would only be late.
const MAX_WAITING: usize = 128 * 1024;
/// Memory that a stream keeps while nothing waits.
const KEPT: usize = 4 * 1024;

/// The way out to one stream.
pub struct Queue {
    ring: Mutex<FrameRing>,
    ready: Notify,
    cut: Notify,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            ring: Mutex::new(FrameRing::new(MAX_WAITING)),
            ready: Notify::new(),
            cut: Notify::new(),
        }
    }
}

impl Queue {
    fn ring(&self) -> MutexGuard<'_, FrameRing> {
        self.ring.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// As [`FrameRing::push`].
    pub fn push(&self, run: &[u8], size: usize) -> u64 {
        let dropped = self.ring().push(run, size);
        self.ready.notify_one();
        dropped
    }

    /// Waits for frames and takes all that wait into `spare`.
    pub async fn take(&self, spare: &mut VecDeque<u8>) {
        while !self.ring().take(spare) {
            self.ring().shrink(KEPT);
            spare.shrink_to(KEPT);
            self.ready.notified().await;
        }
    }

    /// Ends the stream.
    pub fn cut(&self) {
        self.cut.notify_one();
    }

    /// Resolves when somebody [`cut`](Self::cut)s it.
    pub async fn until_cut(&self) {
        self.cut.notified().await;
    }
}
