//! When to repeat an initiation to a peer that somebody waits for: after 0.3, 0.6, 1.2, 2.4 and 4.8 s. From then on
//! boringtun's own repetition (every 5 s, for 90 s) takes over.
//!
//! Each initiation makes the one before last void, so a doubling gap is also what lets an answer over a slow path count.

use std::time::{Duration, Instant};

const FIRST_GAP: Duration = Duration::from_millis(300);
const REPETITIONS: u32 = 5;
/// After we answered an initiation the peer's first packet should come within this; ours would only cross it.
const AFTER_RESPONSE: Duration = Duration::from_millis(300);

/// When the next initiation is due.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Schedule {
    next: Option<Instant>,
    sent: u32,
    cookie: Cookie,
    responded: Option<Instant>,
}

/// A cookie makes the next initiation due at once, but only once for each that was due by itself, so that two nodes under
/// load do not go round in a circle.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Cookie {
    #[default]
    None,
    Due,
    Used,
}

impl Schedule {
    /// Somebody wants a session. Starts the schedule if it is not running.
    pub(super) fn want(&mut self, now: Instant) {
        if self.next.is_none() && self.sent == 0 {
            self.next = Some(self.responded.map_or(now, |at| now.max(at + AFTER_RESPONSE)));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// An initiation went out.
    pub(super) fn initiated(&mut self, now: Instant) {
        if self.cookie == Cookie::Due {
            self.cookie = Cookie::Used;
            self.sent = self.sent.saturating_sub(1);
        } else {
            self.cookie = Cookie::None;
        }
        self.next = (self.sent < REPETITIONS).then(|| now + FIRST_GAP * (1 << self.sent));
        self.sent = self.sent.saturating_add(1);
    }

    /// A cookie came for our last initiation.
    pub(super) fn cookie(&mut self, now: Instant) {
        if self.cookie == Cookie::None {
            self.cookie = Cookie::Due;
            self.next = Some(now);
        }
    }

    /// We answered the peer's initiation.
    pub(super) fn responded(&mut self, now: Instant) {
        self.responded = Some(now);
        self.next = self.next.map(|next| next.max(now + AFTER_RESPONSE));
    }

    /// There is a session, or the attempt was given up, or begins anew.
    pub(super) fn clear(&mut self) {
        *self = Schedule::default();
    }
}
