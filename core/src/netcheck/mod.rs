//! What is between this node and the internet, measured by asking relays (RFC 5780 section 4, over the relays' own STUN).
//!
//! # What is asked
//! 1. One socket asks every relay address and port: is there UDP, and IPv6; where is the socket seen; is that the same
//!    everywhere (mapping); how do ports follow one another (allocation).
//! 2. A fresh socket each asks a relay to answer from its other port, and from its other address where it has one: what
//!    comes in tells the filtering. Fresh, because what was sent before opens doors.
//! 3. Two sockets learn where they are seen, and one sends to the other's outside address: a hairpin.
//!
//! With one relay address only dependence on the port can be seen. What that cannot tell is `Unknown`, never a guess.
//!
//! # What it may do to others
//! Everything goes to relay addresses but step 3, whose target is what relays said: at most [`HAIRPIN_TRIES`] datagrams
//! of 44 bytes, and only where every relay named the same IP address. So a relay that lies buys nobody a flood.
//!
//! # How it is driven
//! [`Netcheck::new`], then: send what [`Netcheck::poll_transmit`] gives, each by the socket of that number (the driver
//! opens it, on a port of its own, when it is first named); hand in what comes; wait until [`Netcheck::poll_timeout`];
//! until [`Netcheck::report`] gives something. It takes at most three seconds.

mod hairpin;
mod judge;
mod question;
mod report;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

use crate::id::RelayId;
use crate::stun::{self, Change};

use hairpin::Hairpin;
use question::Question;

pub use hairpin::HAIRPIN_TRIES;
pub use report::{Observer, RelaySeen, Report};

/// Observers asked at most.
const MAX_OBSERVERS: usize = 32;
/// Everything is over by then.
const AT_MOST: Duration = Duration::from_secs(3);

/// One of the sockets of a check, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketNumber(pub u8);

impl SocketNumber {
    /// IPv4, asks everybody.
    pub const MAPPING: Self = Self(0);
    /// IPv6, asks everybody.
    pub const MAPPING_V6: Self = Self(1);
    const OTHER_PORT: Self = Self(2);
    const OTHER_ADDRESS: Self = Self(3);
    const HAIRPIN_FROM: Self = Self(4);
    const HAIRPIN_TO: Self = Self(5);

    /// How many there are.
    pub const COUNT: usize = 6;

    /// Whether it is an IPv6 socket.
    pub fn is_ipv6(self) -> bool {
        self == Self::MAPPING_V6
    }
}

/// A datagram to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// By which socket.
    pub socket: SocketNumber,
    /// Where to.
    pub to: SocketAddr,
    /// The whole datagram.
    pub bytes: Vec<u8>,
}

/// A check under way.
pub struct Netcheck {
    observers: Vec<Observer>,
    own: Vec<IpAddr>,
    questions: Vec<Question>,
    hairpin: Hairpin,
    followed_up: bool,
    ends: Instant,
    transmits: VecDeque<Transmit>,
    rng: ChaCha20Rng,
}

impl Netcheck {
    /// Begins to ask `observers`, in this order: relays' addresses and ports. `own` are the addresses of this machine, by
    /// which a node without a NAT is known.
    pub fn new(now: Instant, mut observers: Vec<Observer>, own: Vec<IpAddr>, seed: [u8; 32]) -> Self {
        observers.truncate(MAX_OBSERVERS);
        let mut check = Self {
            observers,
            own,
            questions: Vec::new(),
            hairpin: Hairpin::default(),
            followed_up: false,
            ends: now + AT_MOST,
            transmits: VecDeque::new(),
            rng: ChaCha20Rng::from_seed(seed),
        };
        for address in check
            .observers
            .iter()
            .map(|observer| observer.address)
            .collect::<Vec<_>>()
        {
            let socket = match address.is_ipv6() {
                true => SocketNumber::MAPPING_V6,
                false => SocketNumber::MAPPING,
            };
            check.ask(now, socket, address, Change::default());
        }
        check.handle_timeout(now);
        check
    }

    fn ask(&mut self, now: Instant, socket: SocketNumber, to: SocketAddr, change: Change) {
        let transaction = self.random();
        self.questions
            .push(Question::new(now, socket, to, change, transaction));
    }

    fn random(&mut self) -> [u8; 12] {
        let mut transaction = [0; 12];
        self.rng.fill_bytes(&mut transaction);
        transaction
    }

