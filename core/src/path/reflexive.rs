//! The node's own addresses as others see them: from relays that bind it, and from STUN.
//!
//! STUN goes to every address of every relay at start and on each network change: all families, and a second observer
//! where a relay has two ports. After that the bindings, renewed every 15 s, tell of changes.
//!
//! Until an observer answers, what was seen before counts, of an earlier life too where the node's own addresses are the
//! same: a node that told others its host addresses alone, and lost power in that moment, or whose relay did, would leave
//! everybody with a record by which nobody finds it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

use crate::nat::may_be_seen;
use crate::stun;

use super::{Destination, Transmit};

/// Observers asked, and remembered.
const MAX_OBSERVERS: usize = 16;
const RETRY_MS: [u64; 3] = [500, 1_000, 2_000];

struct Question {
    transaction: [u8; 12],
    tries: usize,
    next: Instant,
}

/// What is new of where an observer sees us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// We are seen at an IP address at which nobody saw us.
    Address,
    /// We are seen at another port.
    Port,
}

/// What an answer to a question of ours came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It says what is known.
    Old,
    /// It says something new.
    New(SocketAddr, News),
    /// It names an address at which no node can be: it is as if it had not come.
    Implausible,
}

/// What observers said, and who is being asked.
#[derive(Default)]
pub(super) struct Reflexive {
    seen: BTreeMap<SocketAddr, SocketAddr>,
    /// What was seen before; of each IP version until an observer says something.
    remembered: Vec<SocketAddr>,
    asking: BTreeMap<SocketAddr, Question>,
}

impl Reflexive {
    /// Asks `observers` anew. What was seen before counts until one answers where `still_here`, else it is forgotten.
    pub(super) fn restart(
        &mut self,
        now: Instant,
        still_here: bool,
        observers: impl Iterator<Item = SocketAddr>,
        rng: &mut ChaCha20Rng,
    ) {
        if still_here {
            self.remembered = self.addresses().collect();
        } else {
            self.remembered.clear();
        }
        self.seen.clear();
        self.asking.clear();
        for observer in observers.take(MAX_OBSERVERS) {
            let mut transaction = [0; 12];
            rng.fill_bytes(&mut transaction);
            self.asking.insert(
                observer,
                Question {
                    transaction,
                    tries: 0,
                    next: now,
                },
            );
        }
    }

    /// Takes addresses at which this node was seen in an earlier life.
    pub(super) fn remember(&mut self, addresses: impl Iterator<Item = SocketAddr>) {
        let known = |address: &SocketAddr| self.seen.values().any(|seen| seen.is_ipv4() == address.is_ipv4());
        self.remembered = addresses
            .filter(|address| may_be_seen(*address) && !known(address))
            .take(MAX_OBSERVERS)
            .collect();
    }

    /// Each address seen, once.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        let seen = self.seen.values().chain(&self.remembered);
        let mut addresses: Vec<SocketAddr> = seen.copied().collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.into_iter()
    }

    /// Whether this observer has said where it sees us.
    pub(super) fn knows(&self, observer: SocketAddr) -> bool {
        self.seen.contains_key(&observer)
    }

    /// An observer sees us at `address`; what of that is news.
    pub(super) fn saw(&mut self, observer: SocketAddr, address: SocketAddr) -> Option<News> {
        self.asking.remove(&observer);
        if self.seen.len() >= MAX_OBSERVERS && !self.seen.contains_key(&observer) {
            return None;
        }
        let known = self.seen.values().any(|seen| seen.ip() == address.ip());
        self.remembered
            .retain(|before| before.is_ipv4() != address.is_ipv4());
        let changed = self.seen.insert(observer, address) != Some(address);
        changed.then_some(if known { News::Port } else { News::Address })
    }

    /// Takes a STUN answer; none where it answers no question of ours.
    pub(super) fn handle_answer(&mut self, from: SocketAddr, datagram: &[u8]) -> Option<Answer> {
        let (transaction, address) = stun::parse_answer(datagram)?;
        self.asking
            .get(&from)
            .filter(|question| question.transaction == transaction)?;
        if !may_be_seen(address) {
            return Some(Answer::Implausible);
        }
        let news = self.saw(from, address);
        Some(news.map_or(Answer::Old, |news| Answer::New(address, news)))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.asking.values().map(|question| question.next).min()
    }

    /// The requests that are due.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<Transmit> {
        self.asking
            .retain(|_, question| question.tries < RETRY_MS.len() || now < question.next);
        let due = self
            .asking
            .iter_mut()
            .filter(|(_, question)| now >= question.next);
        due.map(|(&observer, question)| {
            question.next = now + Duration::from_millis(RETRY_MS[question.tries]);
            question.tries += 1;
            let bytes = stun::binding_request(question.transaction);
            Transmit {
                to: Destination::Socket(observer.into()),
                ttl: None,
                bytes,
            }
        })
        .collect()
    }
}
