//! When to send a beacon: three at the start and after a network change, then one every half minute, and one for whoever
//! asks.

use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

/// Of the first three.
const START_EVERY: Duration = Duration::from_millis(500);
const START_COUNT: u32 = 3;
const EVERY_MS: u64 = 30_000;
/// Answers wait up to this long, so that a hundred neighbours do not speak at once.
const ANSWER_WITHIN_MS: u64 = 250;
/// The group gets at most one answer in this time.
const ANSWER_EVERY: Duration = Duration::from_secs(1);

/// The schedule.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beaconing {
    starting: u32,
    next: Option<Instant>,
    answer: Option<Instant>,
    sent: Option<Instant>,
}

impl Beaconing {
    pub(super) fn restart(&mut self, now: Instant) {
        (self.starting, self.next) = (START_COUNT, Some(now));
    }

    pub(super) fn stop(&mut self) {
        *self = Self::default();
    }

    /// Somebody wants an answer.
    pub(super) fn asked(&mut self, now: Instant, rng: &mut ChaCha20Rng) {
        let soonest = self.sent.map_or(now, |sent| (sent + ANSWER_EVERY).max(now));
        let wait = Duration::from_millis(u64::from(rng.next_u32()) % ANSWER_WITHIN_MS);
        self.answer.get_or_insert(soonest + wait);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        [self.next, self.answer].into_iter().flatten().min()
    }

    /// Whether a beacon is due, and if so whether it asks for answers.
    pub(super) fn due(&mut self, now: Instant, rng: &mut ChaCha20Rng) -> Option<bool> {
        self.poll_timeout().filter(|due| now >= *due)?;
        // one beacon serves both
        (self.answer, self.sent) = (None, Some(now));
        if self.next.is_none_or(|next| now < next) {
            return Some(false);
        }
        let wanted = self.starting > 0;
        self.starting = self.starting.saturating_sub(1);
        self.next = Some(
            now + if self.starting > 0 {
                START_EVERY
            } else {
                jittered(rng)
            },
        );
        Some(wanted)
    }
}

/// 24 to 36 s.
fn jittered(rng: &mut ChaCha20Rng) -> Duration {
    Duration::from_millis(EVERY_MS * 4 / 5 + u64::from(rng.next_u32()) % (EVERY_MS * 2 / 5))
}
