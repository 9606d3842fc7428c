//! Who reads the TUN device: one packet thread does both directions until that keeps it busy; then the second one takes the
//! way out, until there is little to do again.
//!
//! A packet that is handed to another thread waits until that one is awake, 10 to 20 us where processors sleep between
//! packets, and an answer to what was just received would pay it each time. So the sender ([`Tx`]) goes from thread to thread as
//! a whole: there is only ever one, and the order of packets stays as it was.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::tx::Tx;

/// A thread that did not sleep for so long has more to do than one thread should.
const BUSY: Duration = Duration::from_millis(1);
/// A wait shorter than this is no sleep.
const NAP: Duration = Duration::from_micros(20);
/// How long the second thread looks at what it does before it judges.
const WINDOW: Duration = Duration::from_millis(50);
/// After so long without anything to send the second thread is not needed.
pub(super) const CALM: Duration = Duration::from_millis(10);

/// The sender on its way from one thread to the other.
#[derive(Default)]
pub(super) struct Turn {
    sender: Mutex<Option<Tx>>,
    given: AtomicU64,
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn")
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}

impl Turn {
    /// Leaves the sender for the other thread, which has to be woken.
    pub(super) fn give(&self, sender: Tx) {
        *self.sender.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        self.given.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it changed hands.
    pub(super) fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// The sender, if it was left here.
    pub(super) fn take(&self) -> Option<Tx> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How busy a thread is, from when it began and ended to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Since when it has not slept.
    awake: Instant,
    /// Since when `slept` counts.
    window: Instant,
    slept: Duration,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Pace {
        Pace {
            awake: now,
            window: now,
            slept: Duration::ZERO,
        }
    }

    /// The thread waited from `before` to `after`.
    pub(super) fn waited(&mut self, before: Instant, after: Instant) {
        let waited = after.duration_since(before);
        if waited >= NAP {
            self.awake = after;
            self.slept += waited;
        }
    }

    /// Whether one thread is too few.
    pub(super) fn is_busy(&self, now: Instant) -> bool {
        now.duration_since(self.awake) >= BUSY
    }

    /// Whether a second thread has been idle for three quarters of the last 50 ms or more; every 50 ms a new answer.
    pub(super) fn is_calm(&mut self, now: Instant) -> bool {
        let length = now.duration_since(self.window);
        if length < WINDOW {
            return false;
        }
        let calm = self.slept * 4 >= length * 3;
        (self.window, self.slept) = (now, Duration::ZERO);
        calm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    /// A pace after rounds of so much work and so much waiting, and when they ended.
    fn after(rounds: u32, work: Duration, wait: Duration) -> (Pace, Instant) {
        let begin = Instant::now();
        let (mut pace, mut now) = (Pace::new(begin), begin);
        for _ in 0..rounds {
            let before = now + work;
            now = before + wait;
            pace.waited(before, now);
        }
        (pace, now)
    }

    #[test]
    fn who_does_not_sleep_is_busy_after_a_millisecond() {
        let (pace, now) = after(9, 100 * US, 10 * US);
        assert!(!pace.is_busy(now));
        assert!(pace.is_busy(now + 10 * US));
        let (pace, now) = after(1_000, 100 * US, 20 * US);
        assert!(!pace.is_busy(now), "it sleeps between packets");
    }

    #[test]
    fn who_sleeps_three_quarters_is_calm_and_is_asked_every_window() {
        let (mut pace, now) = after(499, 25 * US, 75 * US);
        assert!(!pace.is_calm(now), "too early to say");
        let (mut pace, now) = after(500, 25 * US, 75 * US);
        assert!(pace.is_calm(now));
        assert!(!pace.is_calm(now), "a new window");
        let (mut pace, now) = after(500, 30 * US, 70 * US);
        assert!(!pace.is_calm(now));
    }
}