    /// A datagram came to one of the sockets. `local_port` is that socket's own.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        (socket, local_port): (SocketNumber, u16),
        from: SocketAddr,
        bytes: &[u8],
    ) {
        if socket == SocketNumber::HAIRPIN_TO {
            self.hairpin.came(bytes);
        }
        if let Some((transaction, seen)) = stun::parse_answer(bytes) {
            let asked = |question: &&mut Question| question.is(socket, transaction);
            if let Some(question) = self.questions.iter_mut().find(asked) {
                question.answered(now, from, seen, local_port);
            }
        }
        self.handle_timeout(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.followed_up && self.basics_known(now) {
            self.followed_up = true;
            self.follow_up(now);
        }
        for question in &mut self.questions {
            if question.is_due(now) {
                let bytes = question.send(now);
                self.transmits.push_back(Transmit {
                    socket: question.socket,
                    to: question.to,
                    bytes,
                });
            }
        }
        self.try_hairpin(now);
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Instant {
        let due = self.questions.iter().filter_map(Question::next).min();
        [due, self.hairpin.next()]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(self.ends)
            .min(self.ends)
    }

    /// What was found; none while it goes on.
    pub fn report(&self, now: Instant) -> Option<Report> {
        let open = self.questions.iter().any(|question| question.is_open(now)) || self.hairpin.is_open(now);
        let over = self.followed_up && !open || now >= self.ends;
        over.then(|| judge::report(&self.observers, &self.own, &self.questions, &self.hairpin))
    }

    /// Whether the mapping questions are answered, or long enough ago.
    fn basics_known(&self, now: Instant) -> bool {
        self.questions.iter().all(|question| !question.is_open(now))
            || self.questions.iter().any(|question| question.waited_long(now))
    }

    /// Steps 2 and 3, by an IPv4 observer that has answered.
    fn follow_up(&mut self, now: Instant) {
        let answered =
            |question: &&Question| question.socket == SocketNumber::MAPPING && question.seen().is_some();
        let Some(asked) = self.questions.iter().find(answered).map(|question| question.to) else {
            return;
        };
        let relay = self.observers.iter().find(|observer| observer.address == asked);
        let relay: Option<RelayId> = relay.map(|observer| observer.relay);
        let of_relay = |observer: &&Observer| Some(observer.relay) == relay && observer.address.is_ipv4();
        let others: Vec<SocketAddr> = self
            .observers
            .iter()
            .filter(of_relay)
            .map(|known| known.address)
            .collect();
        let other_port = others
            .iter()
            .any(|other| other.ip() == asked.ip() && other.port() != asked.port());
        let other_address = others.iter().any(|other| other.ip() != asked.ip());
        if other_port {
            self.ask(
                now,
                SocketNumber::OTHER_PORT,
                asked,
                Change {
                    ip: false,
                    port: true,
                },
            );
        }
        if other_address {
            self.ask(
                now,
                SocketNumber::OTHER_ADDRESS,
                asked,
                Change { ip: true, port: true },
            );
        }
        self.ask(now, SocketNumber::HAIRPIN_FROM, asked, Change::default());
        self.ask(now, SocketNumber::HAIRPIN_TO, asked, Change::default());
    }

    /// Sends to our own outside address, once it is known and nobody contradicts it.
    fn try_hairpin(&mut self, now: Instant) {
        let seen = |socket: SocketNumber| {
            let of = |question: &&Question| question.socket == socket;
            self.questions.iter().find(of).and_then(Question::seen)
        };
        let (from, to) = (seen(SocketNumber::HAIRPIN_FROM), seen(SocketNumber::HAIRPIN_TO));
        let (Some(_), Some(to)) = (from, to) else {
            return;
        };
        let mapped = self
            .questions
            .iter()
            .filter(|question| !question.socket.is_ipv6());
        let mut agreed = mapped.filter_map(Question::seen).map(|seen| seen.ip());
        if self.own.contains(&to.ip()) || !agreed.all(|ip| ip == to.ip()) {
            return;
        }
        let transaction = self.random();
        if let Some(bytes) = self.hairpin.send(now, transaction) {
            let socket = SocketNumber::HAIRPIN_FROM;
            self.transmits.push_back(Transmit { socket, to, bytes });
        }
    }
}
