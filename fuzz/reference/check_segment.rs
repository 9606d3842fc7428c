//! A super-packet cut by `Segments` is what the naive reference makes of it, byte for byte, or refused for the same reason. Input: a
//! description of a packet, or after a first byte with bit 0 set any bytes, then what the kernel says of it.

use meshd_core::packet::{DropReason, GsoKind, Offload, Segments, complete_checksum};

use super::bytes::{Bytes, payload};
use super::packet::{Ip, Packet, TCP, Transport};
use super::segment::segments;

/// Largest packet that is made: the tunnel's MTU limits what is cut from it.
const LONGEST: usize = 20_000;

fn ip(input: &mut Bytes<'_>) -> Ip {
    if input.flip() {
        return Ip::V4 {
            tos: input.u8(),
            id: input.u16(),
            flags_and_offset: input.u16() & 0xc000,
            ttl: input.u8(),
            source: [10, 77, 0, 1],
            destination: [10, 77, 0, input.u8()],
            options: vec![1; 4 * usize::from(input.u8() % 11)],
        };
    }
    let mut extensions: Vec<(u8, Vec<u8>)> = Vec::new();
    for _ in 0..input.u8() % 10 {
        let number = [0, 43, 60, 51, 44, 135][usize::from(input.u8() % 6)];
        let (units, length) = match number {
            44 => (0, 8),
            51 => (2, 16),
            _ => (1, 16),
        };
        let mut bytes = vec![0; length];
        bytes[1] = units;
        extensions.push((number, bytes));
    }
    Ip::V6 {
        first_four: [0x60 | input.u8() & 15, input.u8(), input.u8(), input.u8()],
        hop_limit: input.u8(),
        source: [0xfd; 16],
        destination: [0xfc; 16],
        extensions,
    }
}

/// Each extension header names the next.
fn chain(packet: &mut Packet) {
    let last = packet.protocol();
    if let Ip::V6 { extensions, .. } = &mut packet.ip {
        let numbers: Vec<u8> = extensions
            .iter()
            .skip(1)
            .map(|(number, _)| *number)
            .chain([last])
            .collect();
        for ((_, bytes), next) in extensions.iter_mut().zip(numbers) {
            bytes[0] = next;
        }
    }
}

fn described(input: &mut Bytes<'_>) -> Packet {
    let ip = ip(input);
    let transport = if input.flip() {
        let options = vec![1; 4 * usize::from(input.u8() % 11)];
        Transport::Tcp {
            seq: input.u32(),
            ack: input.u32(),
            offset_and_reserved: ((20 + options.len()) as u8 / 4) << 4 | input.u8() & 15,
            flags: input.u8(),
            window: input.u16(),
            urgent: input.u16(),
            options,
        }
    } else {
        Transport::Udp
    };
    let ports = [input.u8(), input.u8(), input.u8(), input.u8()];
    let length = usize::from(input.u16()) % LONGEST;
    let mut packet = Packet {
        ip,
        ports,
        transport,
        payload: payload(length, input.u8()),
    };
    chain(&mut packet);
    packet
}

fn kind_of(packet: &Packet) -> GsoKind {
    match (packet.protocol(), &packet.ip) {
        (TCP, Ip::V4 { .. }) => GsoKind::Tcp4,
        (TCP, Ip::V6 { .. }) => GsoKind::Tcp6,
        _ => GsoKind::Udp,
    }
}

/// What has to come of it.
fn expected(bytes: &[u8], offload: &Offload, max_len: usize) -> Result<Vec<Vec<u8>>, DropReason> {
    let packet = Packet::parse(bytes).ok_or(DropReason::Malformed)?;
    let header_len = packet.header_len();
    let transport = header_len - (packet.transport_len() - packet.payload.len());
    let starts = !offload.needs_checksum || usize::from(offload.checksum_start) == transport;
    if offload.kind != kind_of(&packet) || !starts || offload.gso_size == 0 {
        return Err(DropReason::Malformed);
    }
    let size = usize::from(offload.gso_size);
    let size = if header_len + size.min(packet.payload.len()) <= max_len {
        size
    } else if packet.protocol() == TCP && header_len < max_len {
        max_len - header_len
    } else {
        return Err(DropReason::TooBig);
    };
    Ok(segments(&packet, size).iter().map(Packet::build).collect())
}

fn cut(bytes: &[u8], offload: &Offload, max_len: usize) -> Result<Vec<Vec<u8>>, DropReason> {
    let mut segments = Segments::new(bytes, offload, max_len)?;
    let (mut out, mut packets) = (vec![0xaa; segments.longest()], Vec::new());
    while let Some(length) = segments.write_next(&mut out) {
        packets.push(out[..length].to_vec());
    }
    assert_eq!(packets.len(), segments.count());
    Ok(packets)
}

/// One input.
pub fn check(data: &[u8]) {
    let mut input = Bytes(data);
    let any = input.flip();
    let mut offload = Offload {
        needs_checksum: input.flip(),
        gso_size: input.u16() % 3000,
        ..Offload::default()
    };
    let max_len = if input.flip() {
        usize::from(input.u16())
    } else {
        1408
    };
    let bytes = if any {
        let kinds = [GsoKind::None, GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp];
        offload.kind = kinds[usize::from(input.u8() % 4)];
        offload.checksum_start = input.u16();
        offload.checksum_offset = input.u16();
        input.0.to_vec()
    } else {
        let packet = described(&mut input);
        offload.kind = kind_of(&packet);
        offload.checksum_start = (packet.header_len() + packet.payload.len() - packet.transport_len()) as u16;
        offload.checksum_offset = if packet.protocol() == TCP { 16 } else { 6 };
        let mut partial = packet.build_partial();
        // a packet that is not cut only gets its checksum; extension headers that are fragments keep it from being parsed
        let single = Offload {
            kind: GsoKind::None,
            needs_checksum: true,
            ..offload
        };
        let mut whole = partial.clone();
        complete_checksum(&mut whole, &single).expect("the field is inside");
        assert_eq!(whole, packet.build());
        // lengths that lie, and padding
        if input.u8() == 1 {
            let at = usize::from(input.u16()) % partial.len();
            partial[at] = input.u8();
        }
        if input.u8() == 1 {
            partial.resize(partial.len() + usize::from(input.u8()), 0x77);
        }
        partial
    };
    assert_eq!(
        cut(&bytes, &offload, max_len),
        expected(&bytes, &offload, max_len),
        "{offload:?} {max_len}"
    );
}
