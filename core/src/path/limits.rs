//! What may be sent to addresses that have not proven themselves (docs/wire.md section 7): nobody can be made a
//! reflector by a member that lies about its addresses.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::id::NodeId;

/// Datagrams to one address a minute.
pub const PER_ADDRESS: usize = 8;
/// Datagrams to all ports of one IP address a minute: several peers may live behind it.
pub const PER_HOST: usize = 64;
/// Datagrams to all such addresses a second.
pub const PER_SECOND: usize = 200;
/// Answers that one peer can cause in ten seconds, so that who plays its packets again from many addresses uses up neither
/// what there is for all peers nor the tables.
pub const PER_PEER: usize = 100;
/// Datagrams of a birthday search a second, of which one runs at a time, to the one IP address that the peer has named;
/// they are not counted with the others.
pub const PER_SECOND_BIRTHDAY: usize = 500;

/// Of each limit, the part that may be used for tries of one's own, in percent; the rest is kept for answers to who shows
/// that it is there: else two nodes that try for long could not hear each other when at last they can.
const TRIES_PERCENT: usize = 75;

const MINUTE_MS: u64 = 60_000;
const SECOND_MS: u64 = 1_000;
const PEER_WINDOW_MS: u64 = 10_000;
/// Room in the tables. Of it, as of all datagrams of a second, answers too may take a part only, so that whoever has answers sent
/// to ever new addresses, one peer or many together, keeps nobody from trying a new one.
const MAX_ADDRESSES: usize = 8192;
const MAX_HOSTS: usize = 8192;
const ANSWERS_PERCENT: usize = 75;

/// Why something is sent to an address that has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It may be the peer's.
    Try,
    /// Something came from it that the peer has sealed.
    Answer,
}

impl Purpose {
    fn share(self, limit: usize) -> usize {
        match self {
            Self::Try => limit * TRIES_PERCENT / 100,
            Self::Answer => limit,
        }
    }

    fn per_second(self) -> usize {
        match self {
            Self::Try => self.share(PER_SECOND),
            Self::Answer => self.room(PER_SECOND),
        }
    }

    fn room(self, limit: usize) -> usize {
        match self {
            Self::Try => limit,
            Self::Answer => limit * ANSWERS_PERCENT / 100,
        }
    }
}

/// A datagram to an address of a peer's that has not answered.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// Whose address it may be.
    pub peer: NodeId,
    /// That address.
    pub to: SocketAddr,
    /// Why it is sent.
    pub purpose: Purpose,
}

/// The times of the last few datagrams, oldest first, in milliseconds.
type Recent = VecDeque<u64>;

/// All limits.
#[derive(Debug)]
pub struct Budget {
    start: Instant,
    /// Answers by peer.
    peers: BTreeMap<NodeId, Recent>,
    addresses: BTreeMap<SocketAddr, Recent>,
    hosts: BTreeMap<IpAddr, Recent>,
    all: Recent,
    /// Of these, tries and answers.
    each: [Recent; 2],
    birthday: Recent,
    swept: u64,
}

impl Budget {
    /// Nothing was sent before `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            start: now,
            peers: BTreeMap::new(),
            addresses: BTreeMap::new(),
            hosts: BTreeMap::new(),
            all: Recent::new(),
            each: [Recent::new(), Recent::new()],
            birthday: Recent::new(),
            swept: 0,
        }
    }

    /// Takes one datagram.
    ///
    /// # Errors
    /// How long to wait where a limit is reached.
    pub fn take(&mut self, now: Instant, charge: Charge) -> Result<(), Duration> {
        let Charge { peer, to, purpose } = charge;
        let clock = now.saturating_duration_since(self.start).as_millis() as u64;
        self.make_room(clock);
        let (address, host) = (self.addresses.get(&to), self.hosts.get(&to.ip()));
        let full = address.is_none() && self.addresses.len() >= purpose.room(MAX_ADDRESSES)
            || host.is_none() && self.hosts.len() >= purpose.room(MAX_HOSTS);
        let answers = self.peers.get(&peer).filter(|_| purpose == Purpose::Answer);
        let wait = [
            wait(answers, clock, PER_PEER, PEER_WINDOW_MS),
            wait(address, clock, purpose.share(PER_ADDRESS), MINUTE_MS),
            wait(host, clock, purpose.share(PER_HOST), MINUTE_MS),
            wait(Some(&self.all), clock, PER_SECOND, SECOND_MS),
            wait(
                Some(&self.each[purpose as usize]),
                clock,
                purpose.per_second(),
                SECOND_MS,
            ),
            if full { SECOND_MS } else { 0 },
        ];
        match wait.into_iter().max() {
            Some(longest) if longest > 0 => Err(Duration::from_millis(longest)),
            _ => {
                if purpose == Purpose::Answer {
                    note(self.peers.entry(peer).or_default(), clock, PER_PEER);
                }
                note(self.addresses.entry(to).or_default(), clock, PER_ADDRESS);
                note(self.hosts.entry(to.ip()).or_default(), clock, PER_HOST);
                note(&mut self.all, clock, PER_SECOND);
                note(&mut self.each[purpose as usize], clock, PER_SECOND);
                Ok(())
            }
        }
    }

    /// Takes one datagram of a birthday search; whether there is one to be had now.
    pub(super) fn take_birthday(&mut self, now: Instant) -> bool {
        let clock = now.saturating_duration_since(self.start).as_millis() as u64;
        let free = wait(Some(&self.birthday), clock, PER_SECOND_BIRTHDAY, SECOND_MS) == 0;
        if free {
            note(&mut self.birthday, clock, PER_SECOND_BIRTHDAY);
        }
        free
    }

    /// Forgets a peer that is none any more.
    pub(super) fn forget(&mut self, peer: NodeId) {
        self.peers.remove(&peer);
    }

    /// Forgets addresses that got nothing for a minute, once there is no more room for answers and at most once a second.
    fn make_room(&mut self, clock: u64) {
        let room = |limit| Purpose::Answer.room(limit);
        let full = self.addresses.len() >= room(MAX_ADDRESSES) || self.hosts.len() >= room(MAX_HOSTS);
        if full && clock >= self.swept + SECOND_MS {
            self.swept = clock;
            let lately = |recent: &Recent| recent.back().is_some_and(|last| clock <= last + MINUTE_MS);
            self.addresses.retain(|_, recent| lately(recent));
            self.hosts.retain(|_, recent| lately(recent));
        }
    }
}

/// Milliseconds until one more is allowed.
fn wait(recent: Option<&Recent>, clock: u64, limit: usize, window: u64) -> u64 {
    let Some(recent) = recent else { return 0 };
    let blocking = recent.len().checked_sub(limit).and_then(|at| recent.get(at));
    blocking.map_or(0, |then| (then + window + 1).saturating_sub(clock))
}

fn note(recent: &mut Recent, clock: u64, limit: usize) {
    if recent.len() >= limit {
        recent.pop_front();
    }
    recent.push_back(clock);
}
