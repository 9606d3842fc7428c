//! From the TUN device to the network.
//!
//! 1. Read super-packets until there are none, or 128 segments are sealed.
//! 2. The destination gives the peer; it is locked once for a run of packets to it.
//! 3. What cannot be sealed yet waits in the staging pool, and the control side hears of it.
//! 4. A super-packet is cut where it was read, one segment at a time, each sealed from there into the outbox, as a single
//!    packet is; what is too large for the peer's path and may be fragmented, through a scratch buffer.
//! 5. The outbox leaves at once: a packet never waits for the next.

use std::sync::Arc;
use std::time::Instant;

use meshd_core::packet::{DropReason, GsoKind, Offload, clamp_mss, complete_checksum, ip};
use meshd_core::wireguard::DATA_OVERHEAD;
use meshd_net::tun::{TunQueue, VnetHeader};
use rand_core::{OsRng, RngCore};

use super::config::ControlEvent;
use super::outbox::{Flushed, Outbox, Route};
use super::peer::{Peer, PeerState};
use super::pieces::{Pieces, Scratch};
use super::seal::{seal, send_staged};
use super::shared::Shared;
use super::sockets::SocketSet;
use super::table::PeerTable;
use super::worker::Progress;

/// Segments after which a batch is sent, whatever else waits.
const BUDGET: usize = 128;
/// The largest super-packet, an IPv6 header and 65,535 bytes, and room for padding.
const READ_BUFFER: usize = 65_536 + 64;
const OUTBOX_BYTES: usize = 256 * 1024;
/// Bytes of buffers of one sender.
pub(super) const BUFFERS: usize = READ_BUFFER + 2 * OUTBOX_BYTES;

/// What sending needs; one for each thread that reads the TUN device.
pub(super) struct Tx {
    shared: Arc<Shared>,
    buffer: Box<[u8]>,
    scratch: Scratch,
    /// For the next packet that is cut into IPv6 fragments.
    next_id: u32,
    outbox: Outbox,
    copies: Outbox,
    /// The last batch was one packet: the next one may be, too.
    single: bool,
}

/// The peer that the last packet went to.
struct Held<'a> {
    slot: u32,
    peer: &'a Arc<Peer>,
    state: std::sync::MutexGuard<'a, PeerState>,
}

impl Tx {
    pub(super) fn new(shared: Arc<Shared>) -> Tx {
        Tx {
            scratch: Scratch::new(shared.mtu),
            next_id: OsRng.next_u32(),
            shared,
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
            outbox: Outbox::new(OUTBOX_BYTES, BUDGET),
            copies: Outbox::new(OUTBOX_BYTES, BUDGET),
            single: true,
        }
    }

    /// Handles one batch from `queue`, or goes on sending the last one.
    pub(super) fn run(&mut self, queue: &TunQueue) -> Progress {
        let shared = self.shared.clone();
        let _passage = shared.enter();
        let (table, sockets) = (shared.table.load(), shared.sockets.load());
        if !self.outbox.is_empty() || !self.copies.is_empty() {
            return self.flush(&sockets, Progress::More);
        }
        let (now, mut held, mut done) = (Instant::now(), None, 0);
        let progress = loop {
            if done >= BUDGET || !self.outbox.has_room(usize::from(shared.mtu) + DATA_OVERHEAD) {
                break Progress::More;
            }
            match queue.recv(&mut self.buffer) {
                Ok(Some((header, length))) => {
                    done += self.packet(&table, &mut held, (header, length), &sockets, now);
                    if done == 1 && self.single {
                        // before the device is asked for more: it has none; where it has, the next batch is not parted
                        self.flush(&sockets, Progress::More);
                    }
                }
                Ok(None) => break Progress::Idle,
                Err(_) => break Progress::Gone,
            }
        };
        drop(held);
        self.single = done <= 1;
        self.flush(&sockets, progress)
    }

    fn flush(&mut self, sockets: &SocketSet, progress: Progress) -> Progress {
        let first = self.outbox.flush(sockets, &self.shared.drops);
        let copies = self.copies.flush(sockets, &self.shared.drops);
        match (first, copies) {
            (Flushed::All, Flushed::All) => progress,
            (Flushed::Blocked { token }, _) | (_, Flushed::Blocked { token }) => Progress::Blocked { token },
        }
    }

