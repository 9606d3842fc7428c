//! Sessions: a random id per ordered pair of members.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rand_core::RngCore;

/// A session unused for this long goes first when room is short.
const UNUSED_S: u32 = 600;

/// Ids are random numbers that the relay draws itself, so they are their own hash: nobody can choose them to collide.
#[derive(Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id;
    }
}

/// One direction between two members.
pub(super) struct Session {
    pub(super) from: u32,
    pub(super) to: u32,
    /// The id of the other direction.
    pub(super) reverse: u64,
    used_s: AtomicU32,
}

impl Session {
    /// Notes the use at `clock` (ns); a store only where the second has changed.
    pub(super) fn used(&self, clock: u64) {
        let second = seconds(clock);
        if self.used_s.load(Relaxed) != second {
            self.used_s.store(second, Relaxed);
        }
    }
}

fn seconds(clock: u64) -> u32 {
    (clock / 1_000_000_000) as u32
}

/// All sessions.
#[derive(Default)]
pub(super) struct Sessions(HashMap<u64, Session, BuildHasherDefault<IdHasher>>);

impl Sessions {
    pub(super) fn get(&self, id: u64) -> Option<&Session> {
        self.0.get(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Opens both directions; gives the id from `from` to `to` and that of the way back.
    pub(super) fn open(&mut self, clock: u64, from: u32, to: u32, rng: &mut impl RngCore) -> (u64, u64) {
        let there = self.fresh_id(rng);
        let used_s = seconds(clock);
        self.0.insert(
            there,
            Session {
                from,
                to,
                reverse: 0,
                used_s: used_s.into(),
            },
        );
        let back = self.fresh_id(rng);
        self.0.insert(
            back,
            Session {
                from: to,
                to: from,
                reverse: there,
                used_s: used_s.into(),
            },
        );
        if let Some(session) = self.0.get_mut(&there) {
            session.reverse = back;
        }
        (there, back)
    }

    fn fresh_id(&self, rng: &mut impl RngCore) -> u64 {
        loop {
            let id = rng.next_u64();
            if id != 0 && !self.0.contains_key(&id) {
                return id;
            }
        }
    }

    /// Removes a session and its opposite; gives their ends.
    pub(super) fn remove_pair(&mut self, id: u64) -> Option<(u32, u32)> {
        let session = self.0.remove(&id)?;
        self.0.remove(&session.reverse);
        Some((session.from, session.to))
    }

    /// One id of each pair of which neither direction was used lately, in ascending order.
    pub(super) fn unused(&self, clock: u64) -> Vec<u64> {
        let now = seconds(clock);
        let idle = |session: &Session| now.saturating_sub(session.used_s.load(Relaxed)) > UNUSED_S;
        let mut ids: Vec<u64> = self
            .0
            .iter()
            .filter(|(id, session)| {
                **id < session.reverse && idle(session) && self.get(session.reverse).is_some_and(idle)
            })
            .map(|(&id, _)| id)
            .collect();
        ids.sort_unstable();
        ids
    }
}
