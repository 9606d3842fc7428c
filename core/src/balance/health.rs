//! How a member of an endpoint is, by what probes, connections and its machine's packets say.
//!
//! Two things are told apart: that a machine is silent, and that a program on it takes its time. A question that nothing answers, while
//! nothing else comes from that machine either, makes a member doubted after [`LATE`] and dead after [`SILENCE`], both longer by some round
//! trips; connections to it end then, so that their clients come back and reach another. A machine that is heard, and whose program
//! does not answer, is asked after others (`hanging`), and keeps its connections much longer: it may be busy. One that refuses, or says that it is
//! not ready, gets no new connections while another is ready, and keeps those that it has: so does an API server that shuts down.
//! Who comes back must be ready twice in a row, and is given connections little by little.

use std::time::{Duration, Instant};

/// Between probes of a member while its endpoint is in use. With [`SILENCE`] less than 3 s, the bar.
pub const EVERY: Duration = Duration::from_millis(800);
/// Between probes while nobody uses the endpoint.
pub const EVERY_IDLE: Duration = Duration::from_secs(10);
/// After an answer that changes something, or a failure, the next probe comes sooner.
const AGAIN: Duration = Duration::from_millis(300);
/// After a probe that was silent it comes at once: a lost packet shall not look like death.
const AT_ONCE: Duration = Duration::from_millis(20);
/// A machine that is silent for so long, and two round trips, after it was asked is doubted.
const LATE: Duration = Duration::from_millis(400);
/// A machine that is silent for so long, and four round trips, after it was asked is dead. A path that dies is replaced by another within
/// 1 s, and what was lost on it is sent again: that must not look like death.
const SILENCE: Duration = Duration::from_millis(1_500);
/// A program that does not answer for so long, on a machine that is heard, hangs.
const HANGS: Duration = Duration::from_secs(3);
/// One that hangs for so long does not come back to its connections.
const HANGS_FOR_GOOD: Duration = Duration::from_secs(15);
/// Longest round trip that is reckoned with.
const FARTHEST: Duration = Duration::from_secs(1);
/// A round trip that nobody measured yet.
const UNMEASURED: Duration = Duration::from_millis(250);
/// A question waits for its answer twice as long as the one before it that had none, and no longer than this.
const LONGEST_PATIENCE: Duration = Duration::from_secs(3);
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
    /// Its machine is heard, and it does not answer.
    Hanging,
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
            Self::Hanging => "hanging",
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
    /// Probes in a row to which there was no answer.
    vain: u32,
    /// When the oldest probe began to which there was no answer yet.
    asked: Option<Instant>,
    /// When its machine was asked for something to which nothing came from it yet.
    owed: Option<Instant>,
    /// When its machine was last asked.
    questioned: Instant,
    /// When something last came from its machine.
    heard: Option<Instant>,
    /// When something last came from it while it counted as dead.
    returned: Option<Instant>,
    /// To its machine and back, smoothed.
    round_trip: Option<Duration>,
    /// Since when it is back.
    back: Option<Instant>,
}

impl Record {
    pub fn new(now: Instant) -> Self {
        Self {
            health: Health::Unknown,
            next: Some(now),
            good: 0,
            vain: 0,
            asked: None,
            owed: None,
            questioned: now,
            heard: None,
            returned: None,
            round_trip: None,
            back: None,
        }
    }

    /// A probe begins.
    pub fn ask(&mut self, now: Instant) {
        self.next = None;
        self.asked.get_or_insert(now);
        self.touch(now);
    }

    /// Its machine is asked for a sign of life.
    pub fn touch(&mut self, now: Instant) {
        self.owed.get_or_insert(now);
        self.questioned = now;
    }

    /// When its machine should be asked for a sign of life, since its program does not answer the probe under way.
    pub fn next_touch(&self) -> Option<Instant> {
        let waits = self.next.is_none() && self.owed.is_none();
        waits.then_some(self.questioned + EVERY)
    }

    /// Something came from its machine.
    pub fn heard(&mut self, at: Instant) {
        self.heard = self.heard.max(Some(at));
        if self.health == Health::Dead {
            self.returned = self.returned.max(Some(at));
        }
        self.owed = self.owed.filter(|owed| *owed > at);
    }

