//! One STUN question: asked until it is answered, three times at most.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::SocketNumber;
use crate::nat::may_be_seen;
use crate::stun::{self, Change};

/// When it is asked, counted from the first time.
const AT_MS: [u64; 3] = [0, 200, 500];
/// When silence counts as an answer.
const SILENCE: Duration = Duration::from_millis(900);
/// When others are no longer waited for.
const LONG: Duration = Duration::from_millis(400);

/// What came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) from: SocketAddr,
    pub(super) seen: SocketAddr,
    pub(super) local_port: u16,
    pub(super) rtt: Duration,
}

/// A question and its answer.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) socket: SocketNumber,
    pub(super) to: SocketAddr,
    pub(super) change: Change,
    transaction: [u8; 12],
    begun: Instant,
    sent: usize,
    last: Instant,
    answer: Option<Answer>,
    /// An answer that cannot be true.
    refused: Option<SocketAddr>,
}

impl Question {
    pub(super) fn new(
        now: Instant,
        socket: SocketNumber,
        to: SocketAddr,
        change: Change,
        transaction: [u8; 12],
    ) -> Self {
        Self {
            socket,
            to,
            change,
            transaction,
            begun: now,
            sent: 0,
            last: now,
            answer: None,
            refused: None,
        }
    }

    pub(super) fn is(&self, socket: SocketNumber, transaction: [u8; 12]) -> bool {
        self.socket == socket && self.transaction == transaction
    }

    /// Takes an answer. Where it was wanted from elsewhere one from there counts before one from where it was asked.
    pub(super) fn answered(&mut self, now: Instant, from: SocketAddr, seen: SocketAddr, local_port: u16) {
        let better = self
            .answer
            .is_none_or(|known| known.from == self.to && from != self.to);
        // who was not asked answers only where that was wanted
        let expected = from == self.to || self.change != Change::default();
        if expected && !may_be_seen(seen) {
            self.refused = Some(seen);
        } else if better && expected {
            let rtt = now.saturating_duration_since(self.last);
            self.answer = Some(Answer {
                from,
                seen,
                local_port,
                rtt,
            });
        }
    }

    pub(super) fn answer(&self) -> Option<Answer> {
        self.answer
    }

    /// Where who was asked says to see us, where no node can be.
    pub(super) fn refused(&self) -> Option<SocketAddr> {
        self.refused
    }

    pub(super) fn seen(&self) -> Option<SocketAddr> {
        self.answer.map(|answer| answer.seen)
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next().is_some_and(|next| now >= next) && self.sent < AT_MS.len()
    }

    /// When something is to be done, or the silence counts.
    pub(super) fn next(&self) -> Option<Instant> {
        if self.answer.is_some() {
            return None;
        }
        let wait = AT_MS
            .get(self.sent)
            .map_or(SILENCE, |at| Duration::from_millis(*at));
        Some(self.begun + wait)
    }

    /// The request, which counts as sent.
    pub(super) fn send(&mut self, now: Instant) -> Vec<u8> {
        (self.sent, self.last) = (self.sent + 1, now);
        match self.change {
            Change {
                ip: false,
                port: false,
            } => stun::binding_request(self.transaction),
            change => stun::changed_request(self.transaction, change),
        }
    }

    /// Whether an answer may still come.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.answer.is_none() && now < self.begun + SILENCE
    }

    /// Whether it has been open for so long that others go on without it, because another was answered.
    pub(super) fn waited_long(&self, now: Instant) -> bool {
        self.answer.is_some() && now >= self.begun + LONG
    }
}
