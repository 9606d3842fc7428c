//! How large a datagram may be on one way: measured with padded pings, since nothing else can be relied on
//! (RFC 8899: what comes through came through; ICMP may be forged or missing).
//!
//! 1. One ping of the largest size that the tunnel can need. It comes back on most ways, and that is all.
//! 2. If not, up to eight sizes at once between the smallest that every way should carry and that one, and a small ping, which
//!    tells a way that carries nothing from one that is narrow. Then as many between the two that differ, until the answer is
//!    exact to [`STEP`]. What was found so far counts at once, so that packets get through after the first round.
//! 3. Now and then, at once when the way falls silent, and four times a second where much goes by it, a ping of the size that was
//!    found: if that one is lost, step 2. Silence alone would not do: of many flows the small ones are answered as ever.
//! 4. Every ten minutes, step 1: the way may have become wider.
//!
//! A datagram that was lost by chance makes nothing smaller: the size that worked is asked for thrice before it is given up,
//! and an answer that comes late counts too.

use std::time::{Duration, Instant};

use super::discovery::PING_LEN;

/// Sizes differ by this, since WireGuard pads to it.
pub(super) const STEP: u16 = 16;
/// What every way should carry: UDP in the smallest IPv6 packet (RFC 8200 section 5).
const FLOOR: u16 = 1_280 - 48;
/// Sizes asked for at once.
const AT_ONCE: u16 = 8;
/// Between two checks that the size still works.
const CHECK_EVERY: Duration = Duration::from_secs(10);
/// The same where much goes by the way: a narrower one is found before TCP has waited for long.
const BUSY_CHECK_EVERY: Duration = Duration::from_millis(250);
/// The same where there is a reason to.
const SUSPECT_EVERY: Duration = Duration::from_secs(1);
/// Between two tries of more than what works (RFC 8899 section 5.1.1, PMTU_RAISE_TIMER).
const RAISE_EVERY: Duration = Duration::from_secs(600);
/// The same where nothing came back at all.
const RETRY_EVERY: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was asked.
    New,
    /// One datagram of this size is under way.
    Asking { size: u16, until: Instant },
    /// Several are under way, the smallest first; `heard`: the small ping came back.
    Searching {
        sizes: Vec<u16>,
        found: Option<u16>,
        heard: bool,
        until: Instant,
    },
    /// The answer is known; when it is to be checked.
    Settled { check: Instant },
}

/// The search on one way.
#[derive(Clone, Debug)]
pub struct MtuSearch {
    want: u16,
    result: Option<u16>,
    state: State,
    suspected: Option<Instant>,
    raise: Option<Instant>,
}

impl MtuSearch {
    /// For datagrams of at most `want` bytes of UDP payload.
    pub fn new(want: u16) -> Self {
        Self {
            want,
            result: None,
            state: State::New,
            suspected: None,
            raise: None,
        }
    }

    /// The largest datagram known to come through, in bytes of UDP payload; none where nothing is known yet.
    pub fn result(&self) -> Option<u16> {
        self.result
    }

    /// Whether no ping is under way or due at once.
    pub fn is_settled(&self) -> bool {
        matches!(self.state, State::Settled { .. })
    }

    /// The way may have changed: measures anew from the top.
    pub fn begin_anew(&mut self) {
        self.state = State::New;
    }

    /// The way is silent, or something was too large for it: checks now what was found, once a second at most.
    pub fn suspect(&mut self, now: Instant) {
        let lately = |at: Instant| now.saturating_duration_since(at) < SUSPECT_EVERY;
        if let State::Settled { check } = &mut self.state
            && !self.suspected.is_some_and(lately)
        {
            self.suspected = Some(now);
            *check = now;
        }
    }

    /// Much goes by the way: what was found is checked within a quarter of a second.
    pub fn busy(&mut self, now: Instant) {
        if let State::Settled { check } = &mut self.state {
            *check = (*check).min(now + BUSY_CHECK_EVERY);
        }
    }

    /// When [`Self::due`] has something to do.
    pub fn next(&self, now: Instant) -> Instant {
        match &self.state {
            State::New => now,
            State::Asking { until, .. } | State::Searching { until, .. } => *until,
            State::Settled { check } => *check,
        }
    }

