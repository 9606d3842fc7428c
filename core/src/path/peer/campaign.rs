//! The methods by which a direct path is made, one after the other, while the relay carries the packets.
//!
//! 1. Punch: both tell each other their addresses and ping them. Each first opens its own NAT by a **primer**: a ping that
//!    ends on the way, before the peer's NAT. A Linux router that masquerades and has no input rule confirms a flow for an
//!    unsolicited probe that arrives before its own host's first packet, and then gives that packet another port: the pair
//!    would fail although both sides are endpoint-independent; what is worse, it gives the new port to whatever the host
//!    sends to others from then on. So nobody pings an address seen by an observer before the peer has primed (`calls.rs`).
//! 2. Fresh port (`fresh.rs`): the same on new ports of both, where whatever went wrong on the old ones is unknown; up to
//!    three times where there is nothing else to try.
//! 3. Birthday (`birthday.rs`).
//!
//! What the two NATs are known to make impossible is skipped. Then the relay it is, until the network changes or the next
//! round comes, 60 s later, and later each time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::nat::{Filtering, NatBehaviour};
use crate::path::shared::Shared;
use crate::path::{Attempt, Explanation, Method, Outcome, Remote, SocketId};

use super::Peer;
use super::birthday::{Opener, Searcher};
use super::direct::Direct;
use super::fresh::Fresh;

const PUNCH_FOR: Duration = Duration::from_secs(2);
/// And at most so long, and a round trip, from when both have primed.
const PUNCH_PRIMED_FOR: Duration = Duration::from_millis(600);
/// Where punching is known to be hopeless it is only for addresses that need none: a LAN's, IPv6.
const PUNCH_BRIEFLY: Duration = Duration::from_millis(300);
const FRESH_FOR: Duration = Duration::from_millis(2_500);
const BIRTHDAY_FOR: Duration = Duration::from_secs(12);
/// Fresh ports that are tried of a pair for which there is nothing else to try.
const FRESH_TRIES: u8 = 3;

/// A socket stays open for so long after the peer's last packet by it.
const CARRIED_FOR: Duration = Duration::from_secs(5);

/// Routers that a primer may meet, the last of which drops it: our own NAT, and the carrier's behind it in the next round,
/// and so on. Two NATs that follow each other closely (a lab, two customers of one carrier) have one router between them,
/// so the first primer must not pass more than one; it is of no harm where it ends before a second NAT of ours.
const PRIMER_TTL: [u8; 4] = [2, 3, 4, 5];

/// What is under way for one peer.
#[derive(Default)]
pub(super) struct Campaign {
    method: Option<Method>,
    ends: Option<Instant>,
    /// What was known when it began.
    plan: Plan,
    fresh_tries: u8,
    pub(super) fresh: Option<Fresh>,
    pub(super) opener: Option<Opener>,
    pub(super) searcher: Option<Searcher>,
    /// When a search of ports last began.
    pub(super) searched: Option<Instant>,
    /// Another pair's search has to end before ours begins.
    pub(super) open_at: Option<Instant>,
    /// Sockets by which the peer has answered, or asked, and which it may use.
    adopted: Vec<SocketId>,
    /// When it has to be seen which of them can be closed.
    lingers: Option<Instant>,
    attempts: VecDeque<Attempt>,
}

impl Campaign {
    pub(super) fn next(&self) -> Option<Instant> {
        let fresh = self.fresh.as_ref().and_then(Fresh::next);
        let opener = self.opener.as_ref().map(Opener::next);
        let searcher = self.searcher.as_ref().map(Searcher::next);
        [self.ends, self.open_at, self.lingers, fresh, opener, searcher]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn attempts(&self) -> Vec<Attempt> {
        self.attempts.iter().copied().collect()
    }

    fn begin(&mut self, at: Instant, method: Method, outcome: Outcome) {
        if self.attempts.len() == Explanation::MAX_ATTEMPTS {
            self.attempts.pop_front();
        }
        self.attempts.push_back(Attempt { at, method, outcome });
    }

    fn conclude(&mut self, outcome: Outcome) {
        if let Some(last) = self
            .attempts
            .back_mut()
            .filter(|last| last.outcome == Outcome::UnderWay)
        {
            last.outcome = outcome;
        }
    }
}

/// What the two NATs leave to be tried, and where their next ports are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Plan {
    methods: [bool; 3],
    steps: [Option<i8>; 2],
}

