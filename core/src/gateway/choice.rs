//! Which of several gateways a range's packets go to, as one node sees it.
//!
//! Each gateway of such a range is asked whether it serves it ([`super::probe`]): often while packets go there, seldom
//! otherwise, so that an idle node stays idle. One that leaves [`UNANSWERED`] questions in a row without an answer, and from
//! which nothing else comes either, is taken for dead; one that says that it does not serve the range (its LAN's cable is
//! out) is left at once. The first in order that is well is used; where none is, those that did not serve the range when they were
//! last asked are asked again at once, for that was perhaps before they had begun.
//!
//! The way back is slower: a better gateway must have been well for [`WELL_FOR`]. Connections through a masquerading gateway
//! cannot go on through another one, so these are waited for, but for no longer than [`PATIENCE`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::{Member, Range};
use crate::id::NodeId;

/// Between questions to the gateway in use while packets go there: with [`UNANSWERED`] a dead one is left within 2 s, a
/// second before the bar.
const EVERY: Duration = Duration::from_millis(400);
/// Between questions to the others meanwhile.
const EVERY_SPARE: Duration = Duration::from_secs(2);
/// Between questions while no packets go.
const EVERY_IDLE: Duration = Duration::from_secs(20);
/// The fifth question after the last sign of life makes it dead: four went unanswered, the first of them for 1.6 s.
const UNANSWERED: u32 = 5;
/// A range is in use for so long after its last packet.
const IN_USE: Duration = Duration::from_secs(10);
/// A better gateway must have been well for so long.
const WELL_FOR: Duration = Duration::from_secs(10);
/// Without packets for so long, connections through a masquerading gateway count as ended.
const QUIET: Duration = Duration::from_secs(5);
/// After so long the better gateway is used even so.
const PATIENCE: Duration = Duration::from_secs(600);

/// The choices of one node. After each mutation [`Choices::poll_change`] is drained; [`Choices::handle_timeout`] gives the questions to ask.
#[derive(Debug, Default)]
pub struct Choices {
    ranges: BTreeMap<IpNet, Choice>,
    changed: bool,
}

#[derive(Debug)]
struct Choice {
    members: Vec<(Member, Health)>,
    current: usize,
    used: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Health {
    next: Option<Instant>,
    unanswered: u32,
    /// It said that it does not serve the range.
    declined: bool,
    /// Since when it has been well.
    well_since: Option<Instant>,
}

impl Health {
    fn is_well(&self) -> bool {
        !self.declined && self.unanswered < UNANSWERED
    }
}

impl Choices {
    /// These are the ranges now; what is known of a gateway that stays is kept.
    pub fn set(&mut self, now: Instant, ranges: &[Range]) {
        let mut before = std::mem::take(&mut self.ranges);
        for range in ranges {
            let old = before.remove(&range.prefix);
            self.ranges
                .insert(range.prefix, Choice::new(now, range, old.as_ref()));
        }
    }

    /// The gateway in use.
    pub fn of(&self, prefix: &IpNet) -> Option<NodeId> {
        let choice = self.ranges.get(prefix)?;
        choice.members.get(choice.current).map(|(member, _)| member.node)
    }

    /// Whether the gateway in use is well, as far as is known.
    pub fn is_well(&self, prefix: &IpNet) -> bool {
        let choice = self.ranges.get(prefix);
        choice.is_some_and(|choice| {
            choice
                .members
                .get(choice.current)
                .is_some_and(|(_, health)| health.is_well())
        })
    }

    /// A gateway answered whether it serves a range.
    pub fn handle_answer(&mut self, now: Instant, node: NodeId, prefix: &IpNet, serves: bool) {
        if let Some(health) = self.ranges.get_mut(prefix).and_then(|choice| choice.health(node)) {
            health.declined = !serves;
            health.sign_of_life(now);
            if !serves {
                health.well_since = None;
            }
        }
        if !serves && self.of(prefix) == Some(node) {
            self.ranges
                .values_mut()
                .for_each(|choice| choice.look_for_others(now, node));
        }
        self.choose(now);
    }

    /// A node says that it goes: it serves nothing until it answers again that it does.
    pub fn handle_goodbye(&mut self, now: Instant, node: NodeId) {
        for choice in self.ranges.values_mut() {
            choice.look_for_others(now, node);
            if let Some(health) = choice.health(node) {
                health.declined = true;
                health.well_since = None;
            }
        }
        self.choose(now);
    }

    /// Something authentic came from a node.
    pub fn handle_received(&mut self, now: Instant, node: NodeId) {
        let healths = self.ranges.values_mut().filter_map(|choice| choice.health(node));
        healths.for_each(|health| health.sign_of_life(now));
    }

