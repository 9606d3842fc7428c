//! Step 3: who is out, for good.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Judge;
use crate::id::NodeId;
use crate::map::acts::Effects;
use crate::map::chain::Verdicts;
use crate::map::network_map::Entries;
use crate::map::{Body, Cause, Death, Entry, EntryKey, Memory};
use crate::statement::{Departure, Signed};

impl Judge<'_> {
    /// Step 3, first part: departures that are proven, or may be once their node is known.
    pub(super) fn hear_departures(&mut self, entries: &Entries) {
        let mut room = self.memory.room_for_unproven();
        for (key, entry) in entries {
            let Body::Departure(departure) = entry.body() else {
                continue;
            };
            let Departure { node, network, .. } = *departure.value();
            if network != self.network || self.memory.departures.contains_key(key) {
                continue;
            }
            if self.memory.nodes.contains_key(&node) {
                if departed(self.memory, self.verdicts, *key, departure) {
                    self.memory.note_departure(*key, departure);
                } else {
                    self.refuse(node, Cause::FalseDeparture);
                }
            } else if room > 0 {
                room -= 1;
                self.memory.note_departure(*key, departure);
            }
        }
        let mut left = Vec::new();
        for (key, departure) in &self.memory.departures {
            let node = departure.value().node;
            if self.memory.is_alive(node) && departed(self.memory, self.verdicts, *key, departure) {
                left.push(node);
            }
        }
        left.into_iter()
            .for_each(|node| self.memory.note_death(node, Death::Departed));
    }

    /// Step 3, second part: who is out, by acts and by being replaced.
    pub(super) fn bury(&mut self, effects: &Effects, genuine: &[Arc<Entry>]) {
        let dying: Vec<_> = (self.memory.nodes.iter())
            .filter_map(|(node, held)| Some((*node, effects.death_of(*node, held.token)?)))
            .collect();
        dying
            .into_iter()
            .for_each(|(node, death)| self.memory.note_death(node, death));
        let mut replaced = Vec::new();
        for node in genuine.iter().filter_map(|entry| entry.as_node()) {
            let enrolment = node.enrolment.value();
            let delegation = self.memory.delegation(enrolment.token);
            let Some(old) = delegation.and_then(|delegation| delegation.fixed.replaces) else {
                continue;
            };
            let waits =
                delegation.is_some_and(|d| d.terms.approval) && !effects.approved.contains(&enrolment.node);
            let dead = !self.memory.is_alive(enrolment.node);
            if old != enrolment.node && !waits && !dead {
                replaced.push((old, Death::ReplacedBy(enrolment.node)));
            }
        }
        replaced
            .into_iter()
            .for_each(|(node, death)| self.memory.note_death(node, death));
    }

    /// Says so where the map lacks the proof of a removal that this node has.
    pub(super) fn miss_removals(&mut self, entries: &Entries, effects: &Effects) {
        let acts = self
            .memory
            .acts
            .iter()
            .filter(|((_, key), _)| !entries.contains_key(key));
        let mut missed: BTreeSet<(NodeId, Death)> = BTreeSet::new();
        for (_, act) in acts {
            missed.extend(effects.removals_by(act.value(), self.memory));
        }
        for (key, departure) in &self.memory.departures {
            let node = departure.value().node;
            let left = self.memory.death(node) == Some(Death::Departed);
            if left && !entries.contains_key(key) {
                missed.insert((node, Death::Departed));
            }
        }
        for (node, death) in missed {
            self.refuse(node, Cause::RemovalOmitted(death));
        }
    }
}

/// Whether a departure is its node's own.
fn departed(memory: &Memory, verdicts: &mut Verdicts, key: EntryKey, departure: &Signed<Departure>) -> bool {
    let Some(held) = memory.nodes.get(&departure.value().node) else {
        return false;
    };
    let verify = || {
        departure
            .verify(&held.identity)
            .map(drop)
            .map_err(|_| Cause::FalseDeparture)
    };
    verdicts.on(key, &held.identity, verify).is_ok()
}
