//! How large packets to a peer may be, way by way.
//!
//! A way that packets take is measured ([`MtuSearch`]) while they do, and only if it has proven itself: what measures is larger
//! than what strangers may get. Until it is, it is trusted to carry what the peer's other ways carry, for they mostly share
//! the narrow place; where none is known, the tunnel's MTU.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::demux::RELAY_HEADER_LEN;
use crate::path::discovery::Message;
use crate::path::mtu::{MtuSearch, STEP};
use crate::path::shared::Shared;
use crate::path::{Endpoint, Path, Remote};
use crate::wireguard::DATA_OVERHEAD;

use super::Peer;

/// Ways of a peer that are remembered; the one added first goes first.
const MAX_WAYS: usize = 8;
/// An answer is waited for so much longer than the way's round trip, a half of it more, and within these bounds.
const SLACK: Duration = Duration::from_millis(150);
const PATIENCE_MAX: Duration = Duration::from_secs(2);
/// Where the round trip is not known.
const PATIENCE: Duration = Duration::from_millis(500);

/// A way, whatever the session at the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Direct(Remote),
    Relay(SocketAddr),
}

impl From<Endpoint> for Key {
    fn from(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Direct(remote) => Self::Direct(remote),
            Endpoint::Relay { relay, .. } => Self::Relay(relay),
        }
    }
}

/// Bytes of a datagram besides the packet in it.
fn overhead(way: Endpoint) -> u16 {
    let header = if way.is_relay() { RELAY_HEADER_LEN } else { 0 };
    (DATA_OVERHEAD + header) as u16
}

/// What was measured of each way.
#[derive(Clone, Debug, Default)]
pub(super) struct Mtus(Vec<(Key, Endpoint, MtuSearch)>);

impl Mtus {
    fn get(&self, way: Endpoint) -> Option<&MtuSearch> {
        let key = Key::from(way);
        let found = self.0.iter().find(|(known, ..)| *known == key);
        found.map(|(_, _, search)| search)
    }

    fn get_mut(&mut self, way: Endpoint) -> Option<&mut MtuSearch> {
        let key = Key::from(way);
        let found = self.0.iter_mut().find(|(known, ..)| *known == key);
        found.map(|(_, _, search)| search)
    }

    fn add(&mut self, way: Endpoint, tunnel: u16) {
        if self.get(way).is_none() {
            if self.0.len() == MAX_WAYS {
                self.0.remove(0);
            }
            self.0
                .push((way.into(), way, MtuSearch::new(tunnel + overhead(way))));
        }
    }

    /// The largest packet of the tunnel that a way carries, as far as is known of it.
    fn largest(&self, way: Endpoint) -> Option<u16> {
        self.get(way)?.result().map(|datagram| packet(way, datagram))
    }

    /// The smallest that is known of any way.
    fn smallest(&self) -> Option<u16> {
        let known = self.0.iter();
        known
            .filter_map(|(_, way, search)| Some(packet(*way, search.result()?)))
            .min()
    }

    /// Everything may be different now. What was found holds until it is found again.
    pub(super) fn begin_anew(&mut self) {
        self.0.iter_mut().for_each(|(_, _, search)| search.begin_anew());
    }
}

/// The packet that fits a datagram.
fn packet(way: Endpoint, datagram: u16) -> u16 {
    datagram.saturating_sub(overhead(way)) / STEP * STEP
}

impl Peer {
    fn ways_in_use(&self) -> impl Iterator<Item = Endpoint> + use<> {
        [self.path.primary, self.path.duplicate].into_iter().flatten()
    }

    /// Whether a way may be measured now.
    fn is_measurable(&self, now: Instant, way: Endpoint) -> bool {
        match way {
            Endpoint::Direct(remote) => self
                .directs
                .get(remote)
                .is_some_and(|direct| !direct.doubt && direct.proof(now).is_some()),
            Endpoint::Relay { .. } => self.life.is_known(),
        }
    }

    /// Measures the ways that packets take, where that is due.
    pub(super) fn measure(&mut self, now: Instant, shared: &mut Shared) {
        let Some(tunnel) = shared.tunnel_mtu.filter(|_| self.is_in_use(now)) else {
            return;
        };
        for way in self.ways_in_use() {
            if !self.is_measurable(now, way) {
                continue;
            }
            self.mtus.add(way, tunnel);
            let patience = self
                .way_rtt(now, way)
                .map_or(PATIENCE, |rtt| (rtt + rtt / 2 + SLACK).min(PATIENCE_MAX));
            let sizes = self.mtus.get_mut(way).map(|search| search.due(now, patience));
            for size in sizes.into_iter().flatten() {
                self.probe_size(now, shared, way, size);
            }
        }
    }

    /// A ping whose datagram has `size` bytes, the relay's header counted.
    fn probe_size(&mut self, now: Instant, shared: &mut Shared, way: Endpoint, size: u16) {
        let message = self.new_ping(now, shared);
        if let Message::Ping(ping) = message {
            self.note_ping(now, way, ping.transaction, size);
        }
        if let Some(keys) = self.keys(shared) {
            shared.counters.mtu_probes += 1;
            shared.seal_padded(keys, way, &message, size);
        }
    }

    /// When [`Self::measure`] is due.
    pub(super) fn next_measure(&self, now: Instant, shared: &Shared) -> Option<Instant> {
        shared.tunnel_mtu.filter(|_| self.is_in_use(now))?;
        self.ways_in_use()
            .filter(|way| self.is_measurable(now, *way))
            .map(|way| self.mtus.get(way).map_or(now, |search| search.next(now)))
            .min()
    }

    /// A ping of a certain size came back.
    pub(super) fn measured(&mut self, now: Instant, way: Endpoint, size: u16) {
        if let Some(search) = self.mtus.get_mut(way) {
            search.answered(now, size);
        }
    }

    /// The ways in use are silent: it may be that only what is large does not get through any more.
    pub(super) fn suspect_mtu(&mut self, now: Instant) {
        self.with_searches(|_, search| search.suspect(now));
    }

    /// Many packets go by the ways in use.
    pub(in crate::path) fn carries_much(&mut self, now: Instant) {
        self.with_searches(|_, search| search.busy(now));
    }

    /// The kernel refused a datagram to this address: it is larger than the link takes.
    pub(in crate::path) fn too_large(&mut self, now: Instant, to: SocketAddr) {
        self.with_searches(|way, search| {
            if way.address() == to {
                search.suspect(now);
            }
        });
    }

    /// Tells the searches on the ways in use.
    fn with_searches(&mut self, mut tell: impl FnMut(Endpoint, &mut MtuSearch)) {
        for way in self.ways_in_use() {
            if let Some(search) = self.mtus.get_mut(way) {
                tell(way, search);
            }
        }
    }

    /// The largest packet that all ways of a path carry, where that is less than the tunnel's MTU.
    pub(super) fn max_packet(&self, path: &Path, shared: &Shared) -> Option<u16> {
        let tunnel = shared.tunnel_mtu?;
        let ways = [path.primary, path.duplicate].into_iter().flatten();
        let largest = |way| self.mtus.largest(way).or_else(|| self.mtus.smallest());
        ways.filter_map(largest).min().filter(|packet| *packet < tunnel)
    }

    /// The largest IP packet outside that is known to get through by the way in use, in bytes.
    pub(super) fn path_mtu(&self) -> Option<u16> {
        let way = self.path.primary?;
        let headers = if way.address().is_ipv4() { 28 } else { 48 };
        self.mtus.get(way)?.result().map(|datagram| datagram + headers)
    }
}