impl Plan {
    fn of(ours: NatBehaviour, theirs: NatBehaviour) -> Self {
        let methods = [Method::Punch, Method::FreshPort, Method::Birthday];
        Self {
            methods: methods.map(|method| may_work(method, ours, theirs)),
            steps: [ours.step(), theirs.step()],
        }
    }
}

fn lasting(method: Method) -> Duration {
    match method {
        Method::Punch => PUNCH_FOR,
        Method::FreshPort => FRESH_FOR,
        Method::Birthday => BIRTHDAY_FOR,
    }
}

/// Whether a method may work between two such NATs; what is unknown may be anything.
fn may_work(method: Method, ours: NatBehaviour, theirs: NatBehaviour) -> bool {
    if ours.udp_blocked || theirs.udp_blocked {
        return false;
    }
    // the one's packets come from a port that nobody can know, and the other lets in only whom it has sent to
    let closed = |one: NatBehaviour, other: NatBehaviour| {
        one.is_dependent() && (other.filtering == Filtering::AddressAndPortDependent || other.is_dependent())
    };
    let hopeless = closed(ours, theirs) || closed(theirs, ours);
    let guessed = |nat: NatBehaviour| !nat.is_dependent() || nat.step().is_some();
    match method {
        Method::Punch => !hopeless,
        Method::FreshPort => guessed(ours) && guessed(theirs),
        // only where both are measured: hundreds of datagrams go to what may be an address that a lying observer named
        Method::Birthday => hopeless && (ours.is_dependent() != theirs.is_dependent()),
    }
}

impl Peer {
    /// Begins with the first method, unless one is under way.
    pub(super) fn begin_campaign(&mut self, now: Instant, shared: &Shared) {
        if self.campaign.method.is_some() {
            return;
        }
        let theirs = self.theirs.unwrap_or_default();
        let may = may_work(Method::Punch, shared.nat, theirs);
        self.campaign.plan = Plan::of(shared.nat, theirs);
        self.campaign.method = Some(Method::Punch);
        self.campaign.fresh_tries = 0;
        self.campaign.ends = Some(now + if may { PUNCH_FOR } else { PUNCH_BRIEFLY });
        self.campaign.begin(now, Method::Punch, Outcome::UnderWay);
    }

    /// The peer has said what is in front of it.
    pub(super) fn learnt_nat(&mut self, now: Instant, theirs: NatBehaviour, shared: &mut Shared) {
        self.theirs = Some(theirs);
        self.revise_campaign(now, shared);
    }

    /// Begins anew where more is known of the NATs than before, and it makes a difference: a node that has just started
    /// measures its own after it was wanted.
    pub(super) fn revise_campaign(&mut self, now: Instant, shared: &mut Shared) {
        let searches = self.campaign.method == Some(Method::Birthday);
        if !self.is_active() || searches || self.has_sure_direct(now) {
            return;
        }
        if Plan::of(shared.nat, self.theirs.unwrap_or_default()) != self.campaign.plan {
            self.abandon_campaign(shared);
            self.begin_campaign(now, shared);
        }
    }

    /// Does what is due.
    pub(super) fn run_campaign(&mut self, now: Instant, shared: &mut Shared) {
        if self.campaign.ends.is_some_and(|ends| now >= ends) {
            self.next_method(now, shared);
        }
        self.run_fresh(now, shared);
        self.run_opener(now, shared);
        self.run_searcher(now, shared);
    }

    fn next_method(&mut self, now: Instant, shared: &mut Shared) {
        let before = self.campaign.method.take();
        self.campaign.conclude(Outcome::NoAnswer);
        self.campaign.ends = None;
        self.close_searches(shared);
        let theirs = self.theirs.unwrap_or_default();
        let again = before == Some(Method::FreshPort)
            && self.campaign.fresh_tries < FRESH_TRIES
            && !may_work(Method::Birthday, shared.nat, theirs);
        for method in [Method::FreshPort, Method::Birthday] {
            if before > Some(method) || before == Some(method) && !again {
                continue;
            }
            if !may_work(method, shared.nat, theirs) {
                self.campaign.begin(now, method, Outcome::Hopeless);
                continue;
            }
            if self.begin_method(now, method, shared) {
                self.campaign.begin(now, method, Outcome::UnderWay);
                self.campaign.method = Some(method);
                return;
            }
        }
    }

