//! A second try on fresh ports, agreed through the relay. The one that begins is A.
//!
//! 1. A opens a socket, asks an observer for its address and tells it to B; it sends nothing to B by it.
//! 2. B does the same, primes A's fresh address by its own fresh socket, and tells A.
//! 3. A pings B's fresh address at once, and tells B, which pings A's: each NAT has seen its own host's packet first.
//!
//! Over IPv6 it is the same: firewalls, and now and then a NAT, stand there too, and the old port may be spoilt.
//!
//! Where a NAT counts its ports, the address that the observer saw is followed by the one that the peer will see: the next
//! few are primed and pinged, and since both sides do so in the same order, two that count meet as well.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::nat::{NatBehaviour, may_be_seen};
use crate::path::discovery::Stage;
use crate::path::shared::Shared;
use crate::path::{Destination, Endpoint, Method, Remote, SocketId, Transmit};
use crate::statement::CandidateKind;
use crate::stun;

use super::direct::{Direct, Origin};
use super::{FIRST_TRIES, Peer};

/// Ports tried of a NAT that counts: flows of others come in between.
const GUESSES: i32 = 8;
const TRIES_OF_A_GUESS: usize = 3;
/// Between questions to observers.
const ASK_EVERY: Duration = Duration::from_millis(200);
const MAX_ASKS: usize = 4;
/// On top of half a round trip through the relay, for a peer that is busy.
const MARGIN: Duration = Duration::from_millis(50);
/// Where nothing is heard of the peer's pings, ours go out after this all the same.
const HOLD: Duration = Duration::from_millis(1_500);
/// Half a round trip, where none was measured.
const HALF_TRIP: Duration = Duration::from_millis(150);

/// The fresh socket.
pub(super) struct Fresh {
    socket: SocketId,
    ipv6: bool,
    transaction: [u8; 12],
    asks: usize,
    next: Option<Instant>,
    /// Where the observer sees it.
    seen: Option<SocketAddr>,
    /// Where an observer sees the peer's.
    theirs: Option<SocketAddr>,
    /// The peer knows that its own is primed.
    said_ready: bool,
}

impl Fresh {
    pub(super) fn socket(&self) -> SocketId {
        self.socket
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }
}

impl Peer {
    /// Opens a fresh socket, over IPv6 or not, and asks where it is seen.
    pub(super) fn open_fresh(&mut self, now: Instant, ipv6: bool, shared: &mut Shared) {
        self.open_fresh_for(now, ipv6, None, shared);
    }

    /// The same; `theirs` is the peer's, where that has begun.
    fn open_fresh_for(&mut self, now: Instant, ipv6: bool, theirs: Option<SocketAddr>, shared: &mut Shared) {
        let Some(socket) = shared.open_sockets(self.info.node, 1, ipv6) else {
            return;
        };
        if let Some(before) = self.campaign.fresh.take() {
            self.close_all_but_adopted(before.socket, 1, shared);
        }
        self.count_fresh();
        let transaction = shared.random();
        self.campaign.fresh = Some(Fresh {
            socket,
            ipv6,
            transaction,
            asks: 0,
            next: Some(now),
            seen: None,
            theirs,
            said_ready: false,
        });
        self.run_fresh(now, shared);
    }

    /// Asks an observer, where that is due.
    pub(super) fn run_fresh(&mut self, now: Instant, shared: &mut Shared) {
        let Some(fresh) = &mut self.campaign.fresh else {
            return;
        };
        if fresh.next.is_none_or(|next| now < next) {
            return;
        }
        fresh.next = (fresh.asks < MAX_ASKS).then(|| now + ASK_EVERY);
        if let (Some(address), true) = (shared.observer(fresh.asks, fresh.ipv6), fresh.next.is_some()) {
            let socket = fresh.socket;
            shared.transmit(Transmit {
                to: Destination::Socket(Remote { address, socket }),
                ttl: None,
                bytes: stun::binding_request(fresh.transaction),
            });
        }
        fresh.asks += 1;
    }

    /// An observer's answer came to one of the peer's sockets.
    pub(in crate::path) fn fresh_seen(
        &mut self,
        now: Instant,
        socket: SocketId,
        bytes: &[u8],
        shared: &mut Shared,
    ) {
        let Some((transaction, address)) = stun::parse_answer(bytes) else {
            return;
        };
        let Some(fresh) = self.campaign.fresh.as_mut().filter(|fresh| {
            fresh.socket == socket && fresh.transaction == transaction && fresh.seen.is_none()
        }) else {
            return;
        };
        if !may_be_seen(address) {
            // the next observer is asked when it is time
            shared.counters.implausible += 1;
            return;
        }
        (fresh.seen, fresh.next) = (Some(address), None);
        match fresh.theirs {
            None => self.call_with(shared, Stage::FreshAsked, vec![address]),
            Some(theirs) => {
                let remotes = self.guesses(socket, theirs, shared);
                for &remote in &remotes {
                    self.prime(now, remote, shared);
                }
                self.try_fresh(now + HOLD, &remotes);
                self.say_ready(shared);
            }
        }
    }