    /// Packets went to a node.
    pub fn handle_traffic(&mut self, now: Instant, node: NodeId) {
        for choice in self.ranges.values_mut() {
            if choice.members.len() > 1 && choice.in_use() == Some(node) {
                choice.use_now(now);
            }
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let several = self.ranges.values().filter(|choice| choice.members.len() > 1);
        several
            .flat_map(|choice| choice.members.iter().filter_map(|(_, health)| health.next))
            .min()
    }

    /// Does what is due; gives the questions to ask now.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<(NodeId, IpNet)> {
        let mut questions = Vec::new();
        for (prefix, choice) in self
            .ranges
            .iter_mut()
            .filter(|(_, choice)| choice.members.len() > 1)
        {
            let (current, used) = (choice.current, choice.is_used(now));
            let mut died = None;
            for (place, (member, health)) in choice.members.iter_mut().enumerate() {
                if health.next.is_none_or(|next| next <= now) {
                    health.ask(now + interval(used, place == current));
                    questions.push((member.node, *prefix));
                    died = died.or((health.unanswered == UNANSWERED).then_some(member.node));
                }
            }
            died.into_iter()
                .for_each(|node| choice.look_for_others(now, node));
        }
        self.choose(now);
        questions
    }

    /// Whether a choice changed since this was last asked.
    pub fn poll_change(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    fn choose(&mut self, now: Instant) {
        for choice in self.ranges.values_mut() {
            let best = choice.best(now);
            if best != choice.current {
                choice.current = best;
                self.changed = true;
                if choice.is_used(now) {
                    choice.use_now(now);
                }
            }
        }
    }
}

impl Choice {
    fn new(now: Instant, range: &Range, old: Option<&Self>) -> Self {
        let known = |member: &Member| {
            let health = old.and_then(|old| old.members.iter().find(|(held, _)| held.node == member.node));
            let fresh = Health {
                next: Some(now),
                ..Health::default()
            };
            health.map_or(fresh, |(_, health)| *health)
        };
        let members: Vec<_> = range.members.iter().map(|m| (m.clone(), known(m))).collect();
        let stays = old.and_then(Self::in_use);
        let place = members.iter().position(|(member, _)| Some(member.node) == stays);
        let mut choice = Self {
            members,
            current: place.unwrap_or(0),
            used: old.and_then(|old| old.used),
        };
        if place.is_none() {
            choice.current = choice.best(now);
        }
        choice
    }

    fn in_use(&self) -> Option<NodeId> {
        self.members.get(self.current).map(|(member, _)| member.node)
    }

    fn health(&mut self, node: NodeId) -> Option<&mut Health> {
        let found = self.members.iter_mut().find(|(member, _)| member.node == node);
        found.map(|(_, health)| health)
    }

    /// The gateway in use is about to be left, if it is this one: others that are not well are asked soon.
    fn look_for_others(&mut self, now: Instant, node: NodeId) {
        if self.in_use() != Some(node) {
            return;
        }
        let others = self.members.iter_mut().filter(|(member, _)| member.node != node);
        for (_, health) in others.filter(|(_, health)| !health.is_well()) {
            health.next = Some(now);
        }
    }

    fn is_used(&self, now: Instant) -> bool {
        self.used
            .is_some_and(|used| now.saturating_duration_since(used) < IN_USE)
    }

    fn use_now(&mut self, now: Instant) {
        self.used = Some(now);
        for (place, (_, health)) in self.members.iter_mut().enumerate() {
            let soon = now + interval(true, place == self.current);
            health.next = health.next.map(|next| next.min(soon));
        }
    }

    /// The place of the gateway to use.
    fn best(&self, now: Instant) -> usize {
        let first_well = self.members.iter().position(|(_, health)| health.is_well());
        let Some((current, _)) = self
            .members
            .get(self.current)
            .filter(|(_, health)| health.is_well())
        else {
            return first_well.unwrap_or(self.current);
        };
        let ripe = self.members.iter().take(self.current).position(|(_, health)| {
            let well_for = health
                .well_since
                .map(|since| now.saturating_duration_since(since));
            let quiet = self
                .used
                .is_none_or(|used| now.saturating_duration_since(used) > QUIET);
            health.is_well()
                && well_for
                    .is_some_and(|well| well >= WELL_FOR && (!current.nat || quiet || well >= PATIENCE))
        });
        ripe.unwrap_or(self.current)
    }
}

impl Health {
    fn sign_of_life(&mut self, now: Instant) {
        self.unanswered = 0;
        if !self.declined {
            self.well_since.get_or_insert(now);
        }
    }

    fn ask(&mut self, next: Instant) {
        // The question before this one may still be answered; those before it may not.
        self.unanswered = self.unanswered.saturating_add(1);
        if !self.is_well() {
            self.well_since = None;
        }
        self.next = Some(next);
    }
}

fn interval(used: bool, current: bool) -> Duration {
    match (used, current) {
        (true, true) => EVERY,
        (true, false) => EVERY_SPARE,
        (false, _) => EVERY_IDLE,
    }
}
