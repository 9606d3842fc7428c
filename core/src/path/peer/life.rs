//! Which life of the peer we talk to, and which messages of it we have seen.

use std::time::{Duration, Instant};

use crate::id::BootNonce;
use crate::path::discovery::Address;
use crate::path::window::Window;

/// A message of an unknown life is followed up at most this often.
const CHALLENGE_EVERY: Duration = Duration::from_secs(1);
/// A peer that is forgotten and added again must not use its sequence numbers twice; it starts at the seconds since our
/// start times this, which is faster than it ever counts.
const SEQUENCES_PER_SECOND: u64 = 32;

/// The peer's present life, and ours towards it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    boot: Option<BootNonce>,
    window: Window,
    sequence: u32,
    challenged: Option<Instant>,
}

/// What a pong told about the peer's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lesson {
    /// Nothing new.
    Same,
    /// Its first life that we see.
    First,
    /// Another life than before.
    Restarted,
}

impl Life {
    pub(super) fn new(since_start: Duration) -> Self {
        let sequence = (since_start.as_secs() * SEQUENCES_PER_SECOND) as u32;
        Self {
            boot: None,
            window: Window::default(),
            sequence,
            challenged: None,
        }
    }

    /// The last sequence number used.
    pub(super) fn sequence(&self) -> u32 {
        self.sequence
    }

    /// A fresh sequence number.
    pub(super) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Learns from a pong to a ping of ours.
    pub(super) fn learn(&mut self, boot: BootNonce, sequence: u32) -> Lesson {
        match self.boot.replace(boot) {
            Some(known) if known == boot => Lesson::Same,
            known => {
                self.window = Window::after(sequence);
                if known.is_some() {
                    Lesson::Restarted
                } else {
                    Lesson::First
                }
            }
        }
    }

    /// Whether a ping is of the present life; if so, whether it was not seen before.
    pub(super) fn accept(&mut self, boot: BootNonce, sequence: u32) -> Option<bool> {
        (self.boot == Some(boot)).then(|| self.window.accept(sequence))
    }

    /// As [`Self::accept`] for a message that also names our life.
    pub(super) fn accept_addressed(&mut self, own: BootNonce, address: Address) -> Option<bool> {
        if address.to != own {
            return None;
        }
        self.accept(address.from, address.sequence)
    }

    /// Whether the peer's present life is known.
    pub(super) fn is_known(&self) -> bool {
        self.boot.is_some()
    }

    /// How to address a message to the peer's present life.
    pub(super) fn address(&mut self, own: BootNonce) -> Option<Address> {
        let to = self.boot?;
        Some(Address {
            to,
            from: own,
            sequence: self.next_sequence(),
        })
    }

    /// Whether a message of an unknown life may be followed up by a ping now.
    pub(super) fn may_challenge(&mut self, now: Instant) -> bool {
        let free = self
            .challenged
            .is_none_or(|last| now.saturating_duration_since(last) >= CHALLENGE_EVERY);
        if free {
            self.challenged = Some(now);
        }
        free
    }
}
