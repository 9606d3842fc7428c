//! One peer: whether it is wanted, which of its addresses lead to it, which way its packets take.
//!
//! A peer is idle until packets go to it or something fresh comes from it; idle, it has no timer but the one that ends
//! the proof of its addresses. Active, it goes through rounds of trying addresses until a direct way is sure.

mod awake;
mod birthday;
mod calls;
mod campaign;
mod direct;
mod fresh;
mod handshake;
mod life;
mod mtu;
mod notes;
mod plan;
mod receive;
mod relayed;
mod rounds;
mod search_sockets;
mod send;
mod tick;
mod view;
mod vouched;
mod watch;
mod ways;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::id::{NodeId, RelayId};
use crate::keys::DiscoveryPublic;
use crate::nat::NatBehaviour;
use crate::statement::{Candidate, CandidateKind};

use super::discovery::{MapVersion, PairKeys};
use super::shared::Shared;
use super::{Hint, Path, Remote};

pub use view::PeerView;

use awake::Activity;
use calls::Calls;
use campaign::Campaign;
use direct::{Directs, Origin};
use handshake::HandshakeWatch;
use life::Life;
use mtu::Mtus;
use relayed::RelayWatch;
use rounds::{FIRST_TRIES, Rounds};
use send::Pings;
use watch::Watch;

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

    /// An observer sees us at another address than before: who is relayed is told, but no address of its own is tried again for
    /// that.
    pub(super) fn own_address_changed(&mut self, now: Instant, shared: &mut Shared) {
        if self.is_active() && !self.has_sure_direct(now) {
            self.calls.want();
            self.ping_relay(now, shared);
        }
    }

    /// What is known of our own NAT changed: other ways may make sense now.
    pub(super) fn nat_changed(&mut self, now: Instant, shared: &mut Shared) {
        // the peer is told with the next pong, however lately it was called
        self.calls.has_news();
        self.try_new(now, shared);
        self.revise_campaign(now, shared);
    }
}

fn addresses(info: &PeerInfo) -> impl Iterator<Item = (Remote, CandidateKind)> + Clone {
    let candidates = info.candidates.iter().take(crate::statement::MAX_CANDIDATES);
    candidates.map(|candidate| (candidate.addr.into(), candidate.kind))
}
