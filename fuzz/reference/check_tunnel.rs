//! A batch through the whole tunnel, as meshd handles batches, beside boringtun driven packet by packet: super-packets are cut, sealed by our
//! session, opened by a boringtun tunnel, and are what the naive reference cuts; the same packets sealed one by one by boringtun, lost, swapped
//! and doubled on the way, are opened by our session once each, whatever their order, and what was opened is merged into what cuts back into them.

use std::time::Instant;

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use meshd_core::keys::WireGuardSecret;
use meshd_core::packet::{
    Coalescer, DropReason, GsoKind, MAX_HEADER_LEN, Offload, Parts, Segments, complete_checksum,
};
use meshd_core::wireguard::{DATA_OVERHEAD, HandshakeDone, INITIATION_LEN, PeerKeys, Session, WireGuard};

use super::bytes::{Bytes, payload};
use super::packet::{ACK, Ip, PSH, Packet, TCP, Transport};
use super::segment::segments;

const MTU: usize = 1408;
const BATCH: usize = 256;
const OURS: [u8; 32] = [1; 32];
const THEIRS: [u8; 32] = [2; 32];

/// Our session and a boringtun tunnel, each with the other's keys; our side began.
fn connect(index: u32) -> (Session, Tunn) {
    let our_public = WireGuard::new(WireGuardSecret::from_seed(&OURS)).public();
    let secret = StaticSecret::from(THEIRS);
    let public = PublicKey::from(&secret);
    let keys = PeerKeys {
        public: WireGuard::new(WireGuardSecret::from_seed(&THEIRS)).public(),
        preshared: None,
        keepalive: None,
    };
    assert_eq!(keys.public.to_dalek(), public);
    let mut ours = WireGuard::new(WireGuardSecret::from_seed(&OURS)).session(keys, index);
    let mut theirs = Tunn::new(secret, our_public.to_dalek(), None, None, 9, None);
    let (now, mut out, mut answer) = (Instant::now(), [0; INITIATION_LEN], [0; INITIATION_LEN]);
    let length = ours.initiate(now, &mut out).expect("an initiation");
    let TunnResult::WriteToNetwork(response) = theirs.decapsulate(None, &out[..length], &mut answer) else {
        panic!("no response")
    };
    let mut first = [0; INITIATION_LEN];
    let Ok(HandshakeDone::Established(length)) = ours.handle_handshake(now, response, &mut first) else {
        panic!("no session")
    };
    assert!(matches!(
        theirs.decapsulate(None, &first[..length], &mut answer),
        TunnResult::Done
    ));
    (ours, theirs)
}

/// A packet of one of four flows, each by one of TCP, UDP, IPv4 and IPv6.
fn packet(input: &mut Bytes<'_>, seq: &mut [u32; 4], id: &mut u16) -> (Packet, u16) {
    let flow = usize::from(input.u8() & 3);
    let (length, size) = (usize::from(input.u16()) % 9000, 1 + input.u16() % 1300);
    let ip = if flow & 1 == 0 {
        Ip::V4 {
            tos: 0,
            id: *id,
            flags_and_offset: 0x4000,
            ttl: 64,
            source: [10, 77, 0, 1],
            destination: [10, 77, 0, 2],
            options: Vec::new(),
        }
    } else {
        Ip::V6 {
            first_four: [0x60, 0, 0, 0],
            hop_limit: 64,
            source: [0xfd; 16],
            destination: [0xfc; 16],
            extensions: Vec::new(),
        }
    };
    let transport = if flow & 2 == 0 {
        Transport::Tcp {
            seq: seq[flow],
            ack: 5,
            offset_and_reserved: 0x50,
            flags: ACK | if input.flip() { PSH } else { 0 },
            window: 500,
            urgent: 0,
            options: Vec::new(),
        }
    } else {
        Transport::Udp
    };
    seq[flow] = seq[flow].wrapping_add(length as u32);
    *id = id.wrapping_add(length.div_ceil(usize::from(size)) as u16);
    let whole = Packet {
        ip,
        ports: [0, flow as u8, 0, 9],
        transport,
        payload: payload(length, input.u8()),
    };
    (whole, size)
}

/// What the sender's kernel hands over: a super-packet, or where it fits a packet whose checksum is left to do.
fn handed_over(packet: &Packet, size: u16) -> (Vec<u8>, Offload) {
    let header_len = packet.header_len();
    let kind = match (packet.protocol(), &packet.ip) {
        _ if packet.payload.len() <= usize::from(size) => GsoKind::None,
        (TCP, Ip::V4 { .. }) => GsoKind::Tcp4,
        (TCP, Ip::V6 { .. }) => GsoKind::Tcp6,
        _ => GsoKind::Udp,
    };
    let offload = Offload {
        kind,
        needs_checksum: true,
        header_len: header_len as u16,
        gso_size: size,
        checksum_start: (header_len + packet.payload.len() - packet.transport_len()) as u16,
        checksum_offset: if packet.protocol() == TCP { 16 } else { 6 },
    };
    (packet.build_partial(), offload)
}

