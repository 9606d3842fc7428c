//! Discovery messages of a peer, one handler each.
//!
//! What a message may do depends on how fresh it is proven to be. A pong answers a ping of ours: it proves an address
//! and teaches the peer's life. A message of the life so taught, with a sequence number not seen before, is fresh too:
//! the peer is there, now. Anything else may be years old; it is worth one ping a second, and a pong within the limits.

use std::time::{Duration, Instant};

use crate::path::discovery::{self, Address, Call, MapVersion, Message, Ping, Pong, Stage};
use crate::path::limits::Purpose;
use crate::path::shared::Shared;
use crate::path::{Endpoint, Event, Remote};
use crate::statement::CandidateKind;

use super::Peer;
use super::awake::CALLED_FOR;
use super::direct::Origin;
use super::life::Lesson;

/// Tries of further addresses once one has answered.
const SPARE_TRIES: usize = 2;

impl Peer {
    /// Takes a discovery packet that claims to be from this peer.
    pub(in crate::path) fn datagram(
        &mut self,
        now: Instant,
        from: Endpoint,
        bytes: &[u8],
        shared: &mut Shared,
    ) {
        let opened = self.keys(shared).and_then(|keys| discovery::open(bytes, keys));
        let Some(message) = opened else {
            shared.counters.unopened += 1;
            return;
        };
        match message {
            Message::Ping(ping) => self.on_ping(now, from, ping, shared),
            Message::Pong(pong) => self.on_pong(now, from, pong, shared),
            Message::PleaseInitiate(address) => {
                if self.is_fresh(now, from, address, shared) && self.handshake.follow(now) {
                    shared.event(Event::Initiate { peer: self.info.node });
                }
            }
            Message::CallMeMaybe(address, call) => {
                if self.is_fresh(now, from, address, shared) {
                    self.on_call(now, &call, shared);
                }
            }
            Message::Goodbye(address) => {
                if self.is_fresh(now, from, address, shared) {
                    self.on_goodbye(now, shared);
                }
            }
        }
    }

    fn on_ping(&mut self, now: Instant, from: Endpoint, ping: Ping, shared: &mut Shared) {
        let fresh = self.life.accept(ping.boot, ping.sequence);
        if fresh == Some(false) {
            shared.counters.replayed += 1;
            return;
        }
        if fresh.is_none() {
            // before the pong: who has answered this question can be called by whoever gets that
            self.challenge(now, from, shared);
        }
        if self.charge(now, shared, from, Purpose::Answer).is_ok() {
            let pong = Pong {
                transaction: ping.transaction,
                boot: shared.me.boot,
                sequence: self.life.sequence(),
                seen: (!from.is_relay()).then_some(from.address()),
                map: shared.me.map,
            };
            self.send(shared, from, &Message::Pong(pong));
        }
        if fresh.is_none() {
            return;
        }
        self.saw_map(ping.map, shared);
        if let Endpoint::Direct(address) = from {
            self.heard_direct(now, address);
        }
        if ping.in_use {
            if from.is_relay() {
                self.heard_by_relay(now);
            }
            self.wake(now, CALLED_FOR, shared);
        }
    }

    fn on_pong(&mut self, now: Instant, from: Endpoint, pong: Pong, shared: &mut Shared) {
        let Some((way, rtt, size)) = self.pings.take(now, pong.transaction, from) else {
            shared.counters.unasked += 1;
            return;
        };
        match size {
            Some(size) => self.measured(now, way, size),
            None => shared.event(Event::Ponged {
                peer: self.info.node,
                way,
                rtt,
            }),
        }
        self.saw_map(pong.map, shared);
        let lesson = self.life.learn(pong.boot, pong.sequence);
        if lesson == Lesson::Restarted {
            shared.event(Event::PeerRestarted { peer: self.info.node });
            self.handshake.restarted();
            self.initiate_anew(shared);
        }
        if lesson != Lesson::Same {
            self.wake(now, CALLED_FOR, shared);
            self.calls.has_news();
        }
        match way {
            Endpoint::Direct(remote) => {
                let address = from.address();
                let from = Remote { address, ..remote };
                self.proved(now, remote, rtt, from, shared);
            }
            Endpoint::Relay { relay, .. } => {
                let in_use = self.is_active().then_some(now);
                if !self.goes_by_another_than(relay) {
                    self.relayed.answered(in_use, rtt);
                }
                self.call_if_wanted(now, shared);
            }
        }
        self.refresh(now, shared);
        if self.path.primary == Some(way) {
            self.handshake.ponged(now);
        }
    }

