//! Birthday probing: one side's NAT gives each flow a port that nobody can know, the other's lets in only whom it has sent to.
//!
//! 1. The first opens 256 sockets and sends one primer by each to the address that the other has named: 256 ports of its NAT
//!    now let that address in. The primers end on the way, so that they are no flows yet for the other's NAT.
//! 2. Through the relay it says so. The other pings ports of that NAT, each once in an order without a pattern, until one is
//!    open: with 256 in 64,512, after 250 pings on average (half a second) and within 3 s in 997 of 1,000 cases.
//! 3. The ping that comes through is answered like any other. The socket that it came to stays, the rest are closed.
//! 4. Where nothing has come by then, the first may be behind two NATs, the second of which the primers did not reach: it
//!    primes again, one router further. Not earlier: a Linux router at the other side takes a primer that reaches it for a
//!    flow of its own, gives the searching host another port for that remote, **and from then on for every other**, so that
//!    one such port found spoils the rest of the search.
//!
//! One pair at a time does this, and where another waits for at most six seconds, by when all but one search in thirty has found what can be
//! found (of those behind one NAT all but one in a thousand); at most 500 datagrams a second, and only to an address that the peer itself has named and at
//! which a relay sees it (`vouched.rs`).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::path::discovery::Stage;
use crate::path::shared::Shared;
use crate::path::socket_ids::BIRTHDAY_SOCKETS;
use crate::path::{Endpoint, Method, Remote, SocketId};
use crate::statement::CandidateKind;

use super::Peer;

/// Datagrams at once, and the time to the next: 500 a second; primers are fewer, to leave some for answers.
const BATCH: u16 = 10;
const PRIMER_BATCH: u16 = 8;
const BATCH_EVERY: Duration = Duration::from_millis(20);
/// Batches that a busy computer makes up for at once, where it came late to them.
const MAX_LATE: u16 = 5;
/// The call is repeated, should it be lost or the peer be busy with another search.
const CALL_AGAIN: Duration = Duration::from_secs(1);
/// From the end of the primers to the next ones, which go further.
const FURTHER_AFTER: Duration = Duration::from_secs(3);
/// One peer has us search again after this at the earliest, whatever it says.
const SEARCH_EVERY: Duration = Duration::from_secs(60);
/// Another pair searches: one at a time.
const WAIT_FOR_OTHERS: Duration = Duration::from_millis(250);
/// A search that began so long ago ends where another pair waits for its turn: 0.6 s of primers, 3 s of search, the further primers, 1.7 s.
const TURN: Duration = Duration::from_secs(6);
/// Who waits says so again within this time.
const WANTED_FOR: Duration = Duration::from_millis(1_500);
/// Pings of one search.
const MAX_PROBES: u32 = 4_000;
const FIRST_PORT: u32 = 1_024;
const PORTS: u32 = 65_536 - FIRST_PORT;

/// The side with many sockets.
pub(super) struct Opener {
    first: SocketId,
    target: SocketAddr,
    primed: u16,
    next: Instant,
    /// When primers go further, and how far they go now.
    further: Option<Instant>,
    ttl: u8,
}

impl Opener {
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn sockets(&self) -> (SocketId, u16) {
        (self.first, BIRTHDAY_SOCKETS)
    }

    fn owns(&self, remote: Remote) -> bool {
        let range = self.first.0..self.first.0 + BIRTHDAY_SOCKETS;
        range.contains(&remote.socket.0) && remote.address == self.target
    }
}

/// The side that tries ports.
pub(super) struct Searcher {
    ip: IpAddr,
    port: u32,
    stride: u32,
    left: u32,
    next: Instant,
}

impl Searcher {
    pub(super) fn next(&self) -> Instant {
        self.next
    }
}

