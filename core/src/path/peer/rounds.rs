//! Rounds of trying addresses: one when the peer is wanted, and while a relay carries its packets again after a minute, two,
//! four, up to an hour; every five seconds while there is no way at all.

use std::time::{Duration, Instant};

use crate::path::shared::Shared;

use super::Peer;

/// Tries per address in a first round, and in later ones.
pub(super) const FIRST_TRIES: usize = 5;
const LATER_TRIES: usize = 3;
/// Between rounds while a relay carries the packets: doubled from one to the next.
const ROUND_EVERY: Duration = Duration::from_secs(60);
const ROUND_EVERY_MAX: Duration = Duration::from_secs(3600);
/// Between tries of addresses that have answered lately, while a relay carries the packets: a way that was cut for a moment
/// comes back without a round.
const RETRY_EVERY: Duration = Duration::from_secs(10);
/// Between rounds, of one try each, while there is no way at all.
const ROUND_EVERY_LOST: Duration = Duration::from_secs(5);

/// Rounds of trying addresses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rounds {
    pub(super) count: u32,
    pub(super) next: Option<Instant>,
    /// When addresses that have answered lately are tried again.
    retry: Option<Instant>,
    pub(super) followed: Option<Instant>,
}

impl Rounds {
    pub(super) fn next(&self) -> Option<Instant> {
        [self.next, self.retry].into_iter().flatten().min()
    }

    pub(super) fn end(&mut self) {
        (self.next, self.retry) = (None, None);
    }
}

impl Peer {
    /// Begins a round: the relay is pinged, so that the peer tries too, and every address that makes sense is tried.
    pub(super) fn start_round(&mut self, now: Instant, shared: &mut Shared) {
        if self.has_sure_direct(now) {
            self.rounds.end();
            return;
        }
        // while there is no way at all, those that have answered lately are tried in every round, others in every third
        let lost = self.rounds.count > 0 && self.path.primary.is_none();
        let answered_only = lost && !self.rounds.count.is_multiple_of(3);
        let tries = match (self.rounds.count, self.path.primary) {
            (0, _) => FIRST_TRIES,
            (_, Some(_)) => LATER_TRIES,
            (_, None) => 1,
        };
        self.try_addresses(now, tries, answered_only, shared);
        let doubled = ROUND_EVERY
            .saturating_mul(1 << self.rounds.count.min(6))
            .min(ROUND_EVERY_MAX);
        let wait = if self.path.primary.is_some() {
            doubled
        } else {
            ROUND_EVERY_LOST
        };
        self.rounds.count += 1;
        self.rounds.next = Some(now + wait);
        self.rounds.retry = self.path.primary.map(|_| now + RETRY_EVERY);
        self.prime_held(now, shared);
        self.begin_campaign(now, shared);
        self.calls.want();
        self.ping_relay(now, shared);
    }

    /// Tries addresses that have answered lately, if that is due.
    pub(super) fn retry(&mut self, now: Instant, shared: &Shared) {
        if self.rounds.retry.take_if(|at| now >= *at).is_none() || self.has_sure_direct(now) {
            return;
        }
        if self.directs.iter().any(|direct| direct.has_answered(now)) {
            self.try_addresses(now, 1, true, shared);
            self.rounds.retry = Some(now + RETRY_EVERY);
        }
    }
}
