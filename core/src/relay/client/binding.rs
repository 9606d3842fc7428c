//! The binding of this node's address at the relay: asked for, renewed, doubted, lost.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::RngCore;

use crate::relay::frame::{Cookie, Nonce};

/// A quarter of the lifetime, so that three losses in a row cost nothing.
const RENEW_EVERY: Duration = Duration::from_secs(15);
/// Three quarters of the lifetime, where nobody is expected to call and the relay need only be known.
const RENEW_FAR_EVERY: Duration = Duration::from_secs(45);
/// A NAT that has forgotten us by the next renewal gets them more often, down to this.
const RENEW_AT_LEAST_EVERY: Duration = Duration::from_secs(5);
/// Waits between requests without an answer; the last one repeats. Three misses take one second.
const BACKOFF_MS: [u64; 8] = [250, 250, 500, 1_000, 2_000, 4_000, 8_000, 15_000];
/// Misses after which the relay counts as lost.
const LOST_AFTER: usize = 3;
/// While somebody wants the relay, it is asked at least this often.
const WANTED_EVERY: Duration = Duration::from_secs(1);
const WANTED_FOR: Duration = Duration::from_secs(10);
/// A sign of life this fresh is enough.
const FRESH: Duration = Duration::from_millis(500);
/// A refusal starts at most this many attempts.
const REBIND_EVERY: Duration = Duration::from_millis(100);
/// Cookies that one attempt follows at once; further ones wait for their turn.
const MAX_COOKIES: u8 = 3;
/// Requests whose answer is still welcome.
const MAX_ASKED: usize = 16;

/// A bind request to be sent.
pub(super) struct Request {
    pub(super) to: SocketAddr,
    pub(super) nonce: Nonce,
    pub(super) cookie: Cookie,
}

/// A bind request that was sent.
pub(super) struct Asked {
    pub(super) to: SocketAddr,
    pub(super) nonce: Nonce,
    pub(super) cookie: Cookie,
    pub(super) sent: Instant,
}

/// Requests under way.
struct Attempt {
    misses: usize,
    next: Instant,
    cookies: u8,
    /// The relay answers, with a refusal.
    refused: bool,
    /// The one address asked, with its cookie; none while all are asked.
    chosen: Option<(SocketAddr, Cookie)>,
    asked: Vec<Asked>,
}

impl Attempt {
    fn new(now: Instant, chosen: Option<(SocketAddr, Cookie)>) -> Self {
        Self {
            misses: 0,
            next: now,
            cookies: 0,
            refused: false,
            chosen,
            asked: Vec::new(),
        }
    }

    fn last_sent(&self) -> Option<Instant> {
        self.asked.last().map(|asked| asked.sent)
    }
}

struct Bound {
    to: SocketAddr,
    cookie: Cookie,
    expires: Instant,
    renew_at: Instant,
    heard: Instant,
}

/// The binding's state.
pub(super) struct Binding {
    bound: Option<Bound>,
    attempt: Option<Attempt>,
    wanted_until: Instant,
    rtt: Option<Duration>,
    renew_every: Duration,
    /// Nobody is expected to call by this relay.
    far: bool,
    seen: Option<SocketAddr>,
}

