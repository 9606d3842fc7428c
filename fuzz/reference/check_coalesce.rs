//! A batch merged by `Coalescer`: the groups are those of the naive reference; what the kernel cuts from a super-packet is what went into
//! it; singly, the packets are as they were. Input: a run of packets of a few flows, now and then with something wrong.

use meshd_core::packet::{Coalescer, GsoKind, MAX_HEADER_LEN, Offload, Parts};

use super::bytes::{Bytes, payload};
use super::coalesce::{checksum_is_right, groups};
use super::packet::{ACK, Ip, PSH, Packet, Transport, UDP, checksum};
use super::segment::segments;

const FLOWS: usize = 24;
const BATCH: usize = 256;
const LENGTHS: [usize; 8] = [1, 8, 100, 100, 1356, 1356, 1000, 0];

/// The packet that flow `number` sends next.
fn first_of(number: usize) -> Packet {
    let (v6, tcp) = (number & 1 != 0, number & 2 != 0);
    let ip = if v6 {
        Ip::V6 {
            first_four: [0x60, 0, 0, number as u8 >> 2],
            hop_limit: 64,
            source: [0xfd; 16],
            destination: [0xfc; 16],
            extensions: Vec::new(),
        }
    } else {
        Ip::V4 {
            tos: 0,
            id: 65_530,
            flags_and_offset: if number & 4 != 0 { 0x4000 } else { 0 },
            ttl: 64,
            source: [10, 77, 0, 1],
            destination: [10, 77, 0, 2],
            options: Vec::new(),
        }
    };
    let options = if number & 8 != 0 {
        vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]
    } else {
        Vec::new()
    };
    let transport = if tcp {
        Transport::Tcp {
            seq: u32::MAX - 3000,
            ack: 5,
            offset_and_reserved: ((20 + options.len()) as u8 / 4) << 4,
            flags: ACK,
            window: 500,
            urgent: 0,
            options,
        }
    } else {
        Transport::Udp
    };
    Packet {
        ip,
        ports: [0, number as u8 >> 2, 0, 9],
        transport,
        payload: Vec::new(),
    }
}

/// Goes on behind what `packet` was.
fn advance(packet: &mut Packet) {
    if let Ip::V4 {
        id, flags_and_offset, ..
    } = &mut packet.ip
        && (*flags_and_offset & 0x4000 == 0 || packet.ports[1] & 1 == 0)
    {
        *id = id.wrapping_add(1);
    }
    if let Transport::Tcp { seq, flags, .. } = &mut packet.transport {
        *seq = seq.wrapping_add(packet.payload.len() as u32);
        *flags &= !PSH;
    }
}

/// Something that keeps it from being merged, or seems to.
fn disturb(packet: &mut Packet, input: &mut Bytes<'_>) {
    let (what, by) = (input.u8() % 12, input.u8());
    match (&mut packet.ip, what) {
        (Ip::V4 { tos, .. }, 0) => *tos ^= by,
        (Ip::V4 { ttl, .. }, 1) => *ttl ^= by,
        (Ip::V4 { id, .. }, 2) => *id ^= u16::from(by),
        (Ip::V4 { flags_and_offset, .. }, 3) => *flags_and_offset ^= u16::from(by) << 8,
        (Ip::V4 { options, .. }, 4) => *options = vec![1; 4 * usize::from(by % 3)],
        (Ip::V6 { first_four, .. }, 0) => first_four[1 + usize::from(by % 3)] ^= by,
        (Ip::V6 { hop_limit, .. }, 1) => *hop_limit ^= by,
        (Ip::V6 { extensions, .. }, 2) => *extensions = vec![(60, vec![UDP, 0, 0, 0, 0, 0, 0, 0])],
        _ => {}
    }
    if let Transport::Tcp {
        seq,
        ack,
        flags,
        window,
        urgent,
        options,
        ..
    } = &mut packet.transport
    {
        match what {
            5 => *seq ^= u32::from(by),
            6 => *ack ^= u32::from(by),
            7 => *flags ^= by,
            8 => *window ^= u16::from(by),
            9 => *urgent ^= u16::from(by),
            10 => options.iter_mut().take(1).for_each(|first| *first ^= by),
            11 => *flags |= PSH,
            _ => {}
        }
    }
}