    /// Whether it could be begun: both of these need a relay through which the two agree.
    fn begin_method(&mut self, now: Instant, method: Method, shared: &mut Shared) -> bool {
        if self.relay_way(shared).is_none() || !self.is_active() {
            return false;
        }
        match method {
            Method::Punch => {}
            Method::FreshPort => {
                self.campaign.fresh_tries += 1;
                // one of the two begins; the other's part comes by its call
                if shared.me.node < self.info.node {
                    self.open_fresh(now, None, shared);
                }
            }
            Method::Birthday => {
                // who has the many ports opens them; the other's part comes by its call
                if shared.nat.is_dependent() {
                    self.open_many(now, shared);
                }
            }
        }
        self.campaign.ends = Some(now + lasting(method));
        true
    }

    /// The peer has begun with a method: we do our part of it now, whatever we were at, and for as long as it does.
    pub(super) fn join_method(&mut self, now: Instant, method: Method, shared: &mut Shared) {
        if self.campaign.method != Some(method) {
            self.campaign.conclude(Outcome::NoAnswer);
            self.close_searches(shared);
            self.campaign.begin(now, method, Outcome::UnderWay);
            self.campaign.method = Some(method);
        }
        self.campaign.ends = Some(now + lasting(method));
    }

    /// Whether ports are searched, beside which nothing else is done.
    pub(super) fn is_searching(&self) -> bool {
        self.campaign.method == Some(Method::Birthday)
    }

    /// Both have primed, or will have in a moment: if that does not do, what comes next need not wait for long.
    pub(super) fn hasten_punching(&mut self, now: Instant) {
        if self.campaign.method == Some(Method::Punch) {
            let soon = now + self.half_trip() * 2 + PUNCH_PRIMED_FOR;
            self.campaign.ends = self.campaign.ends.map(|ends| ends.min(soon));
        }
    }

    /// The peer has answered at this address: nothing more is tried, and the socket by which it did stays open.
    pub(super) fn campaign_won(&mut self, by: Remote, shared: &mut Shared) {
        if !by.socket.is_primary() && !self.campaign.adopted.contains(&by.socket) {
            self.campaign.adopted.push(by.socket);
        }
        self.directs.forget_guesses();
        self.campaign.conclude(Outcome::Direct(by.address));
        self.end_campaign(shared);
    }

    /// Ends whatever is under way.
    pub(super) fn abandon_campaign(&mut self, shared: &mut Shared) {
        self.campaign.conclude(Outcome::Abandoned);
        self.end_campaign(shared);
    }

    fn end_campaign(&mut self, shared: &mut Shared) {
        (self.campaign.method, self.campaign.ends) = (None, None);
        self.close_searches(shared);
    }

    /// Closes the sockets of a search, but not those by which the peer has answered or asked: it may have found its path by
    /// one of them in the same moment, and sends by it until it has found the other.
    fn close_searches(&mut self, shared: &mut Shared) {
        self.campaign.open_at = None;
        let fresh = self.campaign.fresh.take().map(|fresh| (fresh.socket(), 1));
        let opened = self.campaign.opener.take().map(|opener| opener.sockets());
        let searched = self.campaign.searcher.take().is_some();
        if (opened.is_some() || searched) && shared.searching == Some(self.info.node) {
            shared.searching = None;
        }
        for (first, count) in [fresh, opened].into_iter().flatten() {
            self.close_all_but_adopted(first, count, shared);
        }
    }

    pub(super) fn close_all_but_adopted(&mut self, first: SocketId, count: u16, shared: &mut Shared) {
        let end = first.0 + count;
        for direct in self.directs.iter() {
            let (socket, came) = (direct.remote.socket, direct.came_at());
            if let Some(came) = came.filter(|_| (first.0..end).contains(&socket.0)) {
                if !self.campaign.adopted.contains(&socket) {
                    self.campaign.adopted.push(socket);
                }
                self.campaign.lingers = self.campaign.lingers.max(Some(came + CARRIED_FOR));
            }
        }
        let mut from = first.0;
        for socket in first.0..end {
            if self.campaign.adopted.contains(&SocketId(socket)) {
                shared.close_sockets(SocketId(from), socket - from);
                from = socket + 1;
            }
        }
        shared.close_sockets(SocketId(from), end - from);
        let adopted = &self.campaign.adopted;
        let closed = |socket: SocketId| (first.0..end).contains(&socket.0) && !adopted.contains(&socket);
        self.directs.forget_sockets(closed);
    }

