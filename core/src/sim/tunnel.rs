//! A toy WireGuard: handshakes with timestamps, sessions that end with the process, each with counters and a replay window,
//! numbered packets. No secrets: what
//! matters here is when packets get through, and what the agent must do so that they do.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::bytes::Reader;
use crate::id::NodeId;
use crate::path::Endpoint;

/// Between initiations (REKEY_TIMEOUT of the WireGuard paper).
const RETRY: Duration = Duration::from_secs(5);
/// Data went out and nothing came: a new handshake (KEEPALIVE_TIMEOUT + REKEY_TIMEOUT).
const NO_ANSWER: Duration = Duration::from_secs(15);
/// Data came and nothing went out: a keepalive.
const KEEPALIVE: Duration = Duration::from_secs(10);
const MAX_QUEUE: usize = 64;
/// What is so far behind the highest counter seen is dropped (boringtun's replay window).
const WINDOW: u64 = 1_024;

/// Sessions kept to receive in (boringtun keeps as many).
const SESSIONS: usize = 8;

/// One session.
struct SessionState {
    id: u64,
    /// The peer is known to have it: packets may be sent in it.
    confirmed: bool,
    sent: u64,
    highest: u64,
    seen: BTreeSet<u64>,
}

impl SessionState {
    /// Whether a counter is new.
    fn accept(&mut self, counter: u64) -> bool {
        self.highest = self.highest.max(counter);
        let oldest = self.highest.saturating_sub(WINDOW - 1);
        while self.seen.first().is_some_and(|first| *first < oldest) {
            self.seen.pop_first();
        }
        counter >= oldest && self.seen.insert(counter)
    }
}

/// What a packet did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A valid initiation: answer with a response to where it came from.
    Initiation { session: u64 },
    /// A valid response: the session is open.
    Response,
    /// A packet that was not seen before; without a number it is a keepalive. The first of a session in which we answered
    /// confirms it: from now on we send in it.
    Data { number: Option<u64>, confirmed: bool },
}

/// What the tunnel wants to be sent.
pub(super) type Packet = Vec<u8>;

/// The tunnel to one peer.
#[derive(Default)]
pub(super) struct Tunnel {
    /// The last few, newest first: to send by the first that is confirmed, to receive by any.
    sessions: VecDeque<SessionState>,
    offered: Option<u64>,
    initiated: Option<Instant>,
    queue: VecDeque<u64>,
    unanswered: Option<Instant>,
    keepalive: Option<Instant>,
    highest_stamp: u64,
    last_sent: Option<Instant>,
}

impl Tunnel {
    /// A numbered packet is to go out; gives it where there is a session, else keeps it.
    pub(super) fn send(&mut self, now: Instant, own: NodeId, number: u64) -> Option<Packet> {
        match self.data(now, own, Some(number)) {
            Some(packet) => {
                self.unanswered.get_or_insert(now);
                self.keepalive = None;
                Some(packet)
            }
            None => {
                if self.queue.len() == MAX_QUEUE {
                    self.queue.pop_front();
                }
                self.queue.push_back(number);
                None
            }
        }
    }

    /// A packet of the present session; without a number it is a keepalive.
    pub(super) fn data(&mut self, now: Instant, own: NodeId, number: Option<u64>) -> Option<Packet> {
        let session = self.sessions.iter_mut().find(|session| session.confirmed)?;
        self.last_sent = Some(now);
        session.sent += 1;
        Some(data(own, session.id, session.sent, number))
    }

    /// When a packet last went out in the present session.
    pub(super) fn last_sent(&self) -> Option<Instant> {
        self.last_sent
            .filter(|_| self.sessions.iter().any(|session| session.confirmed))
    }

    /// Whether packets wait for a session.
    pub(super) fn waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// An initiation, unless one was sent less than five seconds ago and `force` is not set.
    pub(super) fn initiate(
        &mut self,
        now: Instant,
        own: NodeId,
        stamp: u64,
        session: u64,
        force: bool,
    ) -> Option<Packet> {
        let lately = |at: Instant| now.saturating_duration_since(at) < RETRY;
        if self.initiated.is_some_and(lately) && !force {
            return None;
        }
        (self.initiated, self.offered) = (Some(now), Some(session));
        Some([&header(1, own)[..], &session.to_le_bytes(), &stamp.to_le_bytes()].concat())
    }

