//! The packet path allocates nothing: batches through sealing, opening, cutting and merging, once they are warm.
#![allow(
    clippy::disallowed_methods,
    reason = "a test stands outside the core and brings the time"
)]

use std::hint::black_box;
use std::time::Instant;

use meshd_core::allowed_ips::AllowedIps;
use meshd_core::demux::{Class, classify};
use meshd_core::keys::WireGuardSecret;
use meshd_core::packet::{Coalescer, GsoKind, Offload, Parts, Segments, clamp_mss, ecn, ip};
use meshd_core::wireguard::{HandshakeDone, PeerKeys, Session, WireGuard};

const SEGMENT: usize = 1368;
const SEGMENTS: usize = 40;

fn connected() -> (Session, Session) {
    let [a, b] = [1, 2].map(|byte| WireGuard::new(WireGuardSecret::from_seed(&[byte; 32])));
    let keys = |public| PeerKeys {
        public,
        preshared: None,
        keepalive: None,
    };
    let (mut left, mut right) = (a.session(keys(b.public()), 1), b.session(keys(a.public()), 2));
    let (now, mut one, mut two) = (Instant::now(), [0; 148], [0; 148]);
    let length = left.initiate(now, &mut one).unwrap();
    let Ok(HandshakeDone::Respond(length)) = right.handle_handshake(now, &one[..length], &mut two) else {
        panic!("no response")
    };
    let Ok(HandshakeDone::Established(length)) = left.handle_handshake(now, &two[..length], &mut one) else {
        panic!("no session")
    };
    assert!(right.open(&one[..length], &mut two).unwrap().confirmed);
    right.confirm(now);
    (left, right)
}

/// A TCP super-packet over IPv4 as the kernel hands it over, checksums left to do.
fn super_packet() -> (Vec<u8>, Offload) {
    let mut packet = vec![0x33; 40 + SEGMENT * SEGMENTS];
    let total = packet.len() as u16;
    packet[..20].copy_from_slice(&[
        0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2,
    ]);
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet[20..40].copy_from_slice(&[0, 80, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    let offload = Offload {
        kind: GsoKind::Tcp4,
        needs_checksum: true,
        header_len: 40,
        gso_size: SEGMENT as u16,
        checksum_start: 20,
        checksum_offset: 16,
    };
    (packet, offload)
}

/// One batch from a super-packet to super-packets; gives how many of those there were.
fn batch(
    ends: &mut (Session, Session),
    table: &AllowedIps,
    (packet, offload): &(Vec<u8>, Offload),
    (plain, wire, arena): &mut (Vec<u8>, Vec<u8>, Vec<u8>),
    coalescer: &mut Coalescer,
) -> usize {
    assert_eq!(
        ip::destination(packet).and_then(|address| table.lookup(address)),
        Some(2)
    );
    let mut segments = Segments::new(packet, offload, 1408).unwrap();
    let mut sealer = ends.0.sealer().unwrap();
    let mut used = 0;
    while let Some(length) = segments.write_next(plain) {
        clamp_mss(&mut plain[..length], 1408, false);
        used += sealer.seal(&plain[..length], &mut wire[used..]).unwrap();
    }
    let mut filled = 0;
    coalescer.clear();
    for datagram in wire[..used].chunks(SEGMENT + 40 + 32) {
        assert_eq!(classify(datagram), Class::Data);
        let length = ends.1.open(datagram, &mut arena[filled..]).unwrap().length;
        ecn::inner(&mut arena[filled..filled + length], 0).unwrap();
        coalescer.push(arena, filled, length);
        filled += length;
    }
    for group in 0..coalescer.groups() {
        let (mut header, mut parts) = ([0; 100], Parts::default());
        black_box(coalescer.group(group, arena, &mut header, &mut parts));
        black_box(parts.as_slice());
    }
    coalescer.groups()
}

#[test]
fn a_batch_allocates_nothing() {
    let mut ends = connected();
    let table = AllowedIps::new([
        ("10.77.0.2/32".parse().unwrap(), 2),
        ("fd00::/64".parse().unwrap(), 3),
    ]);
    let input = super_packet();
    let mut buffers = (vec![0; 2048], vec![0; 1 << 17], vec![0; 1 << 17]);
    let mut coalescer = Coalescer::new(128);
    let groups = batch(&mut ends, &table, &input, &mut buffers, &mut coalescer);
    assert_eq!(groups, 1);
    let allocations = allocation_counter::measure(|| {
        for _ in 0..20 {
            batch(&mut ends, &table, &input, &mut buffers, &mut coalescer);
        }
    });
    assert_eq!(
        allocations.count_total,
        0,
        "{allocations:?} in {} packets",
        20 * SEGMENTS
    );
}