impl Binding {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            bound: None,
            attempt: Some(Attempt::new(now, None)),
            wanted_until: now,
            rtt: None,
            renew_every: RENEW_EVERY,
            far: false,
            seen: None,
        }
    }

    pub(super) fn bound_to(&self) -> Option<SocketAddr> {
        self.bound.as_ref().map(|bound| bound.to)
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    pub(super) fn is_far(&self) -> bool {
        self.far
    }

    /// Whether renewals may be few. Where they may no longer, one is due soon.
    pub(super) fn set_far(&mut self, now: Instant, far: bool) {
        self.far = far;
        if let Some(bound) = self.bound.as_mut().filter(|_| !far) {
            bound.renew_at = bound.renew_at.min(now + self.renew_every);
        }
    }

    /// A renewal was missed.
    pub(super) fn in_doubt(&self) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.misses > 1)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        match (&self.attempt, &self.bound) {
            (Some(attempt), _) => Some(attempt.next),
            (None, Some(bound)) => Some(bound.renew_at),
            (None, None) => None,
        }
    }

    /// Somebody wants to use the relay: no long waits for the next ten seconds.
    pub(super) fn wanted(&mut self, now: Instant) {
        self.wanted_until = now + WANTED_FOR;
        if let Some(attempt) = &mut self.attempt {
            let soon = attempt.last_sent().map_or(now, |sent| sent + WANTED_EVERY);
            attempt.next = attempt.next.min(soon.max(now));
        }
    }

    /// Something authentic came from the relay.
    pub(super) fn heard(&mut self, now: Instant) {
        if let Some(bound) = &mut self.bound {
            bound.heard = now;
        }
    }

    /// Renews now, unless the relay was heard of just now or is being asked already.
    pub(super) fn check(&mut self, now: Instant) {
        if let (Some(bound), None) = (&self.bound, &self.attempt)
            && now.saturating_duration_since(bound.heard) >= FRESH
        {
            self.attempt = Some(Attempt::new(now, Some((bound.to, bound.cookie))));
        }
    }

    /// The relay says that it does not know us: binds again now.
    pub(super) fn rebind(&mut self, now: Instant) {
        let asked_lately = |attempt: &Attempt| {
            attempt
                .last_sent()
                .is_none_or(|sent| now.saturating_duration_since(sent) < REBIND_EVERY)
        };
        if self.attempt.as_ref().is_some_and(asked_lately) {
            return;
        }
        let chosen = self.bound.as_ref().map(|bound| (bound.to, bound.cookie));
        self.attempt = Some(Attempt::new(now, chosen));
    }

    /// Our address changed: what the relay knows is wrong, and so is the cookie.
    pub(super) fn restart(&mut self, now: Instant) {
        (self.renew_every, self.seen) = (RENEW_EVERY, None);
        self.attempt = Some(Attempt::new(now, None));
    }

    /// The relay says that we are no member: perhaps not yet, so it is asked again, slowly.
    pub(super) fn not_a_member(&mut self, now: Instant) {
        self.bound = None;
        let mut attempt = Attempt::new(now + WANTED_EVERY, None);
        attempt.misses = LOST_AFTER;
        attempt.refused = true;
        self.attempt = Some(attempt);
    }

    /// A way to the relay is gone: bound by it means not bound. Whether that was so.
    pub(super) fn unbind(&mut self, now: Instant, gone: SocketAddr) -> bool {
        let was = self.bound_to() == Some(gone);
        if was {
            self.bound = None;
            self.restart(now);
        }
        was
    }

    /// Three requests stayed without an answer.
    pub(super) fn is_silent(&self) -> bool {
        self.attempt
            .as_ref()
            .is_some_and(|attempt| attempt.misses > LOST_AFTER && !attempt.refused)
    }

    /// Whether a request with this nonce is under way.
    pub(super) fn asked(&self, nonce: Nonce) -> bool {
        self.attempt
            .as_ref()
            .is_some_and(|attempt| attempt.asked.iter().any(|asked| asked.nonce == nonce))
    }

    /// A cookie came: the address that sent it is asked again with it.
    pub(super) fn cookie(&mut self, now: Instant, from: SocketAddr, nonce: Nonce, cookie: Cookie) {
        let Some(attempt) = &mut self.attempt else { return };
        if !attempt
            .asked
            .iter()
            .any(|asked| asked.nonce == nonce && asked.to == from)
        {
            return;
        }
        attempt.chosen = Some((from, cookie));
        if attempt.cookies < MAX_COOKIES {
            attempt.cookies += 1;
            attempt.misses = 0;
            attempt.asked.clear();
            attempt.next = now;
        }
    }

    /// The relay sees us at this address. Where that changed although our network did not, a NAT forgot us between two
    /// renewals: whoever wanted to reach us could not.
    pub(super) fn seen_at(&mut self, seen: SocketAddr) {
        if seen.ip().is_unspecified() || self.far {
            return; // over TLS; or a NAT was given the time to forget us
        }
        if self.seen.replace(seen).is_some_and(|before| before != seen) {
            self.renew_every = (self.renew_every / 2).max(RENEW_AT_LEAST_EVERY);
        }
    }

    /// Bound; gives the round-trip time where a request of ours is answered. `jitter` spreads the renewals.
    pub(super) fn bound(
        &mut self,
        now: Instant,
        from: SocketAddr,
        nonce: Nonce,
        lifetime: Duration,
        jitter: u32,
    ) -> Option<Duration> {
        let attempt = self.attempt.as_mut()?;
        let ours = |asked: &Asked| asked.nonce == nonce && asked.to == from;
        let at = attempt.asked.iter().position(ours)?;
        let asked = attempt.asked.swap_remove(at);
        let rtt = self.settle(now, &asked, lifetime, jitter);
        self.attempt = None;
        Some(rtt)
    }

    /// The answer to this request binds; gives the round-trip time.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        asked: &Asked,
        lifetime: Duration,
        jitter: u32,
    ) -> Duration {
        let rtt = now.saturating_duration_since(asked.sent);
        let renew_in = match self.far {
            true => RENEW_FAR_EVERY.min(lifetime * 3 / 4),
            false => self.renew_every.min(lifetime / 4),
        } - Duration::from_millis(u64::from(jitter % 1500));
        if self.bound_to() != Some(asked.to) {
            self.rtt = None; // of another way
        }
        self.bound = Some(Bound {
            to: asked.to,
            cookie: asked.cookie,
            expires: now + lifetime,
            renew_at: now + renew_in,
            heard: now,
        });
        self.rtt = Some(self.rtt.map_or(rtt, |smoothed| (smoothed * 7 + rtt) / 8));
        rtt
    }

    /// The requests that are due.
    pub(super) fn due(
        &mut self,
        now: Instant,
        addresses: &[SocketAddr],
        rng: &mut impl RngCore,
    ) -> Vec<Request> {
        if let Some(bound) = &self.bound {
            if self.attempt.is_none() && now >= bound.renew_at {
                self.attempt = Some(Attempt::new(now, Some((bound.to, bound.cookie))));
            }
            if now >= bound.expires {
                self.bound = None;
            }
        }
        let wanted = now < self.wanted_until;
        let Some(attempt) = self.attempt.as_mut().filter(|attempt| now >= attempt.next) else {
            return Vec::new();
        };
        if attempt.misses >= LOST_AFTER {
            self.bound = None;
            attempt.chosen = None;
        }
        let mut wait = Duration::from_millis(BACKOFF_MS[attempt.misses.min(BACKOFF_MS.len() - 1)]);
        if wanted {
            wait = wait.min(WANTED_EVERY);
        }
        attempt.next = now + wait + wait * (rng.next_u32() % 64) / 512;
        attempt.misses += 1;
        attempt.ask(now, addresses, rng)
    }
}

impl Attempt {
    fn ask(&mut self, now: Instant, addresses: &[SocketAddr], rng: &mut impl RngCore) -> Vec<Request> {
        let all = addresses.iter().map(|&to| (to, [0; 16]));
        let targets = self.chosen.map_or_else(|| all.collect(), |chosen| vec![chosen]);
        let mut requests = Vec::with_capacity(targets.len());
        for (to, cookie) in targets {
            let mut nonce = [0; 8];
            rng.fill_bytes(&mut nonce);
            if self.asked.len() == MAX_ASKED {
                self.asked.remove(0);
            }
            self.asked.push(Asked {
                to,
                nonce,
                cookie,
                sent: now,
            });
            requests.push(Request { to, nonce, cookie });
        }
        requests
    }
}