    /// The packets that waited for the session.
    pub(super) fn flush(&mut self, now: Instant, own: NodeId) -> Vec<Packet> {
        let waiting: Vec<u64> = self.queue.drain(..).collect();
        waiting
            .into_iter()
            .filter_map(|number| self.send(now, own, number))
            .collect()
    }

    /// When [`Self::tick`] is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let retry = self
            .initiated
            .filter(|_| self.offered.is_some())
            .map(|at| at + RETRY);
        let silence = self.unanswered.map(|at| at + NO_ANSWER);
        [retry, silence, self.keepalive].into_iter().flatten().min()
    }

    /// Whether a handshake is due, and a keepalive where that is.
    pub(super) fn tick(&mut self, now: Instant, own: NodeId) -> (bool, Option<Packet>) {
        let retry = self.offered.is_some() && self.initiated.is_some_and(|at| now >= at + RETRY);
        if retry {
            // also where there is no path to send by
            self.initiated = Some(now);
        }
        let silence = self.unanswered.take_if(|at| now >= *at + NO_ANSWER).is_some();
        let due = self.keepalive.take_if(|at| now >= *at).is_some();
        let keepalive = due.then(|| self.data(now, own, None)).flatten();
        (retry || silence, keepalive)
    }

    /// Takes a packet of the peer; none where it is dropped.
    pub(super) fn receive(&mut self, now: Instant, body: &[u8]) -> Option<Heard> {
        let mut r = Reader::new(body);
        match (r.u32()?, r.take::<16>()?) {
            (1, _) => {
                let (session, stamp) = (r.u64()?, r.u64()?);
                if stamp <= self.highest_stamp {
                    return None;
                }
                self.highest_stamp = stamp;
                self.open(session, false);
                Some(Heard::Initiation { session })
            }
            (2, _) => {
                let session = r.u64()?;
                (self.offered == Some(session)).then(|| {
                    self.offered = None;
                    self.open(session, true);
                    Heard::Response
                })
            }
            (4, _) => {
                let (id, counter) = (r.u64()?, r.u64()?);
                let session = self.sessions.iter_mut().find(|session| session.id == id)?;
                session.accept(counter).then_some(())?;
                let confirmed = !std::mem::replace(&mut session.confirmed, true);
                self.unanswered = None;
                let number = r.u64();
                if number.is_some() {
                    self.keepalive.get_or_insert(now + KEEPALIVE);
                }
                Some(Heard::Data { number, confirmed })
            }
            _ => None,
        }
    }

    fn open(&mut self, id: u64, confirmed: bool) {
        if !self.sessions.iter().any(|session| session.id == id) {
            self.sessions.push_front(SessionState {
                id,
                confirmed,
                sent: 0,
                highest: 0,
                seen: BTreeSet::new(),
            });
            self.sessions.truncate(SESSIONS);
        }
        self.unanswered = None;
    }
}

/// The answer to an initiation.
pub(super) fn response(own: NodeId, session: u64) -> Packet {
    [&header(2, own)[..], &session.to_le_bytes()].concat()
}

/// Who claims to have sent a packet.
pub(super) fn sender_of(body: &[u8]) -> Option<NodeId> {
    let mut r = Reader::new(body);
    r.u32()?;
    r.take::<16>().map(NodeId::from_bytes)
}

/// A packet as it goes by `endpoint`.
pub(super) fn framed(endpoint: Endpoint, packet: &[u8]) -> Vec<u8> {
    let mut bytes = endpoint.header().map(Vec::from).unwrap_or_default();
    bytes.extend(packet);
    bytes
}

fn data(own: NodeId, session: u64, counter: u64, number: Option<u64>) -> Packet {
    let number = number.map(u64::to_le_bytes);
    [
        &header(4, own)[..],
        &session.to_le_bytes(),
        &counter.to_le_bytes(),
        number.as_ref().map_or(&[], |bytes| &bytes[..]),
    ]
    .concat()
}

fn header(kind: u32, own: NodeId) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&kind.to_le_bytes());
    bytes[4..].copy_from_slice(own.as_bytes());
    bytes
}
