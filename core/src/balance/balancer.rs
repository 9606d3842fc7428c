//! To which member a connection goes: to one that is ready, of those to the one with the fewest connections for its share, of those in turn.
//! Nobody is ever left out altogether: where none is ready the others are tried, the likeliest first.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::health::{EVERY, EVERY_IDLE, Health, Outcome, Record};
use crate::statement::Member;

/// Who looks so much later than it wanted to was not awake.
const ASLEEP: Duration = Duration::from_millis(500);
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
    /// A member is lost, and another is heard: connections to it end.
    End(M),
}

/// What a member is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// How it is: what comes of it goes to [`Balancer::handle_probe`].
    Probe,
    /// Whether its machine lives, while its program takes its time with the probe under way. An answer of whatever kind goes to
    /// [`Balancer::handle_heard`], and none to nobody.
    Touch,
}

/// The choices of one endpoint. After each mutation [`Balancer::poll_event`] is drained; [`Balancer::handle_timeout`] gives the members
/// to probe, and what each probe found comes back by [`Balancer::handle_probe`]. Before it [`Balancer::handle_heard`] is told what else
/// came from members' machines, where that is known.
///
/// Who is chosen from is usually a node and its port ([`Member`]); any name of a place will do.
#[derive(Debug)]
pub struct Balancer<M = Member> {
    members: BTreeMap<M, Seat>,
    events: VecDeque<Event<M>>,
    used: Option<Instant>,
    /// Counts choices, so that equals take turns.
    turn: u64,
    /// When it was last looked what is due.
    looked: Option<Instant>,
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
    /// Connections to it were ended since it was last heard.
    ended: bool,
}

impl<M> Default for Balancer<M> {
    fn default() -> Self {
        Self {
            members: BTreeMap::new(),
            events: VecDeque::new(),
            used: None,
            turn: 0,
            looked: None,
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
                ended: false,
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
            seat.record.heard(now);
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
        let Some(seat) = self.members.get(&member) else {
            return;
        };
        // one attempt ends nothing that a probe has not found dead as well
        let (doubted, asking) = (seat.record.health > Health::Unknown, seat.record.next.is_none());
        if refused || !doubted {
            self.take(now, member, outcome);
        }
        if let Some(seat) = self.members.get_mut(&member) {
            seat.record.next = (!asking).then_some(now);
        }
    }

    /// A probe ended.
    pub fn handle_probe(&mut self, now: Instant, member: M, outcome: Outcome) {
        self.take(now, member, outcome);
        self.end_lost(now);
    }

    /// Something came from a member's machine at this time, whatever it was.
    pub fn handle_heard(&mut self, member: M, at: Instant) {
        if let Some(seat) = self.members.get_mut(&member) {
            seat.record.heard(at);
        }
    }

    /// To a member's machine and back it took so long; a time in which its program has a part does not count.
    pub fn handle_round_trip(&mut self, member: M, took: Duration) {
        if let Some(seat) = self.members.get_mut(&member) {
            seat.record.took(took);
        }
    }

    /// How long a member's machine may take to answer a probe that asks for no more, such as one for a connection.
    pub fn patience(&self, member: M) -> Duration {
        let seat = self.members.get(&member);
        seat.map_or(Duration::ZERO, |seat| seat.record.patience())
    }

    /// The members to ask now.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<(M, Ask)> {
        // who slept heard nothing in the meantime, and that says nothing of members
        if self.poll_timeout().is_some_and(|due| now > due + ASLEEP) {
            for seat in self.members.values_mut() {
                seat.record.excuse(now);
            }
        }
        let mut due = Vec::new();
        for (member, seat) in &mut self.members {
            let from = seat.record.health;
            seat.record.judge(now);
            self.events.extend(changed(*member, from, seat.record.health));
            if !seat.leaving && seat.record.next.is_some_and(|next| next <= now) {
                seat.record.ask(now);
                due.push((*member, Ask::Probe));
            }
            if seat.record.next_touch().is_some_and(|next| next <= now) {
                seat.record.touch(now);
                due.push((*member, Ask::Touch));
            }
        }
        self.end_lost(now);
        self.looked = Some(now);
        due
    }

    /// When the next question is due, or a member that is silent is judged.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let looked = self.looked;
        let seats = self.members.values();
        let times = seats.flat_map(|seat| {
            let judgement = looked.and_then(|looked| seat.record.next_judgement(looked));
            let next = seat.record.next.filter(|_| !seat.leaving);
            [next, seat.record.next_touch(), judgement]
        });
        times.flatten().min()
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
        self.events.extend(changed(member, from, seat.record.health));
    }

    /// Connections to members that are lost end, where somebody else is heard to whom their clients can come back. Where nobody is it is
    /// this node that is cut off, and connections go on when it no longer is.
    fn end_lost(&mut self, now: Instant) {
        let lost = |seat: &Seat| seat.record.is_lost(now);
        let to_end = |seat: &Seat| {
            let mut others = self.members.values().filter(|seat| !seat.leaving && !lost(seat));
            !seat.ended && lost(seat) && others.any(|other| seat.record.is_outlived_by(&other.record, now))
        };
        let ends = self.members.iter().filter(|(_, seat)| to_end(seat));
        let ends: Vec<M> = ends.map(|(member, _)| *member).collect();
        self.events.extend(ends.iter().copied().map(Event::End));
        for (member, seat) in &mut self.members {
            seat.ended = lost(seat) && (seat.ended || ends.contains(member));
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

fn changed<M>(member: M, from: Health, to: Health) -> Option<Event<M>> {
    (from != to).then_some(Event::Changed { member, from, to })
}

impl Seat {
    /// Lower ones first.
    fn rank(&self, now: Instant) -> (Health, u64, u64) {
        let load = (self.open + 1) * 10_000 / self.record.weight(now);
        (self.record.health, load, self.turn)
    }
}
