//! One peer: whether it is wanted, which of its addresses lead to it, which way its packets take.
//!
//! A peer is idle until packets go to it or something fresh comes from it; idle, it has no timer but the one that ends
//! the proof of its addresses. Active, it goes through rounds of trying addresses until a direct way is sure.

mod birthday;
mod calls;
mod campaign;
mod direct;
mod fresh;
mod handshake;
mod life;
mod mtu;
mod notes;
mod receive;
mod relayed;
mod send;
mod watch;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::id::{NodeId, RelayId};
use crate::keys::DiscoveryPublic;
use crate::nat::NatBehaviour;
use crate::statement::{Candidate, CandidateKind};

use super::choice::{Standing, Way, choose};
use super::discovery::{MapVersion, PairKeys};
use super::shared::Shared;
use super::{Endpoint, Event, Explanation, Hint, Path, Remote, explanation};

use calls::Calls;
use campaign::Campaign;
use direct::{Directs, Origin};
use handshake::HandshakeWatch;
use life::Life;
use mtu::Mtus;
use relayed::RelayWatch;
use send::Pings;
use watch::Watch;

/// How long a peer stays active after the last packet.
const ACTIVE_FOR: Duration = Duration::from_secs(120);
/// How long after it gave a fresh sign of interest without packets.
const CALLED_FOR: Duration = Duration::from_secs(10);
/// Tries per address in a first round, and in later ones.
const FIRST_TRIES: usize = 5;
const LATER_TRIES: usize = 3;
/// Between rounds while a relay carries the packets: doubled from one to the next.
const ROUND_EVERY: Duration = Duration::from_secs(60);
const ROUND_EVERY_MAX: Duration = Duration::from_secs(3600);
/// Between rounds, of one try each, while there is no way at all.
const ROUND_EVERY_LOST: Duration = Duration::from_secs(5);
/// A direct way by which nothing came for so long may be forgotten by a NAT: some do so after ten seconds.
const QUIET_AFTER: Duration = Duration::from_secs(8);
/// A proven address that is not in use and has been silent for so long is in doubt.
const SPARE_SILENCE: Duration = Duration::from_secs(20);
/// Addresses remembered for the next life.
const MAX_HINTS: usize = 4;

/// What the network map says of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// The peer.
    pub node: NodeId,
    /// Its discovery key.
    pub discovery: DiscoveryPublic,
    /// Its candidates, from its node record.
    pub candidates: Vec<Candidate>,
    /// The relay that it is bound to.
    pub home_relay: Option<RelayId>,
}

/// Whether the peer is wanted.
#[derive(Clone, Copy, Debug, Default)]
struct Activity {
    /// Active until then; none while idle.
    until: Option<Instant>,
    /// Packets went, came, or waited so lately until then.
    in_use: Option<Instant>,
    /// Packets for it are waiting or were sent during this activity.
    demand: bool,
}

/// Rounds of trying addresses.
#[derive(Clone, Copy, Debug, Default)]
struct Rounds {
    count: u32,
    next: Option<Instant>,
    followed: Option<Instant>,
}

/// One peer.
pub(super) struct Peer {
    info: PeerInfo,
    /// Agreed when first needed; the inner none is a key with which nothing can be agreed.
    keys: Option<Option<PairKeys>>,
    life: Life,
    activity: Activity,
    directs: Directs,
    pings: Pings,
    watch: Watch,
    relayed: RelayWatch,
    rounds: Rounds,
    calls: Calls,
    handshake: HandshakeWatch,
    path: Path,
    reported: MapVersion,
    campaign: Campaign,
    mtus: Mtus,
    /// The NAT in front of it, as it says.
    theirs: Option<NatBehaviour>,
}

/// A peer as a status table shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerView {
    /// The way of its packets.
    pub path: Path,
    /// Round-trip time of the primary endpoint, where it was measured.
    pub rtt: Option<Duration>,
    /// The largest IP packet, in bytes, that is known to get through by the primary endpoint; never more than the tunnel can
    /// need. None where it was not measured yet.
    pub mtu: Option<u16>,
    /// Whether packets were sent or received lately.
    pub active: bool,
}

