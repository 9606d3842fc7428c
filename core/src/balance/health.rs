//! How a member of an endpoint is, by what probes and connections found.
//!
//! A member that is silent once is doubted: others are asked first, but nothing ends. Silent twice in a row it is dead, and
//! connections to it end, so that their clients come back and reach another. One that refuses, or says that it is not
//! ready, gets no new connections while another is ready, and keeps those that it has: so does an API server that shuts down.
//! Who comes back must be ready twice in a row, and is given connections little by little.

use std::time::{Duration, Instant};

/// Between probes of a member while its endpoint is in use.
pub const EVERY: Duration = Duration::from_secs(1);
/// Between probes while nobody uses the endpoint.
pub const EVERY_IDLE: Duration = Duration::from_secs(10);
/// After an answer that changes something, or a failure, the next probe comes sooner.
const AGAIN: Duration = Duration::from_millis(300);
/// Silent for so many probes in a row, a member is dead.
const SILENT: u32 = 2;
/// Ready so many times in a row, a member is back.
const GOOD: u32 = 2;
/// So long it takes until a member that came back has its full share.
const RISE: Duration = Duration::from_secs(10);
/// The share with which it begins, and the full one.
const WEIGHTS: (u64, u64) = (10, 100);

/// What a probe, or a connection, found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is ready.
    Ready,
    /// It answers that it is not ready.
    NotReady,
    /// The connection was refused.
    Refused,
    /// Nothing came back in time.
    Silent,
}

/// How a member is; the order is that in which members are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// It is ready.
    Ready,
    /// Nobody knows yet.
    Unknown,
    /// It was silent just now.
    Doubtful,
    /// It answers that it is not ready.
    NotReady,
    /// It refuses connections.
    Refusing,
    /// It is silent.
    Dead,
}

impl Health {
    /// A word for people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Unknown => "unknown",
            Self::Doubtful => "doubtful",
            Self::NotReady => "not-ready",
            Self::Refusing => "refusing",
            Self::Dead => "dead",
        }
    }
}

/// What is known of one member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub health: Health,
    /// When the next probe begins; none while one is under way.
    pub next: Option<Instant>,
    good: u32,
    silent: u32,
    /// Since when it is back.
    back: Option<Instant>,
}

impl Record {
    pub fn new(now: Instant) -> Self {
        Self {
            health: Health::Unknown,
            next: Some(now),
            good: 0,
            silent: 0,
            back: None,
        }
    }

    /// What was found; `every` is the time to the next probe where nothing is in doubt.
    pub fn take(&mut self, now: Instant, outcome: Outcome, every: Duration) {
        let before = self.health;
        self.silent = if outcome == Outcome::Silent {
            self.silent + 1
        } else {
            0
        };
        self.good = if outcome == Outcome::Ready {
            self.good + 1
        } else {
            0
        };
        self.health = match (outcome, before) {
            (Outcome::Ready, Health::Ready | Health::Unknown | Health::Doubtful) => Health::Ready,
            (Outcome::Ready, _) if self.good >= GOOD => {
                self.back = Some(now);
                Health::Ready
            }
            (Outcome::Ready, before) => before,
            (Outcome::NotReady, _) => Health::NotReady,
            (Outcome::Refused, _) => Health::Refusing,
            (Outcome::Silent, _) if self.silent >= SILENT => Health::Dead,
            (Outcome::Silent, Health::Ready | Health::Unknown) => Health::Doubtful,
            (Outcome::Silent, before) => before,
        };
        let settled = match self.health {
            Health::Ready => before == Health::Ready,
            Health::Dead | Health::NotReady | Health::Refusing => self.good == 0 && before == self.health,
            Health::Unknown | Health::Doubtful => false,
        };
        self.next = Some(now + if settled { every } else { AGAIN.min(every) });
    }

    /// Its share of new connections, in hundredths.
    pub fn weight(&self, now: Instant) -> u64 {
        let (least, full) = WEIGHTS;
        let Some(back) = self.back else { return full };
        let risen = now.saturating_duration_since(back).as_millis() as u64;
        let rise = RISE.as_millis() as u64;
        least + (full - least) * risen.min(rise) / rise
    }
}