    /// The peer has opened a fresh port, and waits for ours.
    pub(super) fn on_fresh_asked(&mut self, now: Instant, theirs: SocketAddr, shared: &mut Shared) {
        if !self.has_sure_direct(now) && !self.is_searching() {
            self.join_method(now, Method::FreshPort, shared);
            self.open_fresh_for(now, theirs.is_ipv6(), Some(theirs), shared);
        }
    }

    /// The peer's fresh port has primed ours.
    pub(super) fn on_fresh_ready(&mut self, now: Instant, theirs: SocketAddr, shared: &mut Shared) {
        let Some(fresh) = self.campaign.fresh.as_mut().filter(|fresh| fresh.seen.is_some()) else {
            return;
        };
        fresh.theirs = Some(theirs);
        let socket = fresh.socket;
        let remotes = self.guesses(socket, theirs, shared);
        self.try_fresh(now, &remotes);
        // before the peer is told: these open our own NAT
        self.make_tries(now, shared);
        self.say_ready(shared);
    }

    /// Tells the peer, once, that its fresh port is primed by ours.
    fn say_ready(&mut self, shared: &mut Shared) {
        let Some(fresh) = self.campaign.fresh.as_mut().filter(|fresh| !fresh.said_ready) else {
            return;
        };
        fresh.said_ready = true;
        if let Some(seen) = fresh.seen {
            self.call_with(shared, Stage::FreshReady, vec![seen]);
        }
    }

    /// Where the peer's fresh port may be for us, as far as it makes sense to send there.
    fn guesses(&self, socket: SocketId, seen: SocketAddr, shared: &Shared) -> Vec<Remote> {
        let vicinity = shared.vicinity(&self.info.candidates);
        // what was measured of its NAT is true of IPv4
        let nat = if seen.is_ipv4() { self.theirs } else { None };
        guess(seen, nat.unwrap_or_default())
            .filter(|address| vicinity.makes_sense(CandidateKind::ServerReflexive, *address))
            .map(|address| Remote { address, socket })
            .collect()
    }

    /// Whether a fresh port makes sense over IPv6: both have it, and somebody tells where ours is seen.
    pub(super) fn may_go_fresh_over_ipv6(&self, shared: &Shared) -> bool {
        let vicinity = shared.vicinity(&self.info.candidates);
        let six = |direct: &Direct| {
            let (kind, address) = (direct.kind, direct.remote.address);
            direct.is_named() && address.is_ipv6() && vicinity.makes_sense(kind, address)
        };
        shared.observer(0, true).is_some() && self.directs.iter().any(six)
    }

    fn try_fresh(&mut self, start: Instant, remotes: &[Remote]) {
        let tries = match remotes.len() {
            1 => FIRST_TRIES,
            _ => TRIES_OF_A_GUESS,
        };
        for &remote in remotes {
            self.directs
                .add(start, remote, CandidateKind::PeerReflexive, Origin::Fresh);
            if let Some(direct) = self.directs.get_mut(remote) {
                direct.try_from(start, tries, true);
            }
        }
    }

    /// Half a round trip through the relay, and a little: when what is sent through it now has had its effect.
    pub(super) fn half_trip(&self) -> Duration {
        self.relayed.rtt().map_or(HALF_TRIP, |rtt| rtt / 2) + MARGIN
    }

    /// Opens our own NAT towards an address by a ping that ends before it comes there.
    pub(super) fn prime(&mut self, now: Instant, remote: Remote, shared: &mut Shared) {
        let ttl = Some(self.primer_ttl());
        let purpose = crate::path::limits::Purpose::Try;
        let sent = self.ping_for(now, shared, Endpoint::Direct(remote), purpose, ttl);
        if let Some(direct) = self.directs.get_mut(remote).filter(|_| sent.is_ok()) {
            direct.primed(now);
        }
    }
}

/// The address seen, or where the NAT counts its ports the ones that come next.
fn guess(seen: SocketAddr, nat: NatBehaviour) -> impl Iterator<Item = SocketAddr> {
    let step = nat.step().map(i32::from);
    let steps = step.map_or(0..=0, |_| 1..=GUESSES);
    steps.filter_map(move |count| {
        let port = i32::from(seen.port()) + count * step.unwrap_or(0);
        let port = u16::try_from(port).ok().filter(|port| *port != 0)?;
        Some(SocketAddr::new(seen.ip(), port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::{Allocation, Mapping};

    #[test]
    fn a_nat_that_counts_is_met_at_its_next_ports() {
        let seen: SocketAddr = "192.0.2.1:65530".parse().unwrap();
        let nat = |step| NatBehaviour {
            mapping: Mapping::AddressAndPortDependent,
            allocation: Allocation::Sequential { step },
            ..NatBehaviour::default()
        };
        let ports = |nat| guess(seen, nat).map(|address| address.port()).collect::<Vec<_>>();
        assert_eq!(
            ports(nat(2)),
            [65532, 65534],
            "and no further than there are ports"
        );
        assert_eq!(ports(nat(-1))[..2], [65529, 65528]);
        assert_eq!(ports(NatBehaviour::default()), [65530]);
    }
}