    /// So long it took to its machine and back.
    pub fn took(&mut self, round_trip: Duration) {
        let now = round_trip.min(FARTHEST);
        let smoothed = |before: Duration| (before * 7 + now) / 8;
        self.round_trip = Some(self.round_trip.map_or(now, smoothed));
    }

    /// This node was not awake: nobody is to be blamed for that.
    pub fn excuse(&mut self, now: Instant) {
        (self.asked, self.owed) = (self.asked.map(|_| now), self.owed.map(|_| now));
    }

    /// How long a question of the machine itself waits for its answer.
    pub fn patience(&self) -> Duration {
        (self.late() * (1 << self.vain.min(3))).min(LONGEST_PATIENCE)
    }

    fn late(&self) -> Duration {
        LATE + 2 * self.round_trip.unwrap_or(UNMEASURED)
    }

    fn silence(&self) -> Duration {
        SILENCE + 4 * self.round_trip.unwrap_or(UNMEASURED)
    }

    /// Whether its machine was heard at `since` or later.
    fn is_heard_since(&self, since: Instant) -> bool {
        self.heard.is_some_and(|heard| heard >= since)
    }

    /// Whether, of two members, this one is gone and the other is not: while this one was silent something came from the other. Where
    /// the other was silent itself and returned, this one gets the time in which it, too, must have been asked again: it may be our own
    /// uplink that was away.
    pub fn is_outlived_by(&self, other: &Self, now: Instant) -> bool {
        let Some(since) = self.silent_since().filter(|since| other.is_heard_since(*since)) else {
            return false;
        };
        if self.health == Health::Hanging {
            return true;
        }
        let returned = other.returned.filter(|returned| *returned >= since);
        now >= since + self.silence()
            && returned.is_none_or(|returned| now >= returned + LONGEST_PATIENCE + self.silence())
    }

    /// Since when its machine owes an answer.
    fn silent_since(&self) -> Option<Instant> {
        self.asked
            .map(|asked| self.heard.map_or(asked, |heard| heard.max(asked)))
    }

    /// Whether connections to it have no use any more.
    pub fn is_lost(&self, now: Instant) -> bool {
        let for_good = |asked: Instant| now >= asked + HANGS_FOR_GOOD;
        match self.health {
            Health::Dead => true,
            Health::Hanging => self.asked.is_some_and(for_good),
            _ => false,
        }
    }

    /// Judges by what did not come.
    pub fn judge(&mut self, now: Instant) {
        let after = |since: Option<Instant>, time: Duration| since.is_some_and(|since| now >= since + time);
        if after(self.owed, self.silence()) {
            self.health = Health::Dead;
        } else if self.health < Health::Hanging && after(self.asked, HANGS) {
            self.health = Health::Hanging;
        } else if self.health < Health::Doubtful && after(self.owed, self.late()) {
            self.health = Health::Doubtful;
        }
    }

    /// When [`Self::judge`] finds something else, if nothing comes.
    pub fn next_judgement(&self, now: Instant) -> Option<Instant> {
        let at =
            |wanted: bool, since: Option<Instant>, time: Duration| Some(since.filter(|_| wanted)? + time);
        let health = self.health;
        let all = [
            at(health != Health::Dead, self.owed, self.silence()),
            at(health < Health::Hanging, self.asked, HANGS),
            at(health < Health::Doubtful, self.owed, self.late()),
            at(health == Health::Hanging, self.asked, HANGS_FOR_GOOD),
        ];
        all.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// What was found; `every` is the time to the next probe where nothing is in doubt.
    pub fn take(&mut self, now: Instant, outcome: Outcome, every: Duration) {
        let before = self.health;
        if outcome == Outcome::Silent {
            self.vain += 1;
        } else {
            (self.asked, self.owed, self.vain) = (None, None, 0);
            self.heard(now);
        }
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
            (Outcome::Silent, Health::Ready | Health::Unknown) => Health::Doubtful,
            (Outcome::Silent, before) => before,
        };
        let settled = match self.health {
            Health::Ready => before == Health::Ready,
            Health::Dead | Health::NotReady | Health::Refusing | Health::Hanging => {
                self.good == 0 && before == self.health
            }
            Health::Unknown | Health::Doubtful => false,
        };
        self.next = Some(match (settled, outcome) {
            (true, _) => now + every,
            // but not again and again where this machine has no way there
            (false, Outcome::Silent) => (now + AT_ONCE).max(self.questioned + AGAIN),
            (false, _) => now + AGAIN.min(every),
        });
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