impl Peer {
    /// Opens the sockets, if no other pair searches.
    pub(super) fn open_many(&mut self, now: Instant, shared: &mut Shared) {
        self.campaign.open_at = None;
        if self.has_searched(now) {
            return;
        }
        let Some(target) = self.named(now, shared) else {
            self.ask_whereabouts(now, shared);
            self.campaign.open_at = Some(now + WAIT_FOR_OTHERS);
            return;
        };
        if shared.searching.is_some() {
            shared.search_wanted = Some(now);
            self.campaign.open_at = Some(now + WAIT_FOR_OTHERS);
            // it has its time when its turn comes
            self.go_on_searching(now);
            return;
        }
        let Some(first) = shared.open_sockets(self.info.node, BIRTHDAY_SOCKETS, false) else {
            return;
        };
        shared.searching = Some(self.info.node);
        self.campaign.searched = Some(now);
        self.campaign.opener = Some(Opener {
            first,
            target,
            primed: 0,
            next: now,
            further: None,
            ttl: self.primer_ttl(),
        });
    }

    /// The address that the peer has named and that others see: a relay among them.
    fn named(&self, now: Instant, shared: &Shared) -> Option<SocketAddr> {
        let vicinity = shared.vicinity(&self.info.candidates);
        let named = self.directs.iter().filter(|direct| direct.is_named());
        let mut named: Vec<_> = named
            .filter(|direct| direct.remote.address.is_ipv4())
            .filter(|direct| self.campaign.vouched.knows(now, direct.remote.address.ip()))
            .filter(|direct| vicinity.makes_sense(direct.kind, direct.remote.address))
            .collect();
        named.sort_by_key(|direct| direct.kind != CandidateKind::ServerReflexive);
        named.first().map(|direct| direct.remote.address)
    }

    /// Sends the primers that are due, then the call.
    pub(super) fn run_opener(&mut self, now: Instant, shared: &mut Shared) {
        if self.campaign.open_at.is_some_and(|at| now >= at) {
            self.open_many(now, shared);
        }
        let Some(opener) = self.campaign.opener.as_mut().filter(|opener| now >= opener.next) else {
            return;
        };
        if opener.further.is_some_and(|at| now >= at) {
            (opener.primed, opener.ttl, opener.further) = (0, opener.ttl + 1, None);
        }
        if opener.primed == BIRTHDAY_SOCKETS {
            let further = *opener.further.get_or_insert(now + FURTHER_AFTER);
            opener.next = further.min(now + CALL_AGAIN);
            let own = shared.reflexive.addresses().find(|address| address.is_ipv4());
            if let Some(own) = own {
                self.call_with(shared, Stage::Birthday, vec![own]);
            }
            return;
        }
        let left = BIRTHDAY_SOCKETS - opener.primed;
        let count = left.min(PRIMER_BATCH * batches_due(&mut opener.next, now));
        let (first, address) = (opener.first.0 + opener.primed, opener.target);
        let ttl = Some(opener.ttl);
        let mut remotes = (first..first + count).map(|number| Remote {
            address,
            socket: SocketId(number),
        });
        let sent = remotes.position(|remote| !self.probe(now, remote, ttl, shared));
        if let Some(opener) = &mut self.campaign.opener {
            opener.primed += sent.map_or(count, |sent| sent as u16);
        }
    }

    /// The peer has many ports open towards us: behind this IP address.
    pub(super) fn on_birthday(&mut self, now: Instant, seen: SocketAddr, shared: &mut Shared) {
        let vicinity = shared.vicinity(&self.info.candidates);
        let fits = seen.is_ipv4() && vicinity.makes_sense(CandidateKind::ServerReflexive, seen);
        if !fits || self.has_sure_direct(now) || shared.nat.is_dependent() || self.has_searched(now) {
            return;
        }
        if shared.searching.is_some() {
            // it calls again
            shared.search_wanted = Some(now);
            return;
        }
        if !self.campaign.vouched.knows(now, seen.ip()) {
            self.campaign.vouched.wanted = Some(seen);
            self.ask_whereabouts(now, shared);
            return;
        }
        self.join_method(now, Method::Birthday, shared);
        shared.searching = Some(self.info.node);
        self.campaign.searched = Some(now);
        let [port, stride] = [(); 2].map(|()| u32::from_le_bytes(shared.random()));
        self.campaign.searcher = Some(Searcher {
            ip: seen.ip(),
            port: port % PORTS,
            stride: coprime(stride % PORTS),
            left: MAX_PROBES,
            next: now,
        });
        self.run_searcher(now, shared);
    }

