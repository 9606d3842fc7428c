//! All that a batch costs besides system calls, in the steps of the packet path: allowed IPs, cutting, checksums, padding and sealing
//! on the way out; opening, the check of the source and merging on the way in.

use std::hint::black_box;

use meshd_core::allowed_ips::AllowedIps;
use meshd_core::packet::{Coalescer, MAX_HEADER_LEN, Offload, Parts, Segments, ip};
use meshd_core::wireguard::{DATA_OVERHEAD, Session};

use crate::packets::super_packet;
use crate::peers::sessions;

/// Segments of a super-packet of nearly 64 KiB.
pub const SEGMENTS: usize = 46;
/// What a sender leaves behind a packet for its padding.
const ROOM: usize = 16;

/// Both ends of a tunnel, and a super-packet to send.
pub struct Tunnel {
    left: Session,
    right: Session,
    table: AllowedIps,
    packet: Vec<u8>,
    offload: Offload,
    mtu: usize,
    piece: Vec<u8>,
    coalescer: Coalescer,
}

impl Tunnel {
    /// Its segments are packets of `mtu` bytes.
    ///
    /// # Panics
    /// If the handshake fails.
    pub fn new(mtu: usize) -> Self {
        let ((left, right), (packet, offload)) = (sessions(), super_packet(SEGMENTS, mtu - 40));
        let prefixes = [("10.77.0.1/32", 0), ("10.77.0.2/32", 1)];
        let prefixes = prefixes.map(|(prefix, peer)| (prefix.parse().expect("a prefix"), peer));
        Self {
            left,
            right,
            table: AllowedIps::new(prefixes),
            packet,
            offload,
            mtu,
            piece: vec![0; mtu + ROOM],
            coalescer: Coalescer::new(256),
        }
    }

    /// Bytes of the packets of one batch.
    pub fn bytes(&self) -> usize {
        SEGMENTS * self.mtu
    }

    /// Bytes of a datagram.
    pub fn datagram(&self) -> usize {
        self.mtu + DATA_OVERHEAD
    }

    /// Room for a batch's datagrams.
    pub fn wire(&self) -> Vec<u8> {
        vec![0; SEGMENTS * self.datagram()]
    }

    /// A copy of the super-packet, as it was read.
    pub fn packet(&self) -> Vec<u8> {
        self.packet.clone()
    }

    /// Cuts and seals the super-packet `packet` into `wire`.
    ///
    /// # Panics
    /// If there is no session.
    pub fn send(&mut self, packet: &mut [u8], wire: &mut [u8]) {
        let peer = ip::destination(packet).and_then(|address| self.table.lookup(address));
        black_box(peer.expect("a peer has the address"));
        let mut segments = Segments::new(packet, &self.offload, self.mtu).expect("a super-packet");
        let (mut sealer, mut used) = (self.left.sealer().expect("a session"), 0);
        while let Some(length) = segments.write_next(&mut self.piece) {
            let padded = length.next_multiple_of(16).min(self.mtu);
            self.piece[length..padded].fill(0);
            used += sealer
                .seal(&self.piece[..padded], &mut wire[used..])
                .expect("sealed");
        }
        black_box(&wire[..used]);
    }

    /// Opens and merges what [`Tunnel::send`] wrote; `arena` has room for the packets and one datagram.
    ///
    /// # Panics
    /// If it is not authentic.
    pub fn receive(&mut self, wire: &[u8], arena: &mut [u8]) {
        let mut filled = 0;
        self.coalescer.clear();
        for datagram in wire.chunks(self.mtu + DATA_OVERHEAD) {
            let length = self
                .right
                .open(datagram, &mut arena[filled..])
                .expect("opened")
                .length;
            let source = ip::source(&arena[filled..filled + length]);
            black_box(
                source
                    .and_then(|source| self.table.lookup(source))
                    .expect("the peer's address"),
            );
            self.coalescer.push(arena, filled, length);
            filled += length;
        }
        merged(&mut self.coalescer, arena);
    }
}

/// What a writer does with merged packets, but for the system call.
pub fn merged(coalescer: &mut Coalescer, arena: &[u8]) {
    let mut header = [0; MAX_HEADER_LEN];
    for group in 0..coalescer.groups() {
        let mut parts = Parts::default();
        black_box(coalescer.group(group, arena, &mut header, &mut parts));
        black_box(parts.as_slice());
    }
}
