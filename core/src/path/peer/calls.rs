//! Calls through the relay: two nodes learn each other's addresses, and neither pings before the other has primed.
//!
//! 1. Who wants a direct path primes the addresses that it knows of the peer, and calls: these are my candidates.
//! 2. Who is called primes those and answers: these are mine, and yours are primed.
//! 3. Who hears that pings at once, by which its own NAT is open too, and says the same, unless it has: the other pings too.
//!
//! Each step follows from the one before and from no clock, so that a busy computer or a slow relay delays the pings and does
//! not spoil them. Where a step is lost the call is repeated; where nobody answers they go out after [`HOLD`] all the same.
//!
//! A call goes out when a round of tries begins, when there is news (our addresses, our NAT, another life of the peer), and at
//! no other time: a pair that stays relayed is left alone from one round to the next. It waits for a pong by the relay, which
//! tells the peer's present life, and which is asked for again where it does not come.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::nat::Filtering;
use crate::path::Remote;
use crate::path::candidate::kind_of;
use crate::path::discovery::{Call, Message, Stage};
use crate::path::shared::Shared;
use crate::statement::CandidateKind;

use super::awake::CALLED_FOR;
use super::direct::Origin;
use super::{FIRST_TRIES, Peer};

/// Tries that wait for the peer begin after this at the latest.
const HOLD: Duration = Duration::from_secs(2);
/// A peer is told where to call at most this often.
const CALL_EVERY: Duration = Duration::from_secs(2);
/// A call to which nobody says anything is repeated after this and half a round trip.
const CALL_AGAIN: Duration = Duration::from_millis(400);
const MAX_CALLS: u8 = 3;
/// An address that was primed so lately is open.
const PRIMED_FOR: Duration = Duration::from_secs(5);

/// What was said, and what is waited for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Calls {
    /// The peer is to be called with the next pong that comes by the relay.
    wanted: bool,
    /// When that pong is asked for again, and how often it was.
    ask_again: Option<Instant>,
    asked: u8,
    /// When the peer was last told our addresses.
    called: Option<Instant>,
    /// When it was last told that its own are primed.
    said_primed: Option<Instant>,
    /// When the call is repeated, and how often it was made.
    again: Option<Instant>,
    count: u8,
}

impl Calls {
    pub(super) fn next(&self) -> Option<Instant> {
        [self.again, self.ask_again].into_iter().flatten().min()
    }

    /// The peer is to be called.
    pub(super) fn want(&mut self) {
        (self.wanted, self.asked) = (true, 0);
    }

    /// The peer is to be called, however lately it was.
    pub(super) fn has_news(&mut self) {
        self.called = None;
        self.want();
    }
}

impl Peer {
    /// The peer was pinged by the relay: where a call waits for the pong, that is asked for again should it be lost.
    pub(super) fn await_pong(&mut self, now: Instant) {
        if self.calls.wanted && self.calls.asked < MAX_CALLS {
            self.calls.asked += 1;
            self.calls.ask_again = Some(now + self.half_trip() * 2 + CALL_AGAIN);
        }
    }

    /// The peer answered by the relay. Where it is to be called it is told our addresses, so that both try at the same time.
    pub(super) fn call_if_wanted(&mut self, now: Instant, shared: &mut Shared) {
        if !self.calls.wanted {
            return;
        }
        let next = self.calls.called.map(|called| called + CALL_EVERY);
        self.calls.ask_again = next.filter(|next| now < *next);
        if self.calls.ask_again.is_none() {
            (self.calls.wanted, self.calls.count) = (false, 0);
            self.call_now(now, shared);
        }
    }

    fn call_now(&mut self, now: Instant, shared: &mut Shared) {
        self.calls.again = None;
        if self.has_sure_direct(now) || self.relay_way(shared).is_none() || !self.life.is_known() {
            return;
        }
        self.calls.called = Some(now);
        self.calls.count += 1;
        if self.calls.count < MAX_CALLS {
            self.calls.again = Some(now + self.half_trip() * 2 + CALL_AGAIN);
        }
        let candidates = own_candidates(shared);
        self.call_with(shared, Stage::Candidates, candidates);
    }

    /// Repeats a call to which nothing was said, and the ping whose pong a call waits for.
    pub(super) fn call_again(&mut self, now: Instant, shared: &mut Shared) {
        if self.calls.ask_again.take_if(|at| now >= *at).is_some() && !self.has_sure_direct(now) {
            self.ping_relay(now, shared);
        }
        if self.calls.again.is_some_and(|again| now >= again) {
            self.call_now(now, shared);
        }
    }

