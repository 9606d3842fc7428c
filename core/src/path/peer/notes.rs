//! What the packet path notes about a peer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::path::shared::Shared;
use crate::path::{Endpoint, Remote};
use crate::statement::CandidateKind;

use super::direct::{Direct, Origin};
use super::{FIRST_TRIES, Peer};

/// Reasons to doubt that come from the other side are followed up at most this often.
const POKE_EVERY: Duration = Duration::from_secs(1);

/// While a direct way is sure, new addresses of the peer are followed at most this often: two NATs that choose a new port
/// for each remote one would otherwise lead both sides from port to port for ever.
const FOLLOW_EVERY: Duration = Duration::from_secs(5);
/// A way by which the peer sent this lately is one that it used.
const CARRIED: Duration = Duration::from_secs(3);

impl Peer {
    /// Packets were sent to the peer, or wait for a way.
    pub(in crate::path) fn sent(&mut self, now: Instant, shared: &mut Shared) {
        self.activity.demand = true;
        self.use_now(now, shared);
        self.initiate_anew(shared);
        if self.is_quiet(now) {
            self.watch.poke(now);
        }
        if self.path.direct().is_some() {
            self.watch.sent(now);
        }
        if self.path.primary.is_some_and(|primary| primary.is_relay()) {
            self.relayed.sent(now);
        }
        if self.relay_way(shared).is_none() {
            self.open_relay(now, shared);
        }
    }

    /// Packets went to the peer since `since`, and nothing came back: as [`Self::sent`], more exact than the time of the note.
    pub(in crate::path) fn unanswered(&mut self, since: Instant) {
        if self.path.direct().is_some() {
            self.watch.sent(since);
        }
    }

    /// An authenticated packet came from the peer.
    pub(in crate::path) fn received(&mut self, now: Instant, from: Endpoint, shared: &mut Shared) {
        self.use_now(now, shared);
        match from {
            Endpoint::Direct(address) => {
                self.heard_direct(now, address);
                if let Some(direct) = self.directs.get_mut(address) {
                    direct.carried(now);
                }
                self.follow_packets(now, address);
                self.relayed.may_fall_silent(now);
            }
            Endpoint::Relay { relay, .. } => {
                if !self.goes_by_another_than(relay) {
                    self.relayed.heard(now);
                }
                if self.relay_way(shared).is_none() {
                    self.open_relay(now, shared);
                }
                self.heard_by_relay(now);
            }
        }
    }

    /// The peer's packets come by this address, and none by the one that ours go to: that may be a mapping that its NAT has closed, or a
    /// socket that it has given up, since it proved itself. So this one is tried, and that one asked, before it falls silent for long.
    fn follow_packets(&mut self, now: Instant, address: Remote) {
        let Some(in_use) = self.path.direct().filter(|in_use| *in_use != address) else {
            return;
        };
        let idle = |direct: &Direct| !direct.carried_within(now, CARRIED);
        if self.directs.get(in_use).is_none_or(idle) {
            self.poke(now);
            if !self.directs.is_proven(now, address)
                && let Some(direct) = self.directs.get_mut(address)
                && !direct.pinged_within(now, POKE_EVERY)
            {
                direct.try_now(now, 1);
            }
        }
    }

    /// Whether our packets take another relay than this: then what comes by this one says nothing of ours.
    pub(super) fn goes_by_another_than(&self, relay: SocketAddr) -> bool {
        let elsewhere = |primary: Endpoint| primary.is_relay() && primary.address() != relay;
        self.path.primary.is_some_and(elsewhere)
    }

    /// Something fresh and authentic came from this address.
    pub(super) fn heard_direct(&mut self, now: Instant, address: Remote) {
        if self.directs.is_proven(now, address) {
            let in_use = self.path.direct() == Some(address);
            let asking = in_use && self.watch.is_asking();
            if let Some(direct) = self.directs.get_mut(address) {
                direct.heard(now, asking);
                direct.came(now);
            }
            if in_use {
                self.watch.heard();
            }
            return;
        }
        self.directs
            .add(now, address, CandidateKind::PeerReflexive, Origin::Observed);
        let first = self
            .directs
            .get(address)
            .is_some_and(|direct| direct.came_at().is_none());
        if let Some(direct) = self.directs.get_mut(address) {
            direct.came(now);
        }
        let sure = self.has_sure_direct(now);
        let lately = |at: Instant| now.saturating_duration_since(at) < FOLLOW_EVERY;
        if let Some(direct) = self.directs.get_mut(address)
            // what was sent there before it was heard of may have come too early, and the limits leave one ping more
            && (first || !direct.pinged_within(now, POKE_EVERY))
            && !(sure && self.rounds.followed.is_some_and(lately))
        {
            self.rounds.followed = Some(now);
            direct.try_now(now, if sure { 1 } else { FIRST_TRIES });
        }
        // it has moved, perhaps
        self.poke(now);
    }

    /// The peer uses the relay although there is a direct way. Where it used that until just now it has lost it in its
    /// direction, or does not hear us: then both ways are used until a pong comes. A ping of ours that waits for its pong says
    /// the same.
    pub(super) fn heard_by_relay(&mut self, now: Instant) {
        let asking = self.watch.is_asking();
        let Some(direct) = self
            .path
            .direct()
            .and_then(|address| self.directs.get_mut(address))
        else {
            return;
        };
        if asking || !direct.pinged_within(now, POKE_EVERY) {
            direct.doubt |= direct.carried_within(now, CARRIED);
            self.watch.poke(now);
        }
    }

    fn poke(&mut self, now: Instant) {
        let in_use = self.path.direct().and_then(|address| self.directs.get(address));
        if in_use.is_some_and(|direct| !direct.pinged_within(now, POKE_EVERY)) {
            self.watch.poke(now);
        }
    }

    /// A WireGuard initiation was sent to the peer.
    pub(in crate::path) fn initiation_sent(&mut self, now: Instant, shared: &mut Shared) {
        self.activity.demand = true;
        self.use_now(now, shared);
        self.handshake.initiation_sent(now);
    }

    /// A WireGuard handshake with the peer is complete.
    pub(in crate::path) fn handshake_done(&mut self) {
        self.handshake.done();
    }
}