    /// Starts the handshake that a restarted peer needs, where packets want to go to it.
    pub(super) fn initiate_anew(&mut self, shared: &mut Shared) {
        if self.activity.demand && self.path.primary.is_some() && self.handshake.take_stale() {
            shared.event(Event::Initiate { peer: self.info.node });
        }
    }

    fn proved(&mut self, now: Instant, address: Remote, rtt: Duration, from: Remote, shared: &mut Shared) {
        self.directs
            .add(now, address, CandidateKind::PeerReflexive, Origin::Observed);
        if let Some(direct) = self.directs.get_mut(address) {
            direct.prove(now, rtt, from);
        }
        self.campaign_won(address, shared);
        // the others are still of interest, but no longer urgent
        self.directs
            .iter_mut()
            .for_each(|direct| direct.try_at_most(SPARE_TRIES));
        if self.path.direct() == Some(address) {
            self.watch.answered();
        }
        if from != address {
            self.heard_direct(now, from);
        }
    }

    /// Whether a message of types 3 to 5 is fresh. If it may be of a life that we do not know yet, a ping asks.
    fn is_fresh(&mut self, now: Instant, from: Endpoint, address: Address, shared: &mut Shared) -> bool {
        match self.life.accept_addressed(shared.me.boot, address) {
            Some(true) => true,
            Some(false) => {
                shared.counters.replayed += 1;
                false
            }
            None => {
                self.challenge(now, from, shared);
                false
            }
        }
    }

    fn challenge(&mut self, now: Instant, from: Endpoint, shared: &mut Shared) {
        if self.life.may_challenge(now) {
            let _ = self.ping_for(now, shared, from, Purpose::Answer, None);
        }
    }

    fn on_call(&mut self, now: Instant, call: &Call, shared: &mut Shared) {
        self.learnt_nat(now, call.nat, shared);
        match (call.stage, call.candidates.first()) {
            (Stage::Candidates, _) => self.on_candidates(now, &call.candidates, shared),
            (Stage::Primed, _) => self.on_primed(now, &call.candidates, shared),
            (Stage::FreshAsked, Some(&fresh)) => self.on_fresh_asked(now, fresh, shared),
            (Stage::FreshReady, Some(&fresh)) => self.on_fresh_ready(now, fresh, shared),
            (Stage::Birthday, Some(&seen)) => self.on_birthday(now, seen, shared),
            (_, None) => {}
        }
    }

    fn on_goodbye(&mut self, now: Instant, shared: &mut Shared) {
        self.directs.iter_mut().for_each(|direct| direct.unprove());
        shared.relays.forget(self.info.node);
        self.rest(shared);
        shared.event(Event::Goodbye { peer: self.info.node });
        self.refresh(now, shared);
    }

    /// Says goodbye by the way in use.
    pub(in crate::path) fn goodbye(&mut self, shared: &mut Shared) {
        if let Some(way) = self.path.primary
            && let Some(address) = self.life.address(shared.me.boot)
        {
            self.send(shared, way, &Message::Goodbye(address));
        }
    }

    /// Tells of a map newer than ours, once for each.
    pub(in crate::path) fn saw_map(&mut self, map: MapVersion, shared: &mut Shared) {
        if map > shared.me.map && map > self.reported {
            self.reported = map;
            shared.event(Event::MapNewer {
                peer: self.info.node,
                map,
            });
        }
    }
}