fn batch(input: &mut Bytes<'_>) -> Vec<Vec<u8>> {
    let mut flows: Vec<Packet> = (0..FLOWS).map(first_of).collect();
    let mut batch = Vec::new();
    while !input.is_empty() && batch.len() < BATCH {
        let head = input.u8();
        if head == 255 {
            let length = usize::from(input.u8() % 80);
            batch.push(input.take(length));
            continue;
        }
        let flow = &mut flows[usize::from(head) % FLOWS];
        let how = input.u8();
        let length = LENGTHS[usize::from(how & 7)];
        flow.payload = payload(length, input.u8());
        let mut packet = flow.clone();
        if how >> 3 & 7 == 0 {
            disturb(&mut packet, input);
        }
        let mut bytes = packet.build();
        if how >> 6 == 0 && input.u8() & 7 == 0 {
            let at = usize::from(input.u16()) % bytes.len();
            bytes[at] = input.u8();
        }
        batch.push(bytes);
        advance(flow);
    }
    batch
}

/// A packet with what merging may change, the TCP window, and with DF the IPv4 id, set to these.
fn normal(mut packet: Packet, window: Option<u16>, id: Option<u16>) -> Packet {
    if let (Transport::Tcp { window: old, .. }, Some(new)) = (&mut packet.transport, window) {
        *old = new;
    }
    if let (Ip::V4 { id: old, .. }, Some(new)) = (&mut packet.ip, id) {
        *old = new;
    }
    packet
}

/// What the kernel makes of a super-packet is what the members were.
fn cuts_back(whole: &[u8], offload: &Offload, members: &[&Vec<u8>]) {
    let packet = Packet::parse(whole).expect("a super-packet is a packet");
    let transport = whole.len() - packet.transport_len();
    if whole[0] >> 4 == 4 {
        assert_eq!(checksum(&whole[..transport]), 0, "the header's checksum");
    }
    let field = transport + usize::from(offload.checksum_offset);
    let partial = u16::from_be_bytes([whole[field], whole[field + 1]]);
    assert_eq!(partial, !checksum(&packet.pseudo_header(packet.transport_len())));
    assert_eq!(usize::from(offload.checksum_start), transport);
    assert_eq!(usize::from(offload.header_len), packet.header_len());
    assert!(offload.needs_checksum && offload.kind != GsoKind::None);
    let segments = segments(&packet, usize::from(offload.gso_size));
    assert_eq!(segments.len(), members.len());
    let window = match Packet::parse(members[members.len() - 1])
        .expect("it was merged")
        .transport
    {
        Transport::Tcp { window, .. } => Some(window),
        Transport::Udp => None,
    };
    for (segment, member) in segments.into_iter().zip(members) {
        let member_packet = Packet::parse(member).expect("it was merged");
        assert!(
            checksum_is_right(member, &member_packet),
            "a wrong checksum would become a right one"
        );
        let id = match member_packet.ip {
            Ip::V4 { flags_and_offset, .. } if flags_and_offset & 0x4000 != 0 => Some(0),
            _ => None,
        };
        assert_eq!(normal(segment, window, id), normal(member_packet, window, id));
    }
}

/// One input.
pub fn check(data: &[u8]) {
    let mut input = Bytes(data);
    let merging = input.u8();
    let (tcp, udp) = (merging & 3 != 1, merging & 3 != 2);
    let batch = batch(&mut input);
    let arena = batch.concat();
    let mut coalescer = Coalescer::new(BATCH);
    coalescer.set_merge_tcp(tcp);
    coalescer.set_merge_udp(udp);
    let mut offset = 0;
    for packet in &batch {
        assert!(coalescer.push(&arena, offset, packet.len()));
        offset += packet.len();
    }
    let expected = groups(&batch, tcp, udp);
    assert_eq!(coalescer.groups(), expected.len(), "another number of groups");
    for (number, group) in expected.iter().enumerate() {
        let members: Vec<&Vec<u8>> = group.members.iter().map(|place| &batch[*place]).collect();
        let singles: Vec<Vec<u8>> = coalescer.singles(number, &arena).map(<[u8]>::to_vec).collect();
        assert!(
            singles.iter().eq(members.iter().copied()),
            "group {number} has other packets"
        );
        let (mut header, mut parts) = ([0; MAX_HEADER_LEN], Parts::default());
        let offload = coalescer.group(number, &arena, &mut header, &mut parts);
        let whole = parts.as_slice().concat();
        if members.len() == 1 {
            assert_eq!((&whole, offload), (members[0], Offload::default()));
        } else {
            cuts_back(&whole, &offload, &members);
        }
    }
}
