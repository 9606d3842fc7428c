//! A toy WireGuard: handshakes with timestamps, sessions that end with the process, numbered packets. No secrets: what
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

/// What a packet did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A valid initiation: answer with a response to where it came from.
    Initiation { session: u64 },
    /// A valid response: the session is open.
    Response,
    /// A number that was not seen before; none in a keepalive.
    Data { number: Option<u64> },
}

/// What the tunnel wants to be sent.
pub(super) type Packet = Vec<u8>;

/// The tunnel to one peer.
#[derive(Default)]
pub(super) struct Tunnel {
    /// The last three, newest first: to send by the first, to receive by any.
    sessions: VecDeque<u64>,
    offered: Option<u64>,
    initiated: Option<Instant>,
    queue: VecDeque<u64>,
    unanswered: Option<Instant>,
    keepalive: Option<Instant>,
    highest_stamp: u64,
    seen: BTreeSet<u64>,
}

impl Tunnel {
    /// A numbered packet is to go out; gives it where there is a session, else keeps it.
    pub(super) fn send(&mut self, now: Instant, own: NodeId, number: u64) -> Option<Packet> {
        match self.sessions.front().copied() {
            Some(session) => {
                self.unanswered.get_or_insert(now);
                self.keepalive = None;
                Some(data(own, session, Some(number)))
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
        let keepalive = self
            .keepalive
            .take_if(|at| now >= *at)
            .and(self.sessions.front().copied());
        (
            retry || silence,
            keepalive.map(|session| data(own, session, None)),
        )
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
                self.open(session);
                Some(Heard::Initiation { session })
            }
            (2, _) => {
                let session = r.u64()?;
                (self.offered == Some(session)).then(|| {
                    self.offered = None;
                    self.open(session);
                    Heard::Response
                })
            }
            (4, _) => {
                self.sessions.contains(&r.u64()?).then_some(())?;
                self.unanswered = None;
                let number = r.u64().filter(|number| self.seen.insert(*number));
                if number.is_some() {
                    self.keepalive.get_or_insert(now + KEEPALIVE);
                }
                Some(Heard::Data { number })
            }
            _ => None,
        }
    }

    fn open(&mut self, session: u64) {
        if !self.sessions.contains(&session) {
            self.sessions.push_front(session);
            self.sessions.truncate(3);
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

fn data(own: NodeId, session: u64, number: Option<u64>) -> Packet {
    let number = number.map(u64::to_le_bytes);
    [
        &header(4, own)[..],
        &session.to_le_bytes(),
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
