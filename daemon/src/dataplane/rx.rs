//! From the network to the TUN device.
//!
//! 1. One receive call brings runs of datagrams; each datagram is classed by its first bytes.
//! 2. Data: the receiver index gives the peer, which is locked once for a run; the datagram is opened into the arena, the
//!    outer congestion mark is brought in, and the source has to be among the peer's allowed IPs.
//! 3. Handshakes go to their thread, everything else to the control side; both by queues that never block.
//! 4. The packets in the arena are merged into super-packets and written, one call each.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use meshd_core::demux::{Class, RELAY_CONTROL_SESSION, RELAY_HEADER_LEN, classify, split_relay};
use meshd_core::packet::{Coalescer, DropReason, clamp_mss, ecn, ip};
use meshd_core::path::{Endpoint, Remote, SocketId};
use meshd_core::wireguard::{DATA_OVERHEAD, receiver};
use meshd_net::tun::TunQueue;
use meshd_net::udp::{GRO_BUFFER, RecvBatch, UdpSocket};

use super::config::ControlEvent;
use super::outbox::Outbox;
use super::peer::{Peer, PeerState};
use super::relaying::Forwarder;
use super::seal::send_staged;
use super::shared::Shared;
use super::table::PeerTable;
use super::tun_write::write_groups;
use super::worker::Progress;

/// Runs taken by one receive call.
const RUNS: usize = 8;
/// Packets written at once at the latest.
const PACKETS: usize = 256;
const ARENA: usize = 256 * 1024;
/// First packets to peers that have just confirmed a session.
const REPLY_BYTES: usize = 64 * 1024;
/// Bytes of buffers of one receiver.
pub(super) const BUFFERS: usize = RUNS * GRO_BUFFER + ARENA + REPLY_BYTES;
/// Longest datagram that is handed to the control side, in bytes; a ping that measures a path may be as long as the tunnel's
/// datagrams.
const MAX_CONTROL_LEN: usize = 2048;

/// What receiving needs; one for each thread that reads the sockets.
pub(super) struct Rx {
    batch: RecvBatch,
    sink: Sink,
}

/// Everything behind the receive call.
struct Sink {
    shared: Arc<Shared>,
    arena: Box<[u8]>,
    filled: usize,
    coalescer: Coalescer,
    /// First packets to peers that have just confirmed a session.
    replies: Outbox,
    packet: Box<[u8]>,
}

/// The peer that the last datagram came from.
struct Held<'a> {
    index: u32,
    slot: u32,
    peer: &'a Arc<Peer>,
    state: std::sync::MutexGuard<'a, PeerState>,
}

/// What the outside of a datagram says.
#[derive(Clone, Copy)]
struct Outside {
    from: Endpoint,
    local: Option<IpAddr>,
    ecn: u8,
    now: Instant,
}

impl Rx {
    pub(super) fn new(shared: Arc<Shared>) -> Rx {
        let mut coalescer = Coalescer::new(PACKETS);
        let offloads = shared.tun.offloads();
        coalescer.set_merge_tcp(offloads.vnet);
        coalescer.set_merge_udp(offloads.uso);
        let packet = vec![0; usize::from(shared.mtu) + 16].into_boxed_slice();
        let arena = vec![0; ARENA].into_boxed_slice();
        let sink = Sink {
            shared,
            arena,
            filled: 0,
            coalescer,
            replies: Outbox::new(REPLY_BYTES, 64),
            packet,
        };
        Rx {
            batch: RecvBatch::new(RUNS, GRO_BUFFER),
            sink,
        }
    }

    /// Handles one batch from `socket`, writing to `queue`.
    pub(super) fn run(&mut self, id: SocketId, socket: &UdpSocket, queue: &TunQueue) -> Progress {
        match socket.recv_batch(&mut self.batch) {
            Ok(0) => return Progress::Idle,
            Ok(_) => {}
            Err(_) => return Progress::Gone,
        }
        let shared = self.sink.shared.clone();
        let _passage = shared.enter();
        let relaying = shared.relaying.load();
        let forwarder = relaying.as_ref().filter(|_| id.is_primary());
        let forwarder = forwarder.map(|relaying| Forwarder::new(&shared, relaying));
        let (table, now, mut held) = (shared.table.load(), Instant::now(), None);
        for mut received in self.batch.iter_mut() {
            let from = Endpoint::Direct(Remote {
                address: received.source,
                socket: id,
            });
            let outside = Outside {
                from,
                local: received.local,
                ecn: received.ecn,
                now,
            };
            let mut own = |datagram: &[u8]| {
                self.sink.datagram(&table, &mut held, queue, outside, datagram);
            };
            match &forwarder {
                Some(forwarder) => forwarder.buffer(now, from, &mut received, own),
                None => received
                    .bytes
                    .chunks(received.segment_size.max(1))
                    .for_each(&mut own),
            }
        }
        drop(held);
        self.sink.write(queue);
        if self.batch.is_full() {
            Progress::More
        } else {
            Progress::Idle
        }
    }
}