    /// Tells the peer something about ways to a direct path, through the relay.
    pub(super) fn call_with(&mut self, shared: &mut Shared, stage: Stage, candidates: Vec<SocketAddr>) {
        let Some(way) = self.relay_way(shared) else { return };
        let Some(address) = self.life.address(shared.me.boot) else {
            return;
        };
        let call = Call {
            candidates,
            nat: shared.nat,
            stage,
        };
        self.send(shared, way, &Message::CallMeMaybe(address, call));
    }

    /// The peer calls: it will ping what we name once we have primed what it names.
    pub(super) fn on_candidates(&mut self, now: Instant, candidates: &[SocketAddr], shared: &mut Shared) {
        self.take_candidates(now, candidates, shared);
        self.prime_held(now, shared);
        self.say_primed(now, shared);
    }

    /// The peer has primed our addresses: they may be pinged from, and its own be pinged.
    pub(super) fn on_primed(&mut self, now: Instant, candidates: &[SocketAddr], shared: &mut Shared) {
        self.calls.again = None;
        self.take_candidates(now, candidates, shared);
        self.release_tries(now, FIRST_TRIES);
        // before the peer is told: these open our own NAT
        self.make_tries(now, shared);
        let lately = |said: Instant| now.saturating_duration_since(said) < CALL_EVERY;
        if !self.calls.said_primed.is_some_and(lately) {
            self.say_primed(now, shared);
        }
    }

    fn take_candidates(&mut self, now: Instant, candidates: &[SocketAddr], shared: &mut Shared) {
        let named = candidates
            .iter()
            .map(|&address| (address.into(), kind_of(address)));
        self.directs.replace(now, Origin::Called, named);
        self.wake(now, CALLED_FOR, shared);
        // no new round, which would call back: two callers would never come to rest
        if !self.has_sure_direct(now) {
            self.try_addresses(now, FIRST_TRIES, false, shared);
        }
    }

    fn say_primed(&mut self, now: Instant, shared: &mut Shared) {
        // it says all that a call does
        (self.calls.called, self.calls.said_primed) = (Some(now), Some(now));
        (self.calls.wanted, self.calls.ask_again) = (false, None);
        let candidates = own_candidates(shared);
        self.call_with(shared, Stage::Primed, candidates);
        self.hasten_punching(now);
    }

    /// Tries every address that makes sense and is not proven; only those that have answered lately where so asked.
    pub(super) fn try_addresses(&mut self, now: Instant, tries: usize, answered_only: bool, shared: &Shared) {
        let vicinity = shared.vicinity(&self.info.candidates);
        // where the peer can be told, it opens its NAT before anything comes there
        let hold = shared.relays.is_bound() && !self.needs_no_primer();
        for direct in self.directs.iter_mut() {
            let behind_nat = direct.kind == CandidateKind::ServerReflexive && direct.remote.address.is_ipv4();
            let wanted = direct.proof(now).is_none() && (!answered_only || direct.has_answered(now));
            if wanted && vicinity.makes_sense(direct.kind, direct.remote.address) {
                let held = hold && behind_nat && !direct.has_answered(now);
                direct.try_from(now + if held { HOLD } else { Duration::ZERO }, tries, false);
            }
        }
    }

    /// Opens our NAT towards the addresses that are tried once the peer has been told.
    pub(super) fn prime_held(&mut self, now: Instant, shared: &mut Shared) {
        let closed =
            |direct: &&super::direct::Direct| direct.is_held(now) && !direct.primed_within(now, PRIMED_FOR);
        let closed: Vec<Remote> = self
            .directs
            .iter()
            .filter(closed)
            .map(|direct| direct.remote)
            .collect();
        for remote in closed {
            self.prime(now, remote, shared);
        }
    }

    /// Lets the tries that wait for the peer begin at `start`.
    fn release_tries(&mut self, start: Instant, tries: usize) {
        for direct in self.directs.iter_mut().filter(|direct| direct.is_held(start)) {
            direct.try_from(start, tries, true);
        }
    }

    /// Whether the peer's address as an observer sees it may be pinged without waiting for the peer: nothing there takes
    /// a probe for the beginning of a flow.
    fn needs_no_primer(&self) -> bool {
        let theirs = self.theirs.unwrap_or_default();
        theirs.mapping == crate::nat::Mapping::NoNat || theirs.filtering == Filtering::EndpointIndependent
    }
}

fn own_candidates(shared: &Shared) -> Vec<SocketAddr> {
    let candidates = shared.candidates();
    candidates.iter().map(|candidate| candidate.addr).collect()
}
