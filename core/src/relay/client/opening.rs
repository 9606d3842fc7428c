//! Sessions: which there are, and which are being asked for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand_core::RngCore;

use crate::id::NodeId;
use crate::relay::frame::Nonce;

/// Waits between requests without an answer; the last one repeats.
const BACKOFF_MS: [u64; 6] = [200, 200, 400, 800, 1_600, 2_000];
/// How long a session is asked for after it was last wanted.
const ASK_FOR: Duration = Duration::from_secs(10);

struct Opening {
    /// One nonce for all tries: a late answer to an early one is as good.
    nonce: Option<Nonce>,
    tries: usize,
    next: Instant,
    until: Instant,
}

/// All sessions of one node at one relay.
#[derive(Default)]
pub(super) struct Openings {
    sessions: BTreeMap<NodeId, u64>,
    peers: BTreeMap<u64, NodeId>,
    asking: BTreeMap<NodeId, Opening>,
}

impl Openings {
    pub(super) fn session(&self, peer: NodeId) -> Option<u64> {
        self.sessions.get(&peer).copied()
    }

    pub(super) fn peer_of(&self, session: u64) -> Option<NodeId> {
        self.peers.get(&session).copied()
    }

    /// The peer of the request that has this nonce.
    pub(super) fn asked(&self, nonce: Nonce) -> Option<NodeId> {
        self.asking
            .iter()
            .find(|(_, opening)| opening.nonce == Some(nonce))
            .map(|(&peer, _)| peer)
    }

    pub(super) fn want(&mut self, now: Instant, peer: NodeId) {
        if self.sessions.contains_key(&peer) {
            return;
        }
        let until = now + ASK_FOR;
        let fresh = Opening {
            nonce: None,
            tries: 0,
            next: now,
            until,
        };
        self.asking.entry(peer).or_insert(fresh).until = until;
    }

    pub(super) fn opened(&mut self, nonce: Nonce, peer: NodeId, session: u64) -> bool {
        if self
            .asking
            .get(&peer)
            .is_none_or(|opening| opening.nonce != Some(nonce))
        {
            return false;
        }
        self.forget(peer);
        self.sessions.insert(peer, session);
        self.peers.insert(session, peer);
        true
    }

    /// The relay no longer knows the session: asks for a new one.
    pub(super) fn lost(&mut self, now: Instant, peer: NodeId) {
        self.forget(peer);
        self.want(now, peer);
    }

    pub(super) fn forget(&mut self, peer: NodeId) {
        self.asking.remove(&peer);
        if let Some(session) = self.sessions.remove(&peer) {
            self.peers.remove(&session);
        }
    }

    /// The node was bound just now: what was refused or never sent is sent now.
    pub(super) fn retry_now(&mut self, now: Instant) {
        for opening in self.asking.values_mut() {
            (opening.tries, opening.next) = (0, now);
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.asking.values().map(|opening| opening.next).min()
    }

    /// The requests that are due: for whom, under which nonce.
    pub(super) fn due(&mut self, now: Instant, rng: &mut impl RngCore) -> Vec<(NodeId, Nonce)> {
        self.asking
            .retain(|_, opening| opening.next > now || opening.until > now);
        let due = self.asking.iter_mut().filter(|(_, opening)| opening.next <= now);
        due.map(|(&peer, opening)| {
            let nonce = *opening.nonce.get_or_insert_with(|| rng.next_u64().to_le_bytes());
            opening.next = now + Duration::from_millis(BACKOFF_MS[opening.tries.min(BACKOFF_MS.len() - 1)]);
            opening.tries += 1;
            (peer, nonce)
        })
        .collect()
    }
}