impl Peer {
    pub(super) fn new(now: Instant, info: PeerInfo, shared: &Shared) -> Self {
        let mut directs = Directs::default();
        directs.replace(now, Origin::Record, addresses(&info));
        Self {
            keys: None,
            life: Life::new(shared.since_start(now)),
            activity: Activity::default(),
            directs,
            pings: Pings::default(),
            watch: Watch::default(),
            relayed: RelayWatch::default(),
            rounds: Rounds::default(),
            calls: Calls::default(),
            handshake: HandshakeWatch::default(),
            path: Path::default(),
            reported: MapVersion::default(),
            campaign: Campaign::default(),
            mtus: Mtus::default(),
            theirs: None,
            info,
        }
    }

    pub(super) fn info(&self) -> &PeerInfo {
        &self.info
    }

    pub(super) fn is_active(&self) -> bool {
        self.activity.until.is_some()
    }

    pub(super) fn view(&self, now: Instant) -> PeerView {
        PeerView {
            path: self.path,
            rtt: self.rtt(now),
            mtu: self.path_mtu(),
            active: self.is_active(),
        }
    }

    /// Why it is reached as it is.
    pub(super) fn explain(&self, now: Instant, ours: NatBehaviour) -> Explanation {
        let direct = self.path.primary.is_some_and(|primary| !primary.is_relay());
        let theirs = self.theirs.unwrap_or_default();
        Explanation {
            path: self.path,
            rtt: self.rtt(now),
            ours,
            theirs: self.theirs,
            attempts: self.campaign.attempts(),
            next_attempt: self.rounds.next.filter(|_| !direct),
            help: if direct {
                Vec::new()
            } else {
                explanation::help(ours, theirs)
            },
        }
    }

    /// The map says something new of the peer (the key is the same).
    pub(super) fn set_info(&mut self, now: Instant, info: PeerInfo, shared: &mut Shared) {
        self.info = info;
        self.directs.replace(now, Origin::Record, addresses(&self.info));
        self.try_new(now, shared);
    }

    /// A beacon of the peer came from this address.
    pub(super) fn beacon(&mut self, now: Instant, address: SocketAddr, shared: &mut Shared) {
        self.directs
            .add(now, address.into(), CandidateKind::Host, Origin::Beacon);
        self.try_new(now, shared);
    }

    /// What was known in an earlier life. Who was active then is wanted now.
    pub(super) fn hint(&mut self, now: Instant, hint: &Hint, shared: &mut Shared) {
        for &address in hint.addresses.iter().take(MAX_HINTS) {
            self.directs
                .add(now, address.into(), CandidateKind::PeerReflexive, Origin::Hint);
        }
        if hint.active {
            self.activity.demand = true;
            self.use_now(now, shared);
        }
    }

    /// What to remember for the next life.
    pub(super) fn to_hint(&self, now: Instant) -> Option<Hint> {
        let mut proven: Vec<_> = self
            .directs
            .iter()
            .filter(|direct| direct.remote.socket.is_primary())
            .filter_map(|direct| Some((direct.proof(now)?.heard, direct.remote.address)))
            .collect();
        proven.sort_unstable();
        let older = self
            .directs
            .iter()
            .filter(|direct| direct.is_hint())
            .map(|direct| direct.remote.address);
        let mut addresses: Vec<SocketAddr> = proven.into_iter().rev().map(|(_, address)| address).collect();
        addresses.extend(older);
        addresses.dedup();
        addresses.truncate(MAX_HINTS);
        let hint = Hint {
            peer: self.info.node,
            addresses,
            active: self.activity.demand,
        };
        (hint.active || !hint.addresses.is_empty()).then_some(hint)
    }

    /// Something new may lead to the peer: if it is wanted and no direct way is sure, it is tried now.
    fn try_new(&mut self, now: Instant, shared: &mut Shared) {
        if self.is_active() && !self.has_sure_direct(now) {
            self.rounds.count = 0;
            self.start_round(now, shared);
        }
    }

    /// What is known of our own NAT changed: other ways may make sense now.
    pub(super) fn nat_changed(&mut self, now: Instant, shared: &mut Shared) {
        // the peer is told with the next pong, however lately it was called
        self.calls.has_news();
        self.try_new(now, shared);
        self.revise_campaign(now, shared);
    }

