//! The relayed way to a peer: is the relay alive, and does the peer hear us through it?

use std::time::{Duration, Instant};

/// Silence after something was sent, or after something came, before the relay is asked for a sign of life.
const SILENCE: Duration = Duration::from_millis(300);
/// Who only receives sends nothing by whose loss it could notice that its UDP is blocked: for a while after the last packet the
/// relay is asked this often, so that with three questions that stay without an answer it is known within three seconds.
const LISTEN_EVERY: Duration = Duration::from_millis(1_500);
const LISTEN_FOR: Duration = Duration::from_secs(30);
/// After so long without anything through the relay, nobody knows whether it lives: the next packet takes a second one too.
const LONG_SILENCE: Duration = Duration::from_secs(10);
/// With so many pings through the relay, the first of which has had a second for its pong, it is not waited any longer.
const DEAF_AFTER: usize = 2;
/// Waits between pings through the relay that stay unanswered; the last one repeats.
const BACKOFF_S: [u64; 6] = [1, 2, 4, 8, 16, 30];

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// Ask the relay, and ping the peer through it.
    CheckAndPing,
    /// Ask the relay: the peer fell silent, and a relay that was restarted tells nobody.
    Check,
}

/// The watch over the relayed way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RelayWatch {
    awaiting: bool,
    tries: usize,
    next: Option<Instant>,
    silent_at: Option<Instant>,
    listens_until: Option<Instant>,
    long_silent_at: Option<Instant>,
    long_silent: bool,
    rtt: Option<Duration>,
}

impl RelayWatch {
    /// Round-trip time to the peer through the relay.
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    pub(super) fn next(&self) -> Option<Instant> {
        [self.next, self.silent_at, self.long_silent_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Nothing has come through the relay for ten seconds, or no pong to a ping.
    pub(super) fn is_long_silent(&self) -> bool {
        self.long_silent
    }

    /// Whether it becomes so just now.
    pub(super) fn falls_long_silent(&mut self, now: Instant) -> bool {
        let falls = self.long_silent_at.take_if(|at| now >= *at).is_some();
        self.long_silent |= falls;
        falls
    }

    /// A packet went out by the relay.
    pub(super) fn sent(&mut self, now: Instant) {
        if !self.awaiting {
            self.awaiting = true;
            self.next.get_or_insert(now + SILENCE);
        }
    }

    /// A packet came in by the relay.
    pub(super) fn heard(&mut self, now: Instant) {
        *self = Self {
            rtt: self.rtt,
            silent_at: Some(now + SILENCE),
            listens_until: Some(now + LISTEN_FOR),
            long_silent_at: Some(now + LONG_SILENCE),
            ..Self::default()
        };
    }

    /// A packet came in directly: if nothing follows, it may be that our NAT forgot everything, the relay's binding too,
    /// and somebody who only receives would notice last.
    pub(super) fn may_fall_silent(&mut self, now: Instant) {
        (self.silent_at, self.listens_until) = (Some(now + SILENCE), None);
    }

    /// A pong came by the relay; `in_use` is now, where the peer is not left alone.
    pub(super) fn answered(&mut self, in_use: Option<Instant>, rtt: Duration) {
        let rtt = Some(self.rtt.map_or(rtt, |smoothed| (smoothed * 7 + rtt) / 8));
        *self = Self {
            rtt,
            silent_at: self.silent_at,
            listens_until: self.listens_until,
            long_silent_at: in_use.map(|now| now + LONG_SILENCE),
            ..Self::default()
        };
    }

    /// The peer is left alone.
    pub(super) fn rest(&mut self) {
        *self = Self {
            rtt: self.rtt,
            long_silent: self.long_silent || self.long_silent_at.is_some(),
            ..Self::default()
        };
    }

    /// What is due at `now`.
    pub(super) fn due(&mut self, now: Instant) -> Option<Demand> {
        let silent = self.silent_at.take_if(|at| now >= *at).map(|_| Demand::Check);
        if silent.is_some() && self.listens_until.is_some_and(|until| now < until) {
            self.silent_at = Some(now + LISTEN_EVERY);
        }
        if self.next.is_some_and(|next| now >= next) {
            let wait = BACKOFF_S[self.tries.min(BACKOFF_S.len() - 1)];
            self.tries += 1;
            // the relay may live and yet not reach the peer, which could tell nobody that it has another home now
            if self.tries == DEAF_AFTER && !self.long_silent {
                self.long_silent_at = Some(now);
            }
            self.next = Some(now + Duration::from_secs(wait));
            return Some(Demand::CheckAndPing);
        }
        silent
    }
}
