//! Time passes: what is due of a peer, and when the next thing is.

use std::time::{Duration, Instant};

use crate::path::shared::Shared;

use super::Peer;

/// A direct way by which nothing came for so long may be forgotten by a NAT: some do so after ten seconds.
pub(super) const QUIET_AFTER: Duration = Duration::from_secs(8);

impl Peer {
    /// Does what is due.
    pub(in crate::path) fn tick(&mut self, now: Instant, shared: &mut Shared) {
        if self.activity.until.is_some_and(|until| now >= until) {
            self.rest(shared);
        }
        self.drop_expired(now);
        self.call_again(now, shared);
        self.run_campaign(now, shared);
        self.make_tries(now, shared);
        if self.is_active() {
            self.check_proven(now, shared);
            self.watch_direct(now, shared);
            self.watch_relay(now, shared);
            if self.rounds.next.is_some_and(|next| now >= next) {
                self.start_round(now, shared);
            }
            self.retry(now, shared);
            self.watch_handshake(now, shared);
        }
        self.measure(now, shared);
        self.refresh(now, shared);
        self.drop_unused_sockets(now, shared);
    }

    /// When [`Self::tick`] is due.
    pub(in crate::path) fn deadline(&self, now: Instant, shared: &Shared) -> Option<Instant> {
        let proofs = self.directs.iter().filter_map(|direct| direct.proof_ends()).min();
        let quiet = self.becomes_quiet(now).filter(|_| self.is_active());
        let checks = self
            .directs
            .iter()
            .filter_map(|direct| direct.next_check(now))
            .min();
        [
            self.activity.until,
            self.directs.next_try(),
            proofs,
            checks.filter(|_| self.is_active()),
            quiet,
            self.watch.next(),
            self.relayed.next(),
            self.rounds.next(),
            self.calls.next(),
            self.handshake.next(),
            self.campaign.next(),
            self.next_measure(now, shared),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// When the direct way in use becomes quiet, unless it is.
    pub(super) fn becomes_quiet(&self, now: Instant) -> Option<Instant> {
        let proof = self.directs.get(self.path.direct()?)?.proof(now)?;
        Some(proof.heard + QUIET_AFTER).filter(|at| *at > now)
    }

    /// Whether the direct way in use is quiet.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        let in_use = self.path.direct().and_then(|remote| self.directs.get(remote));
        in_use.is_some_and(|direct| direct.is_silent(now, QUIET_AFTER))
    }

    pub(super) fn drop_expired(&mut self, now: Instant) {
        for direct in self.directs.iter_mut() {
            if direct.proof_ends().is_some_and(|ends| now >= ends) {
                direct.unprove();
            }
        }
    }
}