    /// Whether this search has had its turn: another pair waits.
    pub(super) fn makes_way(&self, now: Instant, shared: &Shared) -> bool {
        let since = |at: Instant| now.saturating_duration_since(at);
        let searches = self.campaign.opener.is_some() || self.campaign.searcher.is_some();
        let long = self.campaign.searched.is_some_and(|at| since(at) >= TURN);
        searches && long && shared.search_wanted.is_some_and(|at| since(at) < WANTED_FOR)
    }

    fn has_searched(&self, now: Instant) -> bool {
        self.campaign
            .searched
            .is_some_and(|at| now.saturating_duration_since(at) < SEARCH_EVERY)
    }

    /// Pings the ports that are due.
    pub(super) fn run_searcher(&mut self, now: Instant, shared: &mut Shared) {
        let Some(searcher) = self
            .campaign
            .searcher
            .as_mut()
            .filter(|searcher| now >= searcher.next)
        else {
            return;
        };
        if searcher.left == 0 {
            self.campaign.searcher = None;
            shared.searching = None;
            return;
        }
        let count = searcher
            .left
            .min(u32::from(BATCH * batches_due(&mut searcher.next, now)));
        let (ip, stride, first) = (searcher.ip, searcher.stride, searcher.port);
        let port = |nth: u32| (first + nth * stride) % PORTS;
        let mut addresses = (0..count).map(|nth| SocketAddr::new(ip, (FIRST_PORT + port(nth)) as u16));
        let sent = addresses.position(|address| !self.probe(now, address.into(), None, shared));
        let sent = sent.map_or(count, |sent| sent as u32);
        if let Some(searcher) = &mut self.campaign.searcher {
            searcher.left -= sent;
            searcher.port = port(sent);
        }
    }

    /// One ping of the search, unless there were too many in this second. Its pong is not waited for: who is reached pings
    /// back, and that is answered.
    fn probe(&mut self, now: Instant, remote: Remote, ttl: Option<u8>, shared: &mut Shared) -> bool {
        let free = shared.charge_birthday(now);
        if free {
            let ping = self.new_ping(now, shared);
            self.send_with_ttl(shared, Endpoint::Direct(remote), &ping, ttl);
        }
        free
    }

    /// Whether an address belongs to the sockets that were opened, and so to their limit. What the side that searches has to
    /// say to a port that was found is within the limits for every address: the search uses up its own.
    pub(super) fn is_searched(&self, remote: Remote) -> bool {
        let opener = self.campaign.opener.as_ref();
        opener.is_some_and(|opener| opener.owns(remote))
    }
}

/// How many batches are due at `now`, of which the first was at `next`; they count as sent.
fn batches_due(next: &mut Instant, now: Instant) -> u16 {
    let late = now.saturating_duration_since(*next).as_millis() / BATCH_EVERY.as_millis();
    let due = 1 + u16::try_from(late).unwrap_or(u16::MAX).min(MAX_LATE - 1);
    *next = (*next + BATCH_EVERY * u32::from(due)).max(now + Duration::from_millis(1));
    due
}

/// The next number that leads through all ports before it repeats one: with none of 64,512's factors 2, 3 and 7.
fn coprime(mut number: u32) -> u32 {
    number |= 1;
    while number.is_multiple_of(3) || number.is_multiple_of(7) {
        number += 2;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_tries_no_port_twice() {
        for stride in [0, 1, 21, 777, 64_511] {
            let stride = coprime(stride);
            let mut ports: Vec<u32> = (0..PORTS).map(|step| (step * (stride % PORTS)) % PORTS).collect();
            // within u32 for every stride below the number of ports
            ports.sort_unstable();
            ports.dedup();
            assert_eq!(ports.len(), PORTS as usize, "stride {stride}");
        }
    }
}
