//! Whether a peer is wanted: what wakes it, what it does then, when it rests.

use std::time::{Duration, Instant};

use crate::path::shared::Shared;

use super::Peer;
use super::calls::Calls;
use super::watch::Watch;

/// How long a peer stays active after the last packet.
const ACTIVE_FOR: Duration = Duration::from_secs(120);
/// How long after it gave a fresh sign of interest without packets.
pub(super) const CALLED_FOR: Duration = Duration::from_secs(10);

/// Whether the peer is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Activity {
    /// Active until then; none while idle.
    pub(super) until: Option<Instant>,
    /// Packets went, came, or waited so lately until then.
    pub(super) in_use: Option<Instant>,
    /// Packets for it are waiting or were sent during this activity.
    pub(super) demand: bool,
}

impl Peer {
    pub(in crate::path) fn is_active(&self) -> bool {
        self.activity.until.is_some()
    }

    pub(super) fn is_in_use(&self, now: Instant) -> bool {
        self.activity.in_use.is_some_and(|until| now < until)
    }

    /// Packets go, come or wait.
    pub(super) fn use_now(&mut self, now: Instant, shared: &mut Shared) {
        self.activity.in_use = Some(now + ACTIVE_FOR);
        self.wake(now, ACTIVE_FOR, shared);
    }

    /// Makes the peer active for at least this long.
    pub(super) fn wake(&mut self, now: Instant, wanted_for: Duration, shared: &mut Shared) {
        let until = now + wanted_for;
        let was = self.activity.until;
        self.activity.until = Some(was.map_or(until, |was| was.max(until)));
        if was.is_none() {
            (self.rounds, self.calls) = Default::default();
            self.open_relay(now, shared);
            if self.path.direct().is_some() {
                self.watch.poke(now);
            }
            self.ping_spares(now, shared);
            self.start_round(now, shared);
        }
    }

    /// A session at a relay was opened.
    pub(in crate::path) fn relay_opened(&mut self, now: Instant, shared: &mut Shared) {
        self.refresh(now, shared);
        if self.is_active() && !self.has_sure_direct(now) {
            self.ping_relay(now, shared);
        }
    }

    /// A relay was lost, found, or will not relay to this peer: another may.
    pub(in crate::path) fn relays_changed(&mut self, now: Instant, shared: &mut Shared) {
        if self.is_active() && self.relay_way(shared).is_none() {
            shared
                .relays
                .open(now, self.info.node, self.info.home_relay, true);
        }
        self.refresh(now, shared);
    }

    /// The node was bound at a relay just now: it may be a nearer one, or one that lives.
    pub(in crate::path) fn relay_bound(&mut self, now: Instant, shared: &mut Shared) {
        self.relays_changed(now, shared);
        if self.is_active() && !self.has_sure_direct(now) {
            self.open_relay(now, shared);
        }
    }

    pub(super) fn rest(&mut self, shared: &mut Shared) {
        self.abandon_campaign(shared);
        self.activity = Activity::default();
        self.watch = Watch::default();
        self.relayed.rest();
        self.rounds.end();
        self.calls = Calls::default();
        self.handshake.rest();
        for direct in self.directs.iter_mut() {
            direct.doubt = true;
            direct.stop_trying();
        }
    }

    /// Our own address may have changed: every direct way is in doubt, and everything is tried anew.
    pub(in crate::path) fn network_changed(&mut self, now: Instant, shared: &mut Shared) {
        self.directs.iter_mut().for_each(|direct| direct.doubt = true);
        self.mtus.begin_anew();
        if self.is_active() {
            self.watch = Watch::default();
            self.watch.poke(now);
            self.ping_spares(now, shared);
            self.rounds.count = 0;
            self.abandon_campaign(shared);
            // our own address is another one: what was searched in vain from the old one may be found
            self.campaign.searched = None;
            self.calls.has_news();
            self.start_round(now, shared);
        }
        self.refresh(now, shared);
    }
}
