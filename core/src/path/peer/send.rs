//! Pings and what else goes out: tries of addresses, checks of proven ones.

use std::time::{Duration, Instant};

use crate::path::discovery::{End, Message, PairKeys, Ping, Transaction};
use crate::path::limits::{Charge, Purpose};
use crate::path::shared::Shared;
use crate::path::{Endpoint, Remote};

use super::direct::Direct;
use super::watch::{Demand, Watch};
use super::{Peer, SPARE_SILENCE, handshake, relayed};

/// Pings whose pong is still welcome.
const MAX_PINGS: usize = 64;
/// A pong later than this proves nothing.
const PING_LIFE: Duration = Duration::from_secs(5);
/// What came from an address is answered for so long.
const ANSWERING: Duration = Duration::from_secs(2);
/// A sign of life that is older says nothing of what happened just now.
const FRESH_SIGN: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug)]
struct Sent {
    transaction: Transaction,
    to: Endpoint,
    at: Instant,
    /// Bytes of the datagram, where it measures what the way carries.
    size: Option<u16>,
}

/// Pings under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Pings(Vec<Sent>);

impl Pings {
    fn push(&mut self, sent: Sent) {
        if self.0.len() == MAX_PINGS {
            self.0.remove(0);
        }
        self.0.push(sent);
    }

    /// The ping that a pong from `from` answers: by what way it went, how long ago, and what it measured. A pong may come from another
    /// address than its ping went to (a NAT on the way may choose another port for it): what it proves is that the
    /// peer is reached where the ping went.
    pub(super) fn take(
        &mut self,
        now: Instant,
        transaction: Transaction,
        from: Endpoint,
    ) -> Option<(Endpoint, Duration, Option<u16>)> {
        let same_way = |sent: &Sent| match sent.to {
            Endpoint::Direct(_) => !from.is_relay() && from.socket() == sent.to.socket(),
            Endpoint::Relay { relay, .. } => from.is_relay() && from.address() == relay,
        };
        let at = self
            .0
            .iter()
            .position(|sent| sent.transaction == transaction && same_way(sent))?;
        let sent = self.0.remove(at);
        let rtt = now.saturating_duration_since(sent.at);
        (rtt < PING_LIFE).then_some((sent.to, rtt, sent.size))
    }
}

impl Peer {
    /// Agrees the keys with this peer, where that was not done yet.
    pub(super) fn keys(&mut self, shared: &Shared) -> Option<&PairKeys> {
        let me = &shared.me;
        let (own, peer) = (
            me.end(),
            End {
                node: self.info.node,
                key: self.info.discovery,
            },
        );
        self.keys
            .get_or_insert_with(|| PairKeys::agree(&me.secret, &own, &peer))
            .as_ref()
    }

    /// Seals and sends, without a limit: for ways that have proven themselves or were paid for.
    pub(super) fn send(&mut self, shared: &mut Shared, to: Endpoint, message: &Message) {
        self.send_with_ttl(shared, to, message, None);
    }

    /// As [`Self::send`], with this time to live.
    pub(super) fn send_with_ttl(
        &mut self,
        shared: &mut Shared,
        to: Endpoint,
        message: &Message,
        ttl: Option<u8>,
    ) {
        if let Some(keys) = self.keys(shared) {
            shared.seal(keys, to, message, ttl);
        }
    }

    /// Pays for a datagram where the way has not answered yet.
    pub(super) fn charge(
        &self,
        now: Instant,
        shared: &mut Shared,
        to: Endpoint,
        purpose: Purpose,
    ) -> Result<(), Duration> {
        match to {
            Endpoint::Direct(address) if self.directs.has_answered(now, address) => Ok(()),
            Endpoint::Direct(address) if self.is_searched(address) => {
                let free = shared.charge_birthday(now);
                free.then_some(()).ok_or(Duration::from_millis(20))
            }
            Endpoint::Direct(address) => {
                let (peer, to) = (self.info.node, address.address);
                shared.charge(now, Charge { peer, to, purpose })
            }
            Endpoint::Relay { .. } => Ok(()),
        }
    }