    /// The sizes of the pings that are to be sent now. An answer is waited for as long as `patience`.
    pub fn due(&mut self, now: Instant, patience: Duration) -> Vec<u16> {
        if now < self.next(now) {
            return Vec::new();
        }
        match &self.state {
            State::New => self.ask(now, patience, self.want),
            State::Settled { .. } => {
                let raise = self.raise.is_none_or(|at| now >= at);
                let size = self.result.filter(|_| !raise).unwrap_or(self.want);
                self.ask(now, patience, size)
            }
            State::Asking { size, .. } => {
                let top = *size;
                let mut sizes = self.between(None, top);
                sizes.extend([top, top]);
                self.search(now, patience, sizes)
            }
            State::Searching {
                sizes, found, heard, ..
            } => {
                let (sizes, found, heard) = (sizes.clone(), *found, *heard);
                self.end_round(now, patience, &sizes, found, heard)
            }
        }
    }

    /// A ping of `size` bytes came back; whether the result is another one now.
    pub fn answered(&mut self, now: Instant, size: u16) -> bool {
        let before = self.result;
        match &mut self.state {
            State::Asking { size: asked, .. } if size >= *asked => self.settle(now, Some(size)),
            State::Searching {
                sizes, found, heard, ..
            } => {
                *heard = true;
                if size > PING_LEN as u16 {
                    *found = (*found).max(Some(size));
                }
                if sizes.last().is_some_and(|top| size >= *top) {
                    self.settle(now, Some(size));
                }
            }
            State::Settled { .. } if self.result.is_some_and(|result| size > result) => {
                self.settle(now, Some(size));
            }
            _ => {}
        }
        self.result != before
    }

    fn ask(&mut self, now: Instant, patience: Duration, size: u16) -> Vec<u16> {
        if size >= self.want {
            self.raise = Some(now + RAISE_EVERY);
        }
        self.state = State::Asking {
            size,
            until: now + patience,
        };
        vec![size]
    }

    fn search(&mut self, now: Instant, patience: Duration, sizes: Vec<u16>) -> Vec<u16> {
        let mut asked = vec![PING_LEN as u16];
        asked.extend(&sizes);
        self.state = State::Searching {
            sizes,
            found: None,
            heard: false,
            until: now + patience,
        };
        asked
    }

    /// A round is over: what came through is the result so far, and the next round looks between that and what did not.
    fn end_round(
        &mut self,
        now: Instant,
        patience: Duration,
        sizes: &[u16],
        found: Option<u16>,
        heard: bool,
    ) -> Vec<u16> {
        if !heard {
            // the way carries nothing at present, which says nothing of its size
            self.state = State::Settled {
                check: now + RETRY_EVERY,
            };
            return Vec::new();
        }
        let narrow = self.narrower(sizes, found);
        let above = sizes.iter().copied().find(|size| *size > narrow);
        self.result = Some(narrow);
        match above {
            Some(above) if above - narrow > STEP => {
                let sizes = self.between(Some(narrow), above);
                self.search(now, patience, sizes)
            }
            _ => {
                self.settle(now, Some(narrow));
                Vec::new()
            }
        }
    }

    /// The largest size that came through in a round; where none did, what the round before had found, else the floor.
    fn narrower(&self, sizes: &[u16], found: Option<u16>) -> u16 {
        let lower = self
            .result
            .filter(|result| sizes.first().is_some_and(|first| result < first));
        found.or(lower).unwrap_or(self.floor())
    }

    fn settle(&mut self, now: Instant, result: Option<u16>) {
        self.result = result;
        self.state = State::Settled {
            check: now + CHECK_EVERY,
        };
    }

    /// The smallest size that is asked for.
    fn floor(&self) -> u16 {
        let steps = self.want.saturating_sub(FLOOR).div_ceil(STEP);
        self.want - steps * STEP
    }

    /// At most [`AT_ONCE`] sizes above `low`, or from the floor on, and below `high`, evenly spread.
    fn between(&self, low: Option<u16>, high: u16) -> Vec<u16> {
        let first = low.map_or(self.floor(), |low| low + STEP);
        let steps = high.saturating_sub(first).div_ceil(STEP);
        let stride = steps.div_ceil(AT_ONCE).max(1);
        (0..steps)
            .step_by(usize::from(stride))
            .map(|step| first + step * STEP)
            .collect()
    }
}
