//! What the benchmarks of `benches/` work on: connected sessions, packets and super-packets.

use std::time::Instant;

use boringtun::noise::{Tunn, TunnResult};
use meshd_core::keys::WireGuardSecret;
use meshd_core::packet::{GsoKind, Offload};
use meshd_core::wireguard::{HandshakeDone, PeerKeys, Session, WireGuard};

/// Two sessions with each other, ready both ways.
///
/// # Panics
/// If the handshake fails.
pub fn sessions() -> (Session, Session) {
    let [a, b] = [1, 2].map(|byte| WireGuard::new(WireGuardSecret::from_seed(&[byte; 32])));
    let keys = |public| PeerKeys {
        public,
        preshared: None,
        keepalive: None,
    };
    let (mut left, mut right) = (a.session(keys(b.public()), 1), b.session(keys(a.public()), 2));
    let (now, mut one, mut two) = (Instant::now(), [0; 148], [0; 148]);
    let length = left.initiate(now, &mut one).expect("an initiation");
    let Ok(HandshakeDone::Respond(length)) = right.handle_handshake(now, &one[..length], &mut two) else {
        panic!("no response")
    };
    let Ok(HandshakeDone::Established(length)) = left.handle_handshake(now, &two[..length], &mut one) else {
        panic!("no session")
    };
    right.open(&one[..length], &mut two).expect("the first packet");
    right.confirm(now);
    (left, right)
}

/// Two tunnels of boringtun's own, connected: the baseline.
///
/// # Panics
/// If the handshake fails.
pub fn tunnels() -> (Tunn, Tunn) {
    let [a, b] = [1, 2].map(|byte| WireGuardSecret::from_seed(&[byte; 32]));
    let mut left = Tunn::new(a.as_dalek().clone(), b.public().to_dalek(), None, None, 1, None);
    let mut right = Tunn::new(b.as_dalek().clone(), a.public().to_dalek(), None, None, 2, None);
    let (mut one, mut two) = ([0; 148], [0; 148]);
    let TunnResult::WriteToNetwork(message) = left.format_handshake_initiation(&mut one, false) else {
        panic!("no initiation")
    };
    let TunnResult::WriteToNetwork(message) = right.decapsulate(None, message, &mut two) else {
        panic!("no response")
    };
    let TunnResult::WriteToNetwork(message) = left.decapsulate(None, message, &mut one) else {
        panic!("no session")
    };
    right.decapsulate(None, message, &mut two);
    (left, right)
}

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
