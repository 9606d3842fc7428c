//! What the data plane says: control datagrams, handshakes, demand, roaming; and its counters, sampled.

use super::sockets;
use super::task::Task;
use crate::dataplane::{ControlEvent, PeerStats};
use meshd_core::id::NodeId;
use meshd_core::path::{Endpoint, Source};
use meshd_net::udp::Beacon;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};
use tracing::{debug, error, warn};

/// After the last packet, counters are still read quickly for this long, so that a slow trickle counts as traffic.
const LINGER: Duration = Duration::from_secs(5);

/// Packets to one peer between two samples, a tenth of a second apart, from which on much goes to it.
const MUCH: u64 = 10;

/// What was last seen of the data plane's counters.
#[derive(Default)]
pub(super) struct Samples {
    seen: BTreeMap<NodeId, Seen>,
    busy_until: Option<Instant>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    last_rx: Option<Instant>,
    tx_packets: u64,
    pending_since: Option<Instant>,
}

impl Task {
    /// One event of the data plane. Breaks where the interface is gone and all must start anew.
    pub(super) fn plane_said(&mut self, event: ControlEvent) -> ControlFlow<()> {
        let now = Instant::now();
        match event {
            ControlEvent::Datagram {
                from, local, bytes, ..
            } => self.datagram(now, from, local, &bytes),
            ControlEvent::Handshake { node, from } => {
                debug!(peer = %self.name_of(node), from = %from.address(), "handshake");
                self.agent.note_received(now, node, from);
                self.agent.handshake_done(now, node);
                self.samples.busy_until = Some(now + LINGER);
            }
            ControlEvent::StaleHandshake { node, .. } => {
                debug!(peer = %self.name_of(node), "its clock is behind what it was: this node initiates");
                self.plane.initiate(node);
            }
            ControlEvent::Demand { node } => {
                self.agent.handle_activity(now, node);
                self.samples.busy_until = Some(now + LINGER);
            }
            ControlEvent::RoamedTo { node, from } => self.agent.note_received(now, node, from),
            ControlEvent::TunGone => {
                warn!(interface = %self.interface.name, "somebody deleted the interface; it is made anew");
                return ControlFlow::Break(());
            }
            ControlEvent::SocketGone => self.rebind(),
        }
        ControlFlow::Continue(())
    }

    /// A control datagram came: from who floods this node it counts only where it was asked for.
    fn datagram(&mut self, now: Instant, from: Endpoint, local: Option<IpAddr>, bytes: &[u8]) {
        let source = match from {
            Endpoint::Direct(remote) => Source::Socket(remote),
            Endpoint::Relay { relay, session } => Source::Relay { relay, session },
        };
        if !self.floods.admit(now, from.into()) && !self.agent.awaits(source, bytes) {
            return;
        }
        if !self.relay_request(from, local, bytes) {
            self.agent.handle_datagram(now, source, bytes);
        }
    }

    /// Opens the sockets anew, on the same port.
    fn rebind(&mut self) {
        match sockets::open(Some(self.paths.port), None) {
            Ok(sockets) => self.plane.replace_sockets(sockets.plane),
            Err(error) => {
                error!(%error, "the UDP socket failed and cannot be opened again");
                self.note(format!(
                    "the UDP socket failed and cannot be opened again: {error}"
                ));
            }
        }
        self.agent.network_changed(Instant::now());
    }

    /// Beacons were heard.
    pub(super) fn heard_beacons(&mut self, beacons: &[Beacon]) {
        for beacon in beacons {
            self.agent
                .handle_datagram(Instant::now(), Source::Beacon(beacon.source), &beacon.bytes);
        }
    }

    /// Reads the counters and tells the agent what went and came. True while there is traffic.
    pub(super) fn sample(&mut self, now: Instant) -> bool {
        for stats in self.plane.stats() {
            self.sample_peer(now, &stats);
        }
        self.call_node_relays(now);
        if let Some(to) = self.plane.take_too_large() {
            self.agent.too_large(now, to);
        }
        self.paths.save_when_due(&self.agent, &self.carriers, &self.files);
        self.samples.busy_until.is_some_and(|until| now < until)
    }

    fn sample_peer(&mut self, now: Instant, stats: &PeerStats) {
        let present = Seen {
            last_rx: stats.last_rx,
            tx_packets: stats.tx_packets,
            pending_since: stats.handshake_pending_since,
        };
        let before = self.samples.seen.insert(stats.node, present).unwrap_or_default();
        if before == present {
            return;
        }
        if present.pending_since.is_some() && present.pending_since != before.pending_since {
            self.agent.initiation_sent(now, stats.node);
        }
        if let (true, Some(from)) = (present.last_rx != before.last_rx, stats.last_rx_from) {
            self.agent.note_received(now, stats.node, from);
            self.gateways.received(now, stats.node);
            self.samples.busy_until = Some(now + LINGER);
        }
        if present.tx_packets != before.tx_packets {
            let packets = present.tx_packets.saturating_sub(before.tx_packets);
            self.gateways.sent(now, stats.node, packets);
            if let Some(since) = stats.unanswered_since {
                self.agent.note_unanswered(now, stats.node, since);
            }
            if packets > MUCH {
                self.agent.note_busy(now, stats.node);
            }
            self.agent.handle_activity(now, stats.node);
            self.samples.busy_until = Some(now + LINGER);
        }
    }
}
