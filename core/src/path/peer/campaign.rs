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

use crate::nat::NatBehaviour;
use crate::path::shared::Shared;
use crate::path::{Attempt, Explanation, Method, Outcome, Remote, SocketId};

use super::Peer;
use super::birthday::{Opener, Searcher};
use super::fresh::Fresh;
use super::plan::{Plan, may_work};
use super::vouched::Vouched;

const PUNCH_FOR: Duration = Duration::from_secs(2);
/// And at most so long, and a round trip, from when both have primed.
const PUNCH_PRIMED_FOR: Duration = Duration::from_millis(600);
/// Where punching is known to be hopeless it is only for addresses that need none: a LAN's, IPv6.
const PUNCH_BRIEFLY: Duration = Duration::from_millis(300);
const FRESH_FOR: Duration = Duration::from_millis(2_500);
const BIRTHDAY_FOR: Duration = Duration::from_secs(12);
/// Fresh ports that are tried of a pair for which there is nothing else to try.
const FRESH_TRIES: u8 = 3;

/// Routers that a primer may meet, the last of which drops it: our own NAT, and the carrier's behind it with the second fresh port
/// or in the next round, and so on. Two NATs that follow each other closely (a lab, two customers of one carrier) have one router between them,
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
    /// Fresh ports that were opened, by whichever of the two began.
    fresh_opened: u8,
    pub(super) fresh: Option<Fresh>,
    pub(super) opener: Option<Opener>,
    pub(super) searcher: Option<Searcher>,
    /// When a search of ports last began.
    pub(super) searched: Option<Instant>,
    /// Another pair's search has to end before ours begins.
    pub(super) open_at: Option<Instant>,
    /// Where relays see the peer.
    pub(super) vouched: Vouched,
    /// Sockets by which the peer has answered, or asked, and which it may use.
    pub(super) adopted: Vec<SocketId>,
    /// When it has to be seen which of them can be closed.
    pub(super) lingers: Option<Instant>,
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

fn lasting(method: Method) -> Duration {
    match method {
        Method::Punch => PUNCH_FOR,
        Method::FreshPort => FRESH_FOR,
        Method::Birthday => BIRTHDAY_FOR,
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
        (self.campaign.fresh_tries, self.campaign.fresh_opened) = (0, 0);
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
        if self.campaign.ends.is_some_and(|ends| now >= ends) || self.makes_way(now, shared) {
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
            let six = method == Method::FreshPort && self.next_is_ipv6(shared);
            if !six && !may_work(method, shared.nat, theirs) {
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

    /// Whether the next fresh port is to be one over IPv6: every second one where both have it, and each where there is no IPv4, or
    /// their NATs make it hopeless, unless there is something better to try there.
    fn next_is_ipv6(&self, shared: &Shared) -> bool {
        let theirs = self.theirs.unwrap_or_default();
        let may = |method| may_work(method, shared.nat, theirs);
        let turn = if may(Method::FreshPort) {
            self.campaign.fresh_tries % 2 == 1 || shared.observer(0, false).is_none()
        } else {
            !may(Method::Birthday)
        };
        turn && self.may_go_fresh_over_ipv6(shared)
    }

    /// Whether it could be begun: both of these need a relay through which the two agree.
    fn begin_method(&mut self, now: Instant, method: Method, shared: &mut Shared) -> bool {
        if self.relay_way(shared).is_none() || !self.is_active() {
            return false;
        }
        match method {
            Method::Punch => {}
            Method::FreshPort => {
                // one of the two begins; the other's part comes by its call
                if shared.me.node < self.info.node {
                    let ipv6 = self.next_is_ipv6(shared);
                    self.open_fresh(now, ipv6, shared);
                }
                self.campaign.fresh_tries += 1;
            }
            Method::Birthday => {
                // both need to know it, and soon
                self.ask_whereabouts(now, shared);
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

    /// The search begins now and not before: another pair's was first.
    pub(super) fn go_on_searching(&mut self, now: Instant) {
        self.campaign.ends = self.campaign.ends.map(|_| now + BIRTHDAY_FOR);
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

    /// A fresh port is opened.
    pub(super) fn count_fresh(&mut self) {
        self.campaign.fresh_opened = self.campaign.fresh_opened.saturating_add(1);
    }

    /// How far the primers go that are sent now.
    pub(super) fn primer_ttl(&self) -> u8 {
        let round = self.rounds.count.saturating_sub(1) as usize;
        // the second one is for a carrier's NAT
        let farther = usize::from(self.campaign.fresh_opened == 2);
        PRIMER_TTL[(round + farther) % PRIMER_TTL.len()]
    }
}