impl Sink {
    #[inline]
    fn datagram<'a>(
        &mut self,
        table: &'a PeerTable,
        held: &mut Option<Held<'a>>,
        queue: &TunQueue,
        outside: Outside,
        datagram: &[u8],
    ) {
        let handled = match classify(datagram) {
            Class::Data => self.data(table, held, queue, outside, datagram),
            Class::Relay => self.relay(table, held, queue, outside, datagram),
            Class::HandshakeInitiation | Class::HandshakeResponse | Class::CookieReply => {
                self.shared.handshakes.push(outside.from, outside.local, datagram)
            }
            class @ (Class::Stun | Class::Discovery | Class::Beacon) => {
                self.to_control(outside, class, datagram)
            }
            Class::Unknown => Err(DropReason::UnknownDatagram),
        };
        if let Err(reason) = handled {
            self.shared.drops.count(reason);
        }
    }

    /// A relay frame: the relay's own message, or one packet that it carried.
    #[inline]
    fn relay<'a>(
        &mut self,
        table: &'a PeerTable,
        held: &mut Option<Held<'a>>,
        queue: &TunQueue,
        outside: Outside,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let relay = outside.from.address();
        let (session, payload) = split_relay(datagram)?;
        let primary = outside.from.socket().is_primary();
        // where this node relays, anybody may ask to bind
        let asks = primary && session == RELAY_CONTROL_SESSION && self.shared.relaying.load().is_some();
        if !asks && (!primary || !self.shared.relays.load().contains(&relay)) {
            return Err(DropReason::UnknownRelay);
        }
        if session == RELAY_CONTROL_SESSION {
            return self.to_control(outside, Class::Relay, datagram);
        }
        let outside = Outside {
            from: Endpoint::Relay { relay, session },
            ..outside
        };
        match classify(payload) {
            Class::Data => self.data(table, held, queue, outside, payload),
            Class::HandshakeInitiation | Class::HandshakeResponse | Class::CookieReply => {
                self.shared.handshakes.push(outside.from, outside.local, payload)
            }
            Class::Discovery => self.to_control(outside, Class::Discovery, payload),
            _ => Err(DropReason::NotRelayable),
        }
    }

    fn to_control(&self, outside: Outside, class: Class, datagram: &[u8]) -> Result<(), DropReason> {
        let longest = usize::from(self.shared.mtu) + DATA_OVERHEAD + RELAY_HEADER_LEN;
        if datagram.len() > longest.max(MAX_CONTROL_LEN) {
            return Err(DropReason::TooBig);
        }
        self.shared.control.tell(&self.shared.drops, || {
            let (from, local) = (outside.from, outside.local);
            ControlEvent::Datagram {
                from,
                local,
                class,
                bytes: datagram.into(),
            }
        });
        Ok(())
    }

    #[inline]
    fn data<'a>(
        &mut self,
        table: &'a PeerTable,
        held: &mut Option<Held<'a>>,
        queue: &TunQueue,
        outside: Outside,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let index = receiver(datagram).ok_or(DropReason::Malformed)? >> 8;
        if held.as_ref().is_none_or(|held| held.index != index) {
            // the one is let go before the other is taken: nobody ever holds two
            *held = None;
            let slot = table.slot_by_index(index).ok_or(DropReason::NoSession)?;
            let peer = table.peer(slot).ok_or(DropReason::NoSession)?;
            *held = Some(Held {
                index,
                slot,
                peer,
                state: peer.lock(),
            });
        }
        let Some(held) = held else {
            return Err(DropReason::NoSession);
        };
        if self.arena.len() - self.filled < datagram.len() || self.coalescer.len() == PACKETS {
            self.write(queue);
        }
        self.open(table, held, outside, datagram)
    }

    #[inline]
    fn open(
        &mut self,
        table: &PeerTable,
        held: &mut Held<'_>,
        outside: Outside,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let (peer, state) = (held.peer, &mut *held.state);
        if !state.alive {
            return Err(DropReason::NoSession);
        }
        let opened = state.session.open(datagram, &mut self.arena[self.filled..])?;
        state.received(
            outside.from,
            outside.local,
            datagram.len(),
            u64::from(opened.length > 0),
            outside.now,
        );
        if let Some(from) = state.roamed(outside.now) {
            self.shared
                .control
                .tell(&self.shared.drops, || ControlEvent::RoamedTo {
                    node: peer.node,
                    from,
                });
        }
        if opened.renewed {
            state.switch.session_began();
        }
        if opened.confirmed {
            state.session.confirm(outside.now);
            let event = || ControlEvent::Handshake {
                node: peer.node,
                from: outside.from,
            };
            self.shared.control.tell(&self.shared.drops, event);
            self.send_staged(peer, state, outside.now);
        }
        if opened.length == 0 {
            return Ok(());
        }
        let packet = &mut self.arena[self.filled..self.filled + opened.length];
        let source = ip::source(packet).ok_or(DropReason::Malformed)?;
        if table.allowed_ips().lookup(source) != Some(held.slot) && !table.may_also_send(held.slot, source) {
            return Err(DropReason::SourceNotAllowed);
        }
        ecn::inner(packet, outside.ecn)?;
        if state.max_packet() < self.shared.mtu {
            clamp_mss(packet, state.max_packet(), false);
        }
        self.coalescer.push(&self.arena, self.filled, opened.length);
        self.filled += opened.length;
        Ok(())
    }

    /// Sends what waited for the session that the peer has just confirmed; before the peer is let go, so that nothing that
    /// is sealed later overtakes.
    fn send_staged(&mut self, peer: &Peer, state: &mut PeerState, now: Instant) {
        send_staged(
            &self.shared,
            peer,
            state,
            &mut self.packet,
            &mut self.replies,
            now,
        );
        self.replies
            .flush(&self.shared.sockets.load(), &self.shared.drops);
        self.replies.discard(&self.shared.drops);
    }

    /// Writes all packets of the arena, and empties it.
    fn write(&mut self, queue: &TunQueue) {
        write_groups(
            &mut self.coalescer,
            &self.arena,
            &self.shared.drops,
            |header, parts| queue.send(header, parts),
        );
        self.coalescer.clear();
        self.filled = 0;
    }
}