/// Our way down: cut, padded, sealed.
fn send(ours: &mut Session, bytes: &mut [u8], offload: &Offload) -> Vec<Vec<u8>> {
    let mut seal = |packet: &[u8]| {
        let mut plain = packet.to_vec();
        plain.resize(packet.len().next_multiple_of(16).min(MTU), 0);
        let mut out = vec![0; plain.len() + DATA_OVERHEAD];
        let length = ours
            .sealer()
            .expect("a session")
            .seal(&plain, &mut out)
            .expect("room");
        assert_eq!(length, out.len());
        out
    };
    if offload.kind == GsoKind::None {
        complete_checksum(bytes, offload).expect("the field is inside");
        return vec![seal(bytes)];
    }
    let mut cut = Segments::new(bytes, offload, MTU).expect("it was made so");
    let (mut out, mut sealed) = (vec![0; cut.longest()], Vec::new());
    while let Some(length) = cut.write_next(&mut out) {
        sealed.push(seal(&out[..length]));
    }
    sealed
}

fn opened_by(theirs: &mut Tunn, datagram: &[u8], out: &mut [u8]) -> Result<Vec<u8>, WireGuardError> {
    match theirs.decapsulate(None, datagram, out) {
        TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
            Ok(packet.to_vec())
        }
        TunnResult::Done => Ok(Vec::new()),
        TunnResult::Err(error) => Err(error),
        TunnResult::WriteToNetwork(_) => panic!("an answer to data"),
    }
}

/// The way of a datagram: lost, later, twice, or with a wrong byte.
fn way(input: &mut Bytes<'_>, datagrams: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut arriving: Vec<Vec<u8>> = Vec::new();
    for mut datagram in datagrams {
        match input.u8() {
            1..8 => {}
            8..16 => {
                let at = usize::from(input.u8()) % (arriving.len() + 1);
                arriving.insert(at, datagram);
            }
            16..24 => arriving.extend([datagram.clone(), datagram]),
            24..28 => {
                let at = usize::from(input.u16()) % datagram.len();
                datagram[at] ^= 1 << (input.u8() & 7);
                arriving.push(datagram);
            }
            _ => arriving.push(datagram),
        }
    }
    arriving
}

/// One input.
pub fn check(data: &[u8]) {
    let mut input = Bytes(data);
    let ((mut ours, mut theirs), mut seq, mut id, mut out) =
        (connect(7), [u32::MAX - 2000; 4], 65_000, vec![0; 4096]);
    let mut plain: Vec<Vec<u8>> = Vec::new();
    for _ in 0..input.u8() % 48 {
        if plain.len() > BATCH - 9 {
            break;
        }
        let (whole, size) = packet(&mut input, &mut seq, &mut id);
        let size = size.max((whole.payload.len() / 8) as u16 + 1);
        let (mut bytes, offload) = handed_over(&whole, size);
        if bytes.len() > MTU && offload.kind == GsoKind::None {
            continue;
        }
        let expected: Vec<Vec<u8>> = segments(&whole, usize::from(size))
            .iter()
            .map(Packet::build)
            .collect();
        let sealed = send(&mut ours, &mut bytes, &offload);
        assert_eq!(sealed.len(), expected.len());
        for (datagram, packet) in sealed.iter().zip(&expected) {
            let opened = opened_by(&mut theirs, datagram, &mut out).expect("it is good");
            assert_eq!(&opened, packet);
        }
        plain.extend(expected);
    }
    // back: boringtun seals one by one, our session opens a batch and merges it
    let sealed: Vec<Vec<u8>> = plain
        .iter()
        .map(|packet| match theirs.encapsulate(packet, &mut out) {
            TunnResult::WriteToNetwork(datagram) => datagram.to_vec(),
            _ => panic!("a session seals"),
        })
        .collect();
    let index_of = |datagram: &Vec<u8>| sealed.iter().position(|one| one == datagram);
    let (mut arena, mut coalescer, mut inside, mut seen) =
        (vec![0; 1 << 19], Coalescer::new(BATCH), Vec::new(), Vec::new());
    let mut filled = 0;
    for datagram in way(&mut input, sealed.clone()).iter().take(BATCH) {
        let opened = ours.open(datagram, &mut arena[filled..]);
        match index_of(datagram) {
            // a window of 1,024 holds the batch: each opens once, whatever the order
            Some(index) if !seen.contains(&index) => {
                seen.push(index);
                let opened = opened.expect("it is good, and new");
                assert_eq!(&arena[filled..filled + opened.length], plain[index].as_slice());
                assert!(coalescer.push(&arena, filled, opened.length));
                inside.push(index);
                filled += opened.length;
            }
            Some(_) => assert_eq!(opened, Err(DropReason::Replay)),
            None => assert!(opened.is_err(), "it was changed on the way"),
        }
    }
    let mut given_back = Vec::new();
    for group in 0..coalescer.groups() {
        let (mut header, mut parts) = ([0; MAX_HEADER_LEN], Parts::default());
        let offload = coalescer.group(group, &arena, &mut header, &mut parts);
        let whole = parts.as_slice().concat();
        if offload.kind == GsoKind::None {
            given_back.push(whole);
            continue;
        }
        let packet = Packet::parse(&whole).expect("a super-packet is a packet");
        given_back.extend(
            segments(&packet, usize::from(offload.gso_size))
                .iter()
                .map(Packet::build),
        );
    }
    // flows keep their order; among them it is free
    let flow_of = |packet: &Vec<u8>| Packet::parse(packet).map(|packet| packet.ports);
    let by_flow = |packets: Vec<Vec<u8>>| {
        let mut packets = packets;
        packets.sort_by_key(flow_of);
        packets
    };
    let arrived = inside.iter().map(|index| plain[*index].clone()).collect();
    assert_eq!(by_flow(given_back), by_flow(arrived));
}
