//! Packets and super-packets.

use meshd_core::packet::{GsoKind, Offload, Segments};

/// An IPv4 packet with TCP, sequence number `seq`, checksums left out.
pub fn packet(length: usize, id: u16, seq: u32) -> Vec<u8> {
    let mut packet = vec![0x5a; length];
    packet[..20].copy_from_slice(&[
        0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2,
    ]);
    packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    packet[20..40].copy_from_slice(&[0, 80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    packet[24..28].copy_from_slice(&seq.to_be_bytes());
    packet
}

/// A TCP super-packet of `segments` segments of `mss` bytes as the kernel hands it over: its checksum field holds the
/// pseudo header's sum.
pub fn super_packet(segments: usize, mss: usize) -> (Vec<u8>, Offload) {
    let packet = packet(40 + segments * mss, 1, 1);
    let offload = Offload {
        kind: GsoKind::Tcp4,
        needs_checksum: true,
        header_len: 40,
        gso_size: mss as u16,
        checksum_start: 20,
        checksum_offset: 16,
    };
    (packet, offload)
}

/// The packets of one such super-packet, one after the other, each of `mss + 40` bytes.
///
/// # Panics
/// If it cannot be cut.
pub fn cut(segments: usize, mss: usize) -> Vec<u8> {
    let (packet, offload) = super_packet(segments, mss);
    let mut cut = Segments::new(&packet, &offload, mss + 40).expect("a super-packet");
    let (mut packets, mut filled) = (vec![0; segments * (mss + 40)], 0);
    while let Some(length) = cut.write_next(&mut packets[filled..]) {
        filled += length;
    }
    packets
}
