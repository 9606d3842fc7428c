//! Doubt about the direct way in use: when to ping, when to use a second way as well, when to give it up.
//!
//! Packets went out and nothing authentic came back for 300 ms: ping. Two pings unanswered, 250 ms apart: doubt, and
//! the relay is used as well; that is 800 ms after the last sign of life. Three more seconds: given up.

use std::time::{Duration, Instant};

/// Silence after something was sent, before a ping asks.
const SILENCE: Duration = Duration::from_millis(300);
/// Wait for a pong, at least.
const MISS_AFTER: Duration = Duration::from_millis(250);
const MISS_AFTER_MAX: Duration = Duration::from_secs(1);
/// Unanswered pings that make doubt.
const DOUBT_AFTER: u32 = 2;
/// A way in doubt that stays silent for this long is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3);

/// What the watch asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// Ping the way.
    Ping,
    /// Ping it, and use another as well.
    Doubt,
    /// It is dead.
    GiveUp,
}

/// The watch over one way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    /// Something was sent and nothing came since.
    awaiting: bool,
    unanswered: u32,
    next: Option<Instant>,
    doubted: Option<Instant>,
}

impl Watch {
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Whether a ping waits for its pong.
    pub(super) fn is_asking(&self) -> bool {
        self.unanswered > 0
    }

    /// A packet went out by the way.
    pub(super) fn sent(&mut self, now: Instant) {
        if !self.awaiting {
            self.awaiting = true;
            self.next.get_or_insert(now + SILENCE);
        }
    }

    /// There is reason to ask now.
    pub(super) fn poke(&mut self, now: Instant) {
        if self.unanswered == 0 {
            self.next = Some(now);
        }
    }

    /// A packet came in by the way. An open question is answered by a pong only: it may be that we hear the peer and
    /// it does not hear us.
    pub(super) fn heard(&mut self) {
        if self.unanswered == 0 {
            *self = Self::default();
        }
    }

    /// A pong came.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// What is due at `now`, given the way's round-trip time.
    pub(super) fn due(&mut self, now: Instant, rtt: Option<Duration>) -> Option<Demand> {
        self.next.filter(|next| now >= *next)?;
        let patience = rtt.map_or(MISS_AFTER, |rtt| rtt + rtt / 4 + Duration::from_millis(20));
        self.next = Some(now + patience.clamp(MISS_AFTER, MISS_AFTER_MAX));
        self.unanswered += 1;
        if self.unanswered <= DOUBT_AFTER {
            return Some(Demand::Ping);
        }
        let since = *self.doubted.get_or_insert(now);
        if now.saturating_duration_since(since) < GIVE_UP_AFTER {
            return Some(Demand::Doubt);
        }
        *self = Self::default();
        Some(Demand::GiveUp)
    }
}