    fn direct_of(&self, to: Endpoint) -> Option<&Direct> {
        match to {
            Endpoint::Direct(remote) => self.directs.get(remote),
            Endpoint::Relay { .. } => None,
        }
    }

    /// Pings.
    ///
    /// # Errors
    /// How long to wait where a limit is reached.
    pub(super) fn ping(&mut self, now: Instant, shared: &mut Shared, to: Endpoint) -> Result<(), Duration> {
        let came = self
            .direct_of(to)
            .is_some_and(|direct| direct.came_within(now, ANSWERING));
        self.ping_for(
            now,
            shared,
            to,
            if came { Purpose::Answer } else { Purpose::Try },
            None,
        )
    }

    /// Pings by the present path, which is wanted from now on.
    pub(in crate::path) fn ping_by_path(&mut self, now: Instant, shared: &mut Shared) {
        self.sent(now, shared);
        if let Some(way) = self.path.primary {
            // a way in use has answered: no limit holds for it
            let _ = self.ping(now, shared, way);
        }
    }

    /// Pings, at the cost of `purpose` where the way has not answered yet.
    ///
    /// # Errors
    /// As [`Self::ping`].
    pub(super) fn ping_for(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        to: Endpoint,
        purpose: Purpose,
        ttl: Option<u8>,
    ) -> Result<(), Duration> {
        self.charge(now, shared, to, purpose)?;
        let message = self.new_ping(now, shared);
        if let Message::Ping(Ping { transaction, .. }) = message {
            self.pings.push(Sent {
                transaction,
                to,
                at: now,
                size: None,
            });
        }
        if let Endpoint::Direct(address) = to
            && let Some(direct) = self.directs.get_mut(address)
        {
            direct.pinged(now);
        }
        self.send_with_ttl(shared, to, &message, ttl);
        Ok(())
    }

    /// A ping that measures what a way carries is on its way.
    pub(super) fn note_ping(&mut self, now: Instant, to: Endpoint, transaction: Transaction, size: u16) {
        self.pings.push(Sent {
            transaction,
            to,
            at: now,
            size: Some(size),
        });
    }

    /// A ping that was not sent before.
    pub(super) fn new_ping(&mut self, now: Instant, shared: &mut Shared) -> Message {
        Message::Ping(Ping {
            transaction: shared.random(),
            boot: shared.me.boot,
            sequence: self.life.next_sequence(),
            map: shared.me.map,
            in_use: self.is_in_use(now),
        })
    }

    /// Pings through the relay, where there is one.
    pub(super) fn ping_relay(&mut self, now: Instant, shared: &mut Shared) {
        match self.relay_way(shared) {
            Some(way) => {
                let _ = self.ping(now, shared, way);
                self.await_pong(now);
            }
            None => self.open_relay(now, shared),
        }
    }

    /// Pings every proven address but the one in use, which the watch pings.
    pub(super) fn ping_spares(&mut self, now: Instant, shared: &mut Shared) {
        let in_use = self.path.direct();
        let spare = |direct: &&Direct| direct.proof(now).is_some() && in_use != Some(direct.remote);
        let spares: Vec<Remote> = self
            .directs
            .iter()
            .filter(spare)
            .map(|direct| direct.remote)
            .collect();
        for address in spares {
            let _ = self.ping(now, shared, Endpoint::Direct(address));
        }
    }

    /// Doubts every proven address but this one, unless something came from it just now.
    fn doubt_spares(&mut self, now: Instant, in_use: Remote) {
        let silent = |direct: &Direct| {
            direct
                .proof(now)
                .is_some_and(|proof| now.saturating_duration_since(proof.heard) > FRESH_SIGN)
        };
        for direct in self.directs.iter_mut() {
            direct.doubt |= direct.remote != in_use && silent(direct);
        }
    }

    /// Makes the tries that are due.
    pub(super) fn make_tries(&mut self, now: Instant, shared: &mut Shared) {
        let due: Vec<Remote> = self
            .directs
            .iter_mut()
            .filter_map(|direct| direct.take_try(now).then_some(direct.remote))
            .collect();
        for address in due {
            if let Err(wait) = self.ping(now, shared, Endpoint::Direct(address))
                && let Some(direct) = self.directs.get_mut(address)
            {
                direct.postpone(now, wait);
            }
        }
    }

