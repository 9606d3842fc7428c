//! The relay over TLS, for where UDP is blocked: when it is wanted, and how the way back to UDP is found.
//!
//! The driver holds the TLS connection behind an address of its own on loopback (the *carrier*), so that to this client
//! it is one more address of the relay. It is wanted once three requests over UDP stayed without an answer, and no
//! longer once UDP has carried the binding for a while. Bound over it, the client asks the UDP addresses now and then:
//! a cookie that comes back shows that UDP works in both directions, and the binding moves there.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::RngCore;

use crate::relay::frame::{Cookie, Nonce};

use super::binding::{Asked, Request};

/// How long UDP has to carry the binding before the carrier is let go: one renewal answered.
const LINGER: Duration = Duration::from_secs(20);
/// Waits between looks whether UDP works again; the last one repeats.
const LOOK_AFTER_S: [u64; 5] = [2, 5, 10, 15, 30];
/// Questions whose answer is still welcome: two rounds of four addresses, and the one with a cookie.
const MAX_ASKED: usize = 9;

/// The carrier of one relay, and the looks for UDP.
#[derive(Default)]
pub(super) struct OverTls {
    address: Option<SocketAddr>,
    wanted: bool,
    let_go_at: Option<Instant>,
    looks: usize,
    look_at: Option<Instant>,
    asked: Vec<Asked>,
}

impl OverTls {
    /// Where the carrier is; none while there is none that works.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    pub(super) fn set_address(&mut self, address: Option<SocketAddr>) {
        self.address = address;
    }

    /// UDP stays silent. Whether that is news.
    pub(super) fn want(&mut self) -> bool {
        self.let_go_at = None;
        !std::mem::replace(&mut self.wanted, true)
    }

    /// The node is bound at `to`.
    pub(super) fn bound(&mut self, now: Instant, to: SocketAddr) {
        if self.address == Some(to) {
            self.let_go_at = None;
            if self.look_at.is_none() {
                self.look_again(now);
            }
        } else {
            self.stop_looking();
            if self.wanted || self.address.is_some() {
                self.let_go_at.get_or_insert(now + LINGER);
            }
        }
    }

    /// Whether the carrier is no longer wanted, told once.
    pub(super) fn lets_go(&mut self, now: Instant) -> bool {
        let due = self.let_go_at.take_if(|at| now >= *at).is_some();
        self.wanted &= !due;
        due
    }

    /// The network changed, or the binding is lost: UDP is asked anyway.
    pub(super) fn stop_looking(&mut self) {
        self.looks = 0;
        self.look_at = None;
        self.asked.clear();
    }

    fn look_again(&mut self, now: Instant) {
        let wait = LOOK_AFTER_S[self.looks.min(LOOK_AFTER_S.len() - 1)];
        self.looks += 1;
        self.look_at = Some(now + Duration::from_secs(wait));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        [self.look_at, self.let_go_at].into_iter().flatten().min()
    }

    /// The questions that are due.
    pub(super) fn due(&mut self, now: Instant, udp: &[SocketAddr], rng: &mut impl RngCore) -> Vec<Request> {
        if self.look_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        self.look_again(now);
        udp.iter().map(|&to| self.ask(now, to, [0; 16], rng)).collect()
    }

    /// Whether a question with this nonce is under way.
    pub(super) fn asked(&self, nonce: Nonce) -> bool {
        self.asked.iter().any(|asked| asked.nonce == nonce)
    }

    /// A cookie came: where it answers a question of ours, the question that shows it.
    pub(super) fn cookie(
        &mut self,
        now: Instant,
        from: SocketAddr,
        nonce: Nonce,
        cookie: Cookie,
        rng: &mut impl RngCore,
    ) -> Option<Request> {
        let first = |asked: &Asked| asked.nonce == nonce && asked.to == from && asked.cookie == [0; 16];
        self.asked
            .iter()
            .any(first)
            .then(|| self.ask(now, from, cookie, rng))
    }

    /// The question with a cookie that `nonce` answers.
    pub(super) fn answered(&mut self, from: SocketAddr, nonce: Nonce) -> Option<Asked> {
        let ours = |asked: &Asked| asked.nonce == nonce && asked.to == from && asked.cookie != [0; 16];
        let at = self.asked.iter().position(ours)?;
        Some(self.asked.swap_remove(at))
    }

    fn ask(&mut self, now: Instant, to: SocketAddr, cookie: Cookie, rng: &mut impl RngCore) -> Request {
        let mut nonce = [0; 8];
        rng.fill_bytes(&mut nonce);
        if self.asked.len() == MAX_ASKED {
            self.asked.remove(0);
        }
        let sent = now;
        self.asked.push(Asked {
            to,
            nonce,
            cookie,
            sent,
        });
        Request { to, nonce, cookie }
    }
}
