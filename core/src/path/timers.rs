//! When each peer is due: one time per peer, so that an idle one has none and nobody is walked through.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::id::NodeId;

/// When each peer is due.
#[derive(Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Instant, NodeId)>,
    of: BTreeMap<NodeId, Instant>,
}

impl Timers {
    pub(super) fn set(&mut self, peer: NodeId, due: Option<Instant>) {
        let before = match due {
            Some(due) => self.of.insert(peer, due),
            None => self.of.remove(&peer),
        };
        if before != due {
            before.map(|before| self.queue.remove(&(before, peer)));
            due.map(|due| self.queue.insert((due, peer)));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(due, _)| *due)
    }

    pub(super) fn due(&self, now: Instant) -> Vec<NodeId> {
        self.queue
            .iter()
            .take_while(|(due, _)| *due <= now)
            .map(|(_, peer)| *peer)
            .collect()
    }
}
