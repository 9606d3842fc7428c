//! One peer as the packet threads see it: its session, its path, its counts, under one lock that is taken once for a
//! run of packets.

use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use meshd_core::id::NodeId;
use meshd_core::keys::WireGuardPublic;
use meshd_core::path::{Endpoint, Path, Switch};
use meshd_core::wireguard::Session;

use super::config::PeerStats;
use super::outbox::Route;
use super::rescue::{AGAIN_AFTER, SILENCE};

/// Least time between two `Demand` events of one peer.
const DEMAND_GAP: Duration = Duration::from_millis(500);
/// Packets are never cut smaller: every IPv4 host takes these (RFC 791 section 3.2).
const MIN_PACKET: u16 = 576;
/// An initiation that went out less than this ago by the same way is answered soon, if at all: another one would only make
/// its answer void.
const INITIATE_GAP: Duration = Duration::from_millis(50);
/// Least time between two `RoamedTo` events of one peer.
const ROAM_GAP: Duration = Duration::from_millis(250);

/// A peer. Its index is that of its session.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) key: WireGuardPublic,
    pub(super) index: u32,
    /// It is in the handshake thread's queue already.
    pub(super) queued: AtomicBool,
    /// The handshake thread shall initiate whatever is on its way.
    pub(super) forced: AtomicBool,
    state: Mutex<PeerState>,
}

/// What changes.
#[derive(Debug)]
pub(super) struct PeerState {
    pub(super) session: Session,
    /// False once the peer was removed: then nothing may pass any more.
    pub(super) alive: bool,
    pub(super) roaming: bool,
    pub(super) switch: Switch,
    /// Packets wait for it in the staging pool.
    pub(super) staged: bool,
    mtu: u16,
    pub(super) traffic: Traffic,
    /// What was kept is sent again by this endpoint, now or then.
    rescue: Option<(Endpoint, Option<Instant>)>,
    last_from: Option<Route>,
    /// By which way the last initiation went, and when.
    initiated: Option<(Endpoint, Instant)>,
    reported: Option<(Endpoint, Instant)>,
    demanded: Option<Instant>,
}

/// What was moved.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) rx_bytes: u64,
    pub(super) tx_bytes: u64,
    pub(super) rx_packets: u64,
    pub(super) tx_packets: u64,
    pub(super) last_rx: Option<Instant>,
    pub(super) last_tx: Option<Instant>,
    /// When the first packet went out after the last message that came.
    pub(super) unanswered: Option<Instant>,
}

impl Peer {
    pub(super) fn new(
        node: NodeId,
        key: WireGuardPublic,
        index: u32,
        session: Session,
        roaming: bool,
        mtu: u16,
    ) -> Peer {
        let state = PeerState {
            session,
            alive: true,
            roaming,
            switch: Switch::default(),
            staged: false,
            mtu,
            traffic: Traffic::default(),
            rescue: None,
            last_from: None,
            initiated: None,
            reported: None,
            demanded: None,
        };
        let (queued, forced) = (AtomicBool::new(false), AtomicBool::new(false));
        Peer {
            node,
            key,
            index,
            queued,
            forced,
            state: Mutex::new(state),
        }
    }

    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, PeerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stats(&self) -> PeerStats {
        let state = self.lock();
        let traffic = state.traffic;
        PeerStats {
            node: self.node,
            rx_bytes: traffic.rx_bytes,
            tx_bytes: traffic.tx_bytes,
            rx_packets: traffic.rx_packets,
            tx_packets: traffic.tx_packets,
            last_handshake: state.session.last_handshake(),
            last_rx: traffic.last_rx,
            last_tx: traffic.last_tx,
            unanswered_since: traffic.unanswered,
            last_rx_from: state.last_from.map(|route| route.endpoint),
            handshake_pending_since: state.session.pending_since(),
        }
    }
}

impl PeerState {
    /// Where packets go: to the path that was set; where none is, or the peer roams, to where its last authentic message
    /// came from.
    #[inline]
    pub(super) fn route(&self) -> Option<Route> {
        match (self.switch.path().primary, self.last_from) {
            (Some(_) | None, Some(last)) if self.roaming => Some(last),
            (Some(endpoint), Some(last)) if endpoint == last.endpoint => Some(last),
            (Some(endpoint), _) => Some(Route {
                endpoint,
                source: None,
            }),
            (None, last) => last,
        }
    }

    /// Largest inner packet in bytes that may go to it.
    #[inline]
    pub(super) fn max_packet(&self) -> u16 {
        let known = self.switch.path().max_packet;
        known.map_or(self.mtu, |size| size.clamp(MIN_PACKET, self.mtu))
    }

    /// Where a copy of each packet goes as well.
    #[inline]
    pub(super) fn duplicate(&self) -> Option<Route> {
        self.switch.path().duplicate.map(|endpoint| Route {
            endpoint,
            source: None,
        })
    }

    /// An authentic message of `bytes` bytes came; `packets` of them held a packet.
    #[inline]
    pub(super) fn received(
        &mut self,
        from: Endpoint,
        local: Option<IpAddr>,
        bytes: usize,
        packets: u64,
        now: Instant,
    ) {
        self.last_from = Some(Route {
            endpoint: from,
            source: local,
        });
        self.traffic.last_rx = Some(now);
        self.traffic.unanswered = None;
        self.traffic.rx_bytes += bytes as u64;
        self.traffic.rx_packets += packets;
    }

    /// Messages of `bytes` bytes in all went out; `packets` of them held a packet.
    #[inline]
    pub(super) fn sent(&mut self, bytes: usize, packets: u64, now: Instant) {
        self.traffic.last_tx = Some(now);
        if packets > 0 {
            self.traffic.unanswered.get_or_insert(now);
        }
        self.traffic.tx_bytes += bytes as u64;
        self.traffic.tx_packets += packets;
    }