    /// Handles the packet that was read; gives how many segments that were.
    fn packet<'a>(
        &mut self,
        table: &'a PeerTable,
        held: &mut Option<Held<'a>>,
        (header, length): (VnetHeader, usize),
        sockets: &SocketSet,
        now: Instant,
    ) -> usize {
        let packet = &self.buffer[..length];
        let Some(address) = ip::destination(packet) else {
            return self.drop_one(DropReason::Malformed);
        };
        let Some(slot) = table.allowed_ips().lookup(address) else {
            return self.drop_one(DropReason::NoRoute);
        };
        if held.as_ref().is_none_or(|held| held.slot != slot) {
            // the one is let go before the other is taken: nobody ever holds two
            *held = None;
            let Some(peer) = table.peer(slot) else {
                return self.drop_one(DropReason::NoRoute);
            };
            *held = Some(Held {
                slot,
                peer,
                state: peer.lock(),
            });
        }
        let Some(Held { peer, state, .. }) = held else {
            return 0;
        };
        let Some(offload) = offload(&header) else {
            return self.drop_one(DropReason::Malformed);
        };
        if !state.alive {
            return self.drop_one(DropReason::NoRoute);
        }
        if state.staged {
            send_staged(
                &self.shared,
                peer,
                state,
                self.scratch.packet(),
                &mut self.outbox,
                now,
            );
        }
        let sent = match (state.route(), offload.kind) {
            (Some(route), _) if !state.staged && state.session.is_ready() => {
                self.send((peer.index, state), &route, &offload, length, sockets, now)
            }
            _ => self.stage(peer, state, &offload, length, now),
        };
        match sent {
            Ok(segments) => segments,
            Err(DropReason::TooBig) => {
                let shared = &self.shared;
                shared
                    .too_big
                    .answer(&shared.tun, &self.buffer[..length], state.max_packet());
                self.drop_one(DropReason::TooBig)
            }
            Err(reason) => self.drop_one(reason),
        }
    }

    fn drop_one(&self, reason: DropReason) -> usize {
        self.shared.drops.count(reason);
        1
    }

    /// Cuts, completes and seals what was read.
    fn send(
        &mut self,
        (index, state): (u32, &mut PeerState),
        route: &Route,
        offload: &Offload,
        length: usize,
        sockets: &SocketSet,
        now: Instant,
    ) -> Result<usize, DropReason> {
        let max_packet = usize::from(state.max_packet());
        let duplicate = state.duplicate();
        let mut bytes = 0;
        let single = offload.kind == GsoKind::None;
        if single {
            self.finish_single(offload, length, state.max_packet())?;
        }
        if single && length <= max_packet {
            let sealer = &mut state.session.sealer().ok_or(DropReason::NoSession)?;
            let copies = duplicate.as_ref().map(|route| (route, &mut self.copies));
            let sealed = seal(
                sealer,
                (route, copies),
                &mut self.buffer,
                (length, max_packet),
                &mut self.outbox,
            )?;
            if state.is_silent(now) {
                self.shared.rescue().keep(index, &self.buffer[..length], now);
            }
            state.sent(sealed, 1, now);
            return Ok(1);
        }
        let pieces = Pieces::new(&mut self.buffer, length, offload, max_packet, self.next_id)?;
        let sealer = &mut state.session.sealer().ok_or(DropReason::NoSession)?;
        let (shared, outbox, copies) = (&self.shared, &mut self.outbox, &mut self.copies);
        let count = pieces.each(&mut self.scratch, |piece, length| {
            if !outbox.has_room(max_packet + DATA_OVERHEAD) {
                // only where packets are so large, or other peers' so many, that the outbox is full; without room at the
                // socket either, the rest is dropped
                outbox.flush(sockets, &shared.drops);
                copies.flush(sockets, &shared.drops);
            }
            let copies = duplicate.as_ref().map(|route| (route, &mut *copies));
            match seal(sealer, (route, copies), piece, (length, max_packet), outbox) {
                Ok(sealed) => bytes += sealed,
                Err(reason) => shared.drops.count(reason),
            }
        });
        self.next_id = self.next_id.wrapping_add(count as u32);
        state.sent(bytes, count as u64, now);
        Ok(count)
    }

    /// Readies a packet that is no super-packet: its MSS option, its checksum.
    fn finish_single(&mut self, offload: &Offload, length: usize, max_packet: u16) -> Result<(), DropReason> {
        let packet = &mut self.buffer[..length];
        if max_packet < self.shared.mtu {
            clamp_mss(packet, max_packet, offload.needs_checksum);
        }
        complete_checksum(packet, offload)
    }

    /// Keeps the packet until there is a session and a path, and asks for them.
    fn stage(
        &mut self,
        peer: &Arc<Peer>,
        state: &mut PeerState,
        offload: &Offload,
        length: usize,
        now: Instant,
    ) -> Result<usize, DropReason> {
        let (mut count, max_packet) = (1, state.max_packet());
        let single = offload.kind == GsoKind::None;
        if single {
            self.finish_single(offload, length, max_packet)?;
        }
        let shared = &self.shared;
        if single && length <= usize::from(max_packet) {
            shared
                .staging()
                .push(peer.index, &self.buffer[..length], now, &self.shared.drops);
        } else {
            let max_packet = usize::from(max_packet);
            let pieces = Pieces::new(&mut self.buffer, length, offload, max_packet, self.next_id)?;
            let mut staging = shared.staging();
            count = pieces.each(&mut self.scratch, |piece, length| {
                staging.push(peer.index, &piece[..length], now, &shared.drops);
            });
            self.next_id = self.next_id.wrapping_add(count as u32);
        }
        state.staged = true;
        if state.route().is_some() {
            state.session.demand(now);
            self.shared.handshakes.want(peer);
        }
        if state.demands(now) {
            self.shared
                .control
                .tell(&self.shared.drops, || ControlEvent::Demand { node: peer.node });
        }
        Ok(count)
    }
}

/// What the kernel's header says, in the core's words; none for a kind that was never agreed to.
fn offload(header: &VnetHeader) -> Option<Offload> {
    let kind = match header.gso_type & !VnetHeader::GSO_ECN {
        VnetHeader::GSO_NONE => GsoKind::None,
        VnetHeader::GSO_TCPV4 => GsoKind::Tcp4,
        VnetHeader::GSO_TCPV6 => GsoKind::Tcp6,
        VnetHeader::GSO_UDP_L4 => GsoKind::Udp,
        _ => return None,
    };
    Some(Offload {
        kind,
        needs_checksum: header.flags & VnetHeader::NEEDS_CSUM != 0,
        header_len: header.hdr_len,
        gso_size: header.gso_size,
        checksum_start: header.csum_start,
        checksum_offset: header.csum_offset,
    })
}