    /// Closes sockets by which the peer no longer answers, or that a path by the primary one has made needless: to the peer
    /// too, whose packets come by them until it has found that path itself.
    pub(super) fn drop_unused_sockets(&mut self, now: Instant, shared: &mut Shared) {
        self.campaign.lingers = self.campaign.lingers.filter(|until| now < *until);
        if self.campaign.adopted.is_empty() {
            return;
        }
        let in_use = self.path.direct().map(|remote| remote.socket);
        let primary_does = in_use == Some(SocketId::PRIMARY) && self.path.duplicate.is_none();
        let any = |socket: SocketId, so: &dyn Fn(&Direct) -> bool| {
            let mut by_it = self
                .directs
                .iter()
                .filter(|direct| direct.remote.socket == socket);
            by_it.any(so)
        };
        let needed = |socket: SocketId| {
            let carries = |direct: &Direct| {
                direct.carried_within(now, CARRIED_FOR) || direct.came_within(now, CARRIED_FOR)
            };
            let proven = |direct: &Direct| direct.proof(now).is_some();
            in_use == Some(socket) || any(socket, &carries) || any(socket, &proven) && !primary_does
        };
        let (kept, unused): (Vec<_>, Vec<_>) =
            self.campaign.adopted.iter().partition(|&&socket| needed(socket));
        self.campaign.adopted = kept;
        for socket in unused {
            shared.close_sockets(socket, 1);
            self.directs.forget_sockets(|closed| closed == socket);
        }
    }

    /// The peer is removed: none of its sockets stays.
    pub(in crate::path) fn close_sockets(&mut self, shared: &mut Shared) {
        self.abandon_campaign(shared);
        for socket in std::mem::take(&mut self.campaign.adopted) {
            shared.close_sockets(socket, 1);
        }
    }

    /// How far the primers of this round go.
    pub(super) fn primer_ttl(&self) -> u8 {
        PRIMER_TTL[self.rounds.count.saturating_sub(1) as usize % PRIMER_TTL.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::{Allocation, Mapping};

    fn nat(mapping: Mapping, filtering: Filtering, allocation: Allocation) -> NatBehaviour {
        NatBehaviour {
            mapping,
            filtering,
            allocation,
            udp_blocked: false,
        }
    }

    #[test]
    fn what_two_nats_make_hopeless_is_not_tried() {
        use Filtering::{AddressAndPortDependent as Port, EndpointIndependent as All};
        use Method::{Birthday, FreshPort, Punch};
        let home = nat(Mapping::EndpointIndependent, Port, Allocation::Preserving);
        let cone = nat(Mapping::EndpointIndependent, All, Allocation::Preserving);
        let random = nat(Mapping::AddressAndPortDependent, Port, Allocation::Random);
        let counted = nat(
            Mapping::AddressAndPortDependent,
            Port,
            Allocation::Sequential { step: 1 },
        );
        let unknown = NatBehaviour::default();
        let blocked = NatBehaviour {
            udp_blocked: true,
            ..home
        };
        for (ours, theirs, expected) in [
            (home, home, &[Punch, FreshPort][..]),
            (home, random, &[Birthday]),
            (random, cone, &[Punch]),
            (random, random, &[]),
            (counted, home, &[FreshPort, Birthday]),
            (counted, counted, &[FreshPort]),
            (counted, random, &[]),
            (unknown, unknown, &[Punch, FreshPort]),
            (unknown, random, &[Punch]),
            (home, blocked, &[]),
        ] {
            for (ours, theirs) in [(ours, theirs), (theirs, ours)] {
                let methods = [Punch, FreshPort, Birthday];
                let found: Vec<_> = methods
                    .into_iter()
                    .filter(|&method| may_work(method, ours, theirs))
                    .collect();
                assert_eq!(found, expected, "{ours:?} and {theirs:?}");
            }
        }
    }
}
