//! A WireGuard handshake that comes to nothing while the peer is there: it is asked to initiate from its side.
//!
//! A WireGuard responder drops an initiation whose timestamp is not above the highest it has seen (WireGuard paper
//! section 5.1), so a node whose clock went back is not heard until its clock has caught up. The other side has no
//! such trouble.

use std::time::{Duration, Instant};

/// From the initiation to the first question, and between pings.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between one request and the next.
const ASK_AGAIN_S: [u64; 4] = [1, 2, 5, 5];
/// Pings that may go unanswered before the matter is left to WireGuard's own retries.
const MAX_PINGS: u32 = 10;
/// A pong that is older than this says nothing of the present.
const FRESH: Duration = Duration::from_secs(1);

/// The peer's own requests are followed at most this often.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// See whether the peer is there.
    Ping,
    /// It is: ask it to initiate.
    Ask,
}

/// Watches over one handshake.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HandshakeWatch {
    next: Option<Instant>,
    pings: u32,
    asked: usize,
    ponged: Option<Instant>,
    followed: Option<Instant>,
    /// The peer was restarted, and the next packet to it needs a handshake first.
    stale: bool,
}

impl HandshakeWatch {
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// An initiation was sent.
    pub(super) fn initiation_sent(&mut self, now: Instant) {
        if self.next.is_none() {
            (self.next, self.pings, self.asked) = (Some(now + PATIENCE), 0, 0);
        }
    }

    /// The handshake is complete.
    pub(super) fn done(&mut self) {
        (self.next, self.stale) = (None, false);
    }

    /// Nobody waits for it any more.
    pub(super) fn rest(&mut self) {
        self.next = None;
    }

    /// The peer was restarted: what sessions there were are gone.
    pub(super) fn restarted(&mut self) {
        self.stale = true;
    }

    /// Whether a packet to the peer needs a handshake that nobody has begun; it is begun now.
    pub(super) fn take_stale(&mut self) -> bool {
        std::mem::take(&mut self.stale)
    }

    /// The peer answered a ping by the way in use.
    pub(super) fn ponged(&mut self, now: Instant) {
        self.ponged = Some(now);
        // a question that waits for this pong is due now
        if self.pings > 0 && self.asked == 0 && self.next.is_some() {
            self.next = Some(now);
        }
    }

    /// Whether to initiate because the peer asks for it.
    pub(super) fn follow(&mut self, now: Instant) -> bool {
        let free = self
            .followed
            .is_none_or(|last| now.saturating_duration_since(last) >= FOLLOW_EVERY);
        if free {
            self.followed = Some(now);
        }
        free
    }

    pub(super) fn due(&mut self, now: Instant) -> Option<Demand> {
        self.next.filter(|next| now >= *next)?;
        if self
            .ponged
            .is_some_and(|ponged| now.saturating_duration_since(ponged) < FRESH)
        {
            let wait = ASK_AGAIN_S.get(self.asked).map(|&wait| Duration::from_secs(wait));
            self.asked += 1;
            self.next = wait.map(|wait| now + wait);
            return wait.map(|_| Demand::Ask);
        }
        self.pings += 1;
        self.next = (self.pings <= MAX_PINGS).then(|| now + PATIENCE);
        self.next.map(|_| Demand::Ping)
    }
}