    /// Packets go, come or wait.
    fn use_now(&mut self, now: Instant, shared: &mut Shared) {
        self.activity.in_use = Some(now + ACTIVE_FOR);
        self.wake(now, ACTIVE_FOR, shared);
    }

    fn is_in_use(&self, now: Instant) -> bool {
        self.activity.in_use.is_some_and(|until| now < until)
    }

    /// Makes the peer active for at least this long.
    fn wake(&mut self, now: Instant, wanted_for: Duration, shared: &mut Shared) {
        let until = now + wanted_for;
        let was = self.activity.until;
        self.activity.until = Some(was.map_or(until, |was| was.max(until)));
        if was.is_none() {
            (self.rounds, self.calls) = Default::default();
            self.open_relay(now, shared);
            if self.path.direct().is_some() {
                self.watch.poke(now);
            }
            self.ping_spares(now, shared);
            self.start_round(now, shared);
        }
    }

    /// A session at a relay was opened.
    pub(super) fn relay_opened(&mut self, now: Instant, shared: &mut Shared) {
        self.refresh(now, shared);
        if self.is_active() && !self.has_sure_direct(now) {
            self.ping_relay(now, shared);
        }
    }

    /// A relay was lost, found, or will not relay to this peer: another may.
    pub(super) fn relays_changed(&mut self, now: Instant, shared: &mut Shared) {
        if self.is_active() && self.relay_way(shared).is_none() {
            shared
                .relays
                .open(now, self.info.node, self.info.home_relay, true);
        }
        self.refresh(now, shared);
    }

    /// The node was bound at a relay just now: it may be a nearer one, or one that lives.
    pub(super) fn relay_bound(&mut self, now: Instant, shared: &mut Shared) {
        self.relays_changed(now, shared);
        if self.is_active() && !self.has_sure_direct(now) {
            self.open_relay(now, shared);
        }
    }

    fn rest(&mut self, shared: &mut Shared) {
        self.abandon_campaign(shared);
        self.activity = Activity::default();
        self.watch = Watch::default();
        self.relayed.rest();
        self.rounds.next = None;
        self.calls = Calls::default();
        self.handshake.rest();
        for direct in self.directs.iter_mut() {
            direct.doubt = true;
            direct.stop_trying();
        }
    }

    /// Our own address may have changed: every direct way is in doubt, and everything is tried anew.
    pub(super) fn network_changed(&mut self, now: Instant, shared: &mut Shared) {
        self.directs.iter_mut().for_each(|direct| direct.doubt = true);
        self.mtus.begin_anew();
        if self.is_active() {
            self.watch = Watch::default();
            self.watch.poke(now);
            self.ping_spares(now, shared);
            self.rounds.count = 0;
            self.abandon_campaign(shared);
            // our own address is another one: what was searched in vain from the old one may be found
            self.campaign.searched = None;
            self.start_round(now, shared);
        }
        self.refresh(now, shared);
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Instant, shared: &mut Shared) {
        if self.activity.until.is_some_and(|until| now >= until) {
            self.rest(shared);
        }
        self.drop_expired(now);
        self.call_again(now, shared);
        self.run_campaign(now, shared);
        self.make_tries(now, shared);
        if self.is_active() {
            self.check_proven(now, shared);
            self.watch_direct(now, shared);
            self.watch_relay(now, shared);
            if self.rounds.next.is_some_and(|next| now >= next) {
                self.start_round(now, shared);
            }
            self.watch_handshake(now, shared);
        }
        self.measure(now, shared);
        self.refresh(now, shared);
        self.drop_unused_sockets(now, shared);
    }

