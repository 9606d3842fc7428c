//! A super-packet and the packets that it stands for.

use super::packet::{CWR, FIN, Ip, PSH, Packet, Transport};

/// The packets: payloads of `size` bytes, the last one shorter. IPv4 ids count up (RFC 6864 asks that they differ); sequence
/// numbers move by the payload before (RFC 9293 section 3.4); FIN and PSH belong to the last byte (RFC 9293 section 3.8.2), CWR to the first
/// packet (RFC 3168 section 6.1.2).
pub fn segments(packet: &Packet, size: usize) -> Vec<Packet> {
    let pieces: Vec<&[u8]> = match packet.payload.len() {
        0 => vec![&[]],
        _ => packet.payload.chunks(size).collect(),
    };
    let last = pieces.len() - 1;
    let mut segments = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        let mut segment = Packet {
            payload: piece.to_vec(),
            ..packet.clone()
        };
        if let Ip::V4 { id, .. } = &mut segment.ip {
            *id = id.wrapping_add(number as u16);
        }
        if let Transport::Tcp { seq, flags, .. } = &mut segment.transport {
            *seq = seq.wrapping_add((number * size) as u32);
            if number != last {
                *flags &= !(FIN | PSH);
            }
            if number != 0 {
                *flags &= !CWR;
            }
        }
        segments.push(segment);
    }
    segments
}
