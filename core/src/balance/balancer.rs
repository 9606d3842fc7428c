//! To which member a connection goes: to one that is ready, of those to the one with the fewest connections for its share, of those in turn.
//! Nobody is ever left out altogether: where none is ready the others are tried, the likeliest first.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::health::{EVERY, EVERY_IDLE, Health, Outcome, Record};
use crate::statement::Member;

/// For so long after its last connection an endpoint counts as in use.
const IN_USE: Duration = Duration::from_secs(60);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<M = Member> {
    /// A member is otherwise than before.
    Changed {
        /// The member.
        member: M,
        /// How it was.
        from: Health,
        /// How it is.
        to: Health,
    },
    /// A member is dead: connections to it end.
    End(M),
}

/// The choices of one endpoint. After each mutation [`Balancer::poll_event`] is drained; [`Balancer::handle_timeout`] gives the members
/// to probe, and what each probe found comes back by [`Balancer::handle_probe`].
///
/// Who is chosen from is usually a node and its port ([`Member`]); any name of a place will do.
#[derive(Debug)]
pub struct Balancer<M = Member> {
    members: BTreeMap<M, Seat>,
    events: VecDeque<Event<M>>,
    used: Option<Instant>,
    /// Counts choices, so that equals take turns.
    turn: u64,
}

#[derive(Debug)]
struct Seat {
    record: Record,
    /// Connections to it.
    open: u64,
    /// The choice by which it was last taken.
    turn: u64,
    /// It was taken out: what it has goes on, and nothing new comes.
    leaving: bool,
}

impl<M> Default for Balancer<M> {
    fn default() -> Self {
        Self {
            members: BTreeMap::new(),
            events: VecDeque::new(),
            used: None,
            turn: 0,
        }
    }
}

impl<M: Ord + Copy> Balancer<M> {
    /// These are the members now. What is known of one that stays is kept; one that goes keeps its connections.
    pub fn set(&mut self, now: Instant, members: &[M]) {
        for (member, seat) in &mut self.members {
            seat.leaving = !members.contains(member);
        }
        self.members.retain(|_, seat| !seat.leaving || seat.open > 0);
        for member in members {
            self.members.entry(*member).or_insert_with(|| Seat {
                record: Record::new(now),
                open: 0,
                turn: 0,
                leaving: false,
            });
        }
    }

    /// Probes begin anew, for what they ask has changed.
    pub fn probe_anew(&mut self, now: Instant) {
        for seat in self.members.values_mut() {
            seat.record.next = Some(now);
        }
    }

    /// The members to try for a new connection, in this order.
    pub fn choose(&mut self, now: Instant) -> Vec<M> {
        self.use_now(now);
        let here = self.members.iter().filter(|(_, seat)| !seat.leaving);
        let mut order: Vec<_> = here.map(|(member, seat)| (seat.rank(now), *member)).collect();
        order.sort();
        order.into_iter().map(|(_, member)| member).collect()
    }

    /// A member took a connection.
    pub fn handle_opened(&mut self, now: Instant, member: M) {
        self.use_now(now);
        self.turn += 1;
        if let Some(seat) = self.members.get_mut(&member) {
            seat.open += 1;
            seat.turn = self.turn;
        }
    }

    /// A connection to a member ended.
    pub fn handle_closed(&mut self, now: Instant, member: M) {
        self.used = Some(now);
        let Some(seat) = self.members.get_mut(&member) else {
            return;
        };
        seat.open = seat.open.saturating_sub(1);
        if seat.leaving && seat.open == 0 {
            self.members.remove(&member);
        }
    }

    /// A member took no connection: it was refused, or nothing came back.
    pub fn handle_failed(&mut self, now: Instant, member: M, refused: bool) {
        let outcome = if refused {
            Outcome::Refused
        } else {
            Outcome::Silent
        };
        // one attempt ends nothing that a probe has not found dead as well
        let doubted = |seat: &Seat| seat.record.health > Health::Unknown;
        if refused || !self.members.get(&member).is_some_and(doubted) {
            self.take(now, member, outcome);
        }
        if let Some(seat) = self.members.get_mut(&member) {
            seat.record.next = seat.record.next.map(|_| now);
        }
    }

    /// A probe ended.
    pub fn handle_probe(&mut self, now: Instant, member: M, outcome: Outcome) {
        self.take(now, member, outcome);
    }

    /// The members to probe now.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<M> {
        let mut due = Vec::new();
        for (member, seat) in self.members.iter_mut().filter(|(_, seat)| !seat.leaving) {
            if seat.record.next.is_some_and(|next| next <= now) {
                seat.record.next = None;
                due.push(*member);
            }
        }
        due
    }

    /// When the next probe begins.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let here = self.members.values().filter(|seat| !seat.leaving);
        here.filter_map(|seat| seat.record.next).min()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event<M>> {
        self.events.pop_front()
    }

    /// How each member is, and how many connections it has.
    pub fn members(&self) -> impl Iterator<Item = (M, Health, u64)> + '_ {
        let seats = self.members.iter();
        seats.map(|(member, seat)| (*member, seat.record.health, seat.open))
    }

    fn take(&mut self, now: Instant, member: M, outcome: Outcome) {
        let every = if self.is_used(now) { EVERY } else { EVERY_IDLE };
        let Some(seat) = self.members.get_mut(&member) else {
            return;
        };
        let from = seat.record.health;
        seat.record.take(now, outcome, every);
        let to = seat.record.health;
        if from != to {
            self.events.push_back(Event::Changed { member, from, to });
        }
        if to == Health::Dead && from != to {
            self.events.push_back(Event::End(member));
        }
    }

    /// A first connection after a while finds what is known grown old: everybody is probed at once.
    fn use_now(&mut self, now: Instant) {
        if !self.is_used(now) {
            for seat in self.members.values_mut() {
                seat.record.next = seat.record.next.map(|_| now);
            }
        }
        self.used = Some(now);
    }

    fn is_used(&self, now: Instant) -> bool {
        let lately = |used: Instant| now.saturating_duration_since(used) < IN_USE;
        self.used.is_some_and(lately) || self.members.values().any(|seat| seat.open > 0)
    }
}

impl Seat {
    /// Lower ones first.
    fn rank(&self, now: Instant) -> (Health, u64, u64) {
        let load = (self.open + 1) * 10_000 / self.record.weight(now);
        (self.record.health, load, self.turn)
    }
}