    /// The endpoint that authentic messages come from now, if it is another than was reported and a report is due.
    #[inline]
    pub(super) fn roamed(&mut self, now: Instant) -> Option<Endpoint> {
        let from = self.last_from?.endpoint;
        match self.reported {
            Some((endpoint, _)) if endpoint == from => None,
            Some((_, at)) if now.saturating_duration_since(at) < ROAM_GAP => None,
            _ => {
                self.reported = Some((from, now));
                Some(from)
            }
        }
    }

    /// Whether what is sent now may be lost: the peer has been silent for a moment.
    #[inline]
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        let last = self.traffic.last_rx;
        last.is_none_or(|at| now.saturating_duration_since(at) >= SILENCE)
    }

    /// A path was chosen: whether it has a way, beside or instead of a direct one, by which what was kept is to be sent again;
    /// or carries less than was thought, so that what was kept may have been too large.
    pub(super) fn rescue_by(&mut self, path: &Path) -> bool {
        let before = self.switch.path();
        let narrower = path.max_packet.unwrap_or(self.mtu) < self.max_packet();
        let ways = |path: &Path| [path.primary, path.duplicate];
        let known = ways(&before);
        let added = ways(path)
            .into_iter()
            .flatten()
            .find(|way| !known.contains(&Some(*way)));
        let lost_direct = before.primary.is_some_and(|primary| !primary.is_relay());
        let way = added
            .filter(|_| lost_direct)
            .or(path.primary.filter(|_| narrower));
        let wanted = way.filter(|_| self.traffic.unanswered.is_some());
        if let Some(way) = wanted {
            self.rescue = Some((way, None));
        }
        wanted.is_some()
    }

    /// The endpoint by which what was kept is to be sent again now.
    pub(super) fn take_rescue(&mut self, now: Instant) -> Option<Endpoint> {
        let (way, due) = self.rescue?;
        match due {
            None => self.rescue = Some((way, Some(now + AGAIN_AFTER))),
            Some(at) if now >= at => self.rescue = None,
            Some(_) => return None,
        }
        Some(way)
    }

    /// When [`Self::take_rescue`] gives something.
    pub(super) fn next_rescue(&self) -> Option<Instant> {
        self.rescue.and_then(|(_, due)| due)
    }

    /// An initiation went out by the present path.
    pub(super) fn note_initiation(&mut self, now: Instant) {
        self.initiated = self.route().map(|route| (route.endpoint, now));
    }

    /// Whether an initiation that waits for its answer went out by the present path a moment ago.
    pub(super) fn initiated_just_now(&self, now: Instant) -> bool {
        let here = self.route().map(|route| route.endpoint);
        let lately = |(by, at): (Endpoint, Instant)| {
            Some(by) == here && now.saturating_duration_since(at) < INITIATE_GAP
        };
        self.session.pending_since().is_some() && self.initiated.is_some_and(lately)
    }

    /// Whether a `Demand` event is due.
    pub(super) fn demands(&mut self, now: Instant) -> bool {
        let due = self
            .demanded
            .is_none_or(|at| now.saturating_duration_since(at) >= DEMAND_GAP);
        if due {
            self.demanded = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshd_core::keys::WireGuardSecret;
    use meshd_core::wireguard::{PeerKeys, WireGuard};

    fn peer(roaming: bool) -> Peer {
        let key = WireGuardSecret::from_seed(&[2; 32]).public();
        let own = WireGuard::new(WireGuardSecret::from_seed(&[1; 32]));
        let session = own.session(
            PeerKeys {
                public: key,
                preshared: None,
                keepalive: None,
            },
            5,
        );
        Peer::new(NodeId::from_bytes([7; 16]), key, 5, session, roaming, 1408)
    }

    fn path(primary: Endpoint) -> meshd_core::path::Path {
        meshd_core::path::Path {
            primary: Some(primary),
            ..Default::default()
        }
    }

    fn direct(last: u8) -> Endpoint {
        Endpoint::direct(([192, 0, 2, last], 51820).into())
    }

    #[test]
    fn a_mesh_peer_keeps_to_its_path_and_a_roaming_one_follows_its_packets() {
        let (now, local) = (Instant::now(), Some(IpAddr::from([198, 51, 100, 1])));
        for (roaming, expected) in [(false, direct(1)), (true, direct(2))] {
            let peer = peer(roaming);
            let mut state = peer.lock();
            assert_eq!(state.route(), None);
            state.received(direct(2), local, 32, 0, now);
            assert_eq!(
                state.route(),
                Some(Route {
                    endpoint: direct(2),
                    source: local
                })
            );
            state.switch.set(now, path(direct(1)), None);
            assert_eq!(state.route().map(|route| route.endpoint), Some(expected));
            state.switch.set(now, path(direct(2)), None);
            assert_eq!(
                state.route(),
                Some(Route {
                    endpoint: direct(2),
                    source: local
                })
            );
        }
    }

    #[test]
    fn roaming_and_demand_are_told_at_a_bounded_rate_and_the_last_is_not_lost() {
        let peer = peer(false);
        let mut state = peer.lock();
        let now = Instant::now();
        state.received(direct(1), None, 32, 0, now);
        assert_eq!(state.roamed(now), Some(direct(1)));
        state.received(direct(2), None, 32, 0, now);
        assert_eq!(state.roamed(now), None);
        assert_eq!(state.roamed(now + ROAM_GAP), Some(direct(2)));
        assert!(state.demands(now) && !state.demands(now) && state.demands(now + DEMAND_GAP));
    }
}