    /// Pings proven addresses now and then: NAT mappings live on, and what died is noticed. The one in use is watched
    /// more closely.
    pub(super) fn check_proven(&mut self, now: Instant, shared: &mut Shared) {
        let in_use = self.path.direct();
        let due = |direct: &&mut Direct| direct.next_check(now).is_some_and(|at| now >= at);
        let mut spare = Vec::new();
        for direct in self.directs.iter_mut().filter(due) {
            direct.pinged(now);
            if in_use == Some(direct.remote) {
                self.watch.poke(now);
            } else {
                let silent = |heard: Instant| now.saturating_duration_since(heard) > SPARE_SILENCE;
                direct.doubt |= direct.proof(now).is_some_and(|proof| silent(proof.heard));
                spare.push(direct.remote);
            }
        }
        for address in spare {
            let _ = self.ping(now, shared, Endpoint::Direct(address));
        }
    }

    /// Watches the direct way in use.
    pub(super) fn watch_direct(&mut self, now: Instant, shared: &mut Shared) {
        let Some(address) = self.path.direct() else {
            self.watch = Watch::default();
            return;
        };
        let rtt = self
            .directs
            .get(address)
            .and_then(|direct| direct.proof(now))
            .map(|proof| proof.rtt);
        match self.watch.due(now, rtt) {
            None => return,
            Some(Demand::GiveUp) => {
                if let Some(direct) = self.directs.get_mut(address) {
                    direct.unprove();
                }
                return;
            }
            Some(Demand::Doubt) => {
                let before = self
                    .directs
                    .get_mut(address)
                    .map(|direct| std::mem::replace(&mut direct.doubt, true));
                if before == Some(false) {
                    // one of them may have to take over, but not on trust: what made this one fall silent did so to those beside it,
                    // and to try one after the other would take a second each; and the peer may hear nothing of us while we hear it: what it gets by
                    // both ways tells it nothing, since the second copy of each packet is dropped
                    self.ping_spares(now, shared);
                    self.doubt_spares(now, address);
                    self.ping_relay(now, shared);
                }
            }
            Some(Demand::Ping) => self.suspect_mtu(now),
        }
        let _ = self.ping(now, shared, Endpoint::Direct(address));
        // should the relay be needed in a moment, it is better to know now that it forgot us
        if let Some(way) = self.relay_way(shared) {
            shared.relays.check(now, way.address());
        } else {
            self.open_relay(now, shared);
        }
    }

    /// Watches the relayed way in use.
    pub(super) fn watch_relay(&mut self, now: Instant, shared: &mut Shared) {
        let relayed = self.path.primary.is_some_and(|primary| primary.is_relay());
        if self.relayed.falls_long_silent(now) && relayed {
            shared.relays.open_two(now, self.info.node, self.info.home_relay);
        }
        let Some(demand) = self.relayed.due(now) else {
            return;
        };
        if let Some(way) = self.relay_way(shared) {
            shared.relays.check(now, way.address());
        }
        match demand {
            relayed::Demand::CheckAndPing => {
                self.suspect_mtu(now);
                self.ping_relay(now, shared);
            }
            relayed::Demand::Check if self.path.direct().is_some() => self.watch.poke(now),
            relayed::Demand::Check => {}
        }
    }

    /// Watches a handshake that has not come to its end.
    pub(super) fn watch_handshake(&mut self, now: Instant, shared: &mut Shared) {
        let Some(demand) = self.handshake.due(now) else {
            return;
        };
        let Some(way) = self.path.primary else { return };
        match demand {
            handshake::Demand::Ping => {
                let _ = self.ping(now, shared, way);
            }
            handshake::Demand::Ask => {
                if let Some(address) = self.life.address(shared.me.boot) {
                    self.send(shared, way, &Message::PleaseInitiate(address));
                }
            }
        }
    }
}