    /// When [`Self::tick`] is due.
    pub(super) fn deadline(&self, now: Instant, shared: &Shared) -> Option<Instant> {
        let proofs = self.directs.iter().filter_map(|direct| direct.proof_ends()).min();
        let quiet = self.becomes_quiet(now).filter(|_| self.is_active());
        let checks = self
            .directs
            .iter()
            .filter_map(|direct| direct.next_check(now))
            .min();
        [
            self.activity.until,
            self.directs.next_try(),
            proofs,
            checks.filter(|_| self.is_active()),
            quiet,
            self.watch.next(),
            self.relayed.next(),
            self.rounds.next,
            self.calls.next(),
            self.handshake.next(),
            self.campaign.next(),
            self.next_measure(now, shared),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// When the direct way in use becomes quiet, unless it is.
    fn becomes_quiet(&self, now: Instant) -> Option<Instant> {
        let proof = self.directs.get(self.path.direct()?)?.proof(now)?;
        Some(proof.heard + QUIET_AFTER).filter(|at| *at > now)
    }

    /// Whether the direct way in use is quiet.
    fn is_quiet(&self, now: Instant) -> bool {
        let in_use = self.path.direct().and_then(|remote| self.directs.get(remote));
        in_use.is_some_and(|direct| direct.is_silent(now, QUIET_AFTER))
    }

    fn drop_expired(&mut self, now: Instant) {
        for direct in self.directs.iter_mut() {
            if direct.proof_ends().is_some_and(|ends| now >= ends) {
                direct.unprove();
            }
        }
    }

    /// Decides anew about the path, and tells where it changed.
    pub(super) fn refresh(&mut self, now: Instant, shared: &mut Shared) {
        let mut path = choose(&self.ways(now, shared), self.path, self.relayed.is_long_silent());
        path.max_packet = self.max_packet(&path, shared);
        if path == self.path {
            return;
        }
        let before = std::mem::replace(&mut self.path, path);
        if path.direct() != before.direct() {
            self.watch = Watch::default();
        }
        if self.is_active() && path.direct().is_some_and(|_| !self.has_sure_direct(now)) {
            self.watch.poke(now);
        }
        shared.event(Event::PathChanged {
            peer: self.info.node,
            path,
            rtt: self.rtt(now),
        });
        let found = before.primary.is_none();
        if found && self.activity.demand {
            self.handshake.take_stale();
            shared.event(Event::Initiate { peer: self.info.node });
        }
        let lost_direct = before.primary.is_some_and(|primary| !primary.is_relay());
        if self.is_active() && (found || lost_direct) && !self.has_sure_direct(now) {
            self.rounds.count = 0;
            self.start_round(now, shared);
        }
    }

    fn ways(&self, now: Instant, shared: &Shared) -> Vec<Way> {
        let direct = self.directs.iter().filter_map(|direct| {
            Some(Way {
                endpoint: Endpoint::Direct(direct.remote),
                standing: if direct.doubt {
                    Standing::Doubtful
                } else {
                    Standing::Sure
                },
                crooked: direct.crooked,
                quiet: direct.is_silent(now, QUIET_AFTER),
                rtt: Some(direct.proof(now)?.rtt),
            })
        });
        direct
            .chain(shared.relays.ways(self.info.node, self.info.home_relay))
            .collect()
    }

    fn has_sure_direct(&self, now: Instant) -> bool {
        self.directs
            .iter()
            .any(|direct| !direct.doubt && direct.proof(now).is_some())
    }

    fn rtt(&self, now: Instant) -> Option<Duration> {
        self.way_rtt(now, self.path.primary?)
    }

    fn way_rtt(&self, now: Instant, way: Endpoint) -> Option<Duration> {
        match way {
            Endpoint::Direct(address) => Some(self.directs.get(address)?.proof(now)?.rtt),
            Endpoint::Relay { .. } => self.relayed.rtt(),
        }
    }

    fn open_relay(&self, now: Instant, shared: &mut Shared) {
        let everywhere = self.path.primary.is_none() && self.rounds.count > 0;
        shared
            .relays
            .open(now, self.info.node, self.info.home_relay, everywhere);
    }

    fn relay_way(&self, shared: &Shared) -> Option<Endpoint> {
        let ways = shared.relays.ways(self.info.node, self.info.home_relay);
        choose(&ways.collect::<Vec<_>>(), self.path, false).primary
    }
}

fn addresses(info: &PeerInfo) -> impl Iterator<Item = (Remote, CandidateKind)> + Clone {
    let candidates = info.candidates.iter().take(crate::statement::MAX_CANDIDATES);
    candidates.map(|candidate| (candidate.addr.into(), candidate.kind))
}
