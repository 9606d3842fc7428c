//! The ways to a peer, and which of them its packets take.

use std::time::{Duration, Instant};

use crate::path::choice::{Standing, Way, choose};
use crate::path::shared::Shared;
use crate::path::{Endpoint, Event, Remote};

use super::Peer;
use super::tick::QUIET_AFTER;
use super::watch::Watch;

impl Peer {
    /// Decides anew about the path, and tells where it changed.
    pub(in crate::path) fn refresh(&mut self, now: Instant, shared: &mut Shared) {
        let mut path = choose(&self.ways(now, shared), self.path, self.relayed.is_long_silent());
        path.max_packet = self.max_packet(&path, shared);
        if path == self.path {
            return;
        }
        let before = std::mem::replace(&mut self.path, path);
        if path.direct() != before.direct() {
            self.watch = Watch::default();
        }
        if self.is_active() && path.direct().is_some_and(|_| !self.has_sure_direct(now)) {
            self.watch.poke(now);
        }
        shared.event(Event::PathChanged {
            peer: self.info.node,
            path,
            rtt: self.rtt(now),
        });
        let found = before.primary.is_none();
        if found && self.activity.demand {
            self.handshake.take_stale();
            shared.event(Event::Initiate { peer: self.info.node });
        }
        let lost = path.primary.is_none() || before.primary.is_some_and(|primary| !primary.is_relay());
        if self.is_active() && (found || lost) && !self.has_sure_direct(now) {
            self.rounds.count = 0;
            self.start_round(now, shared);
        }
    }

    pub(super) fn ways(&self, now: Instant, shared: &Shared) -> Vec<Way> {
        let direct = self.directs.iter().filter_map(|direct| {
            Some(Way {
                endpoint: Endpoint::Direct(direct.remote),
                standing: if direct.doubt {
                    Standing::Doubtful
                } else {
                    Standing::Sure
                },
                crooked: direct.crooked,
                quiet: direct.is_silent(now, QUIET_AFTER),
                rtt: Some(direct.proof(now)?.rtt),
            })
        });
        direct
            .chain(shared.relays.ways(self.info.node, self.info.home_relay))
            .collect()
    }

    pub(super) fn has_sure_direct(&self, now: Instant) -> bool {
        self.directs
            .iter()
            .any(|direct| !direct.doubt && direct.proof(now).is_some())
    }

    /// Whether the peer has answered at this address and nothing speaks against it since.
    pub(in crate::path) fn has_proven(&self, address: Remote) -> bool {
        let known = self.directs.get(address);
        known.is_some_and(|direct| direct.proof_ends().is_some())
    }

    pub(super) fn rtt(&self, now: Instant) -> Option<Duration> {
        self.way_rtt(now, self.path.primary?)
    }

    pub(super) fn way_rtt(&self, now: Instant, way: Endpoint) -> Option<Duration> {
        match way {
            Endpoint::Direct(address) => Some(self.directs.get(address)?.proof(now)?.rtt),
            Endpoint::Relay { .. } => self.relayed.rtt(),
        }
    }

    pub(super) fn open_relay(&self, now: Instant, shared: &mut Shared) {
        let everywhere = self.path.primary.is_none() && self.rounds.count > 0;
        shared
            .relays
            .open(now, self.info.node, self.info.home_relay, everywhere);
    }

    pub(super) fn relay_way(&self, shared: &Shared) -> Option<Endpoint> {
        let ways = shared.relays.ways(self.info.node, self.info.home_relay);
        choose(&ways.collect::<Vec<_>>(), self.path, false).primary
    }
}
