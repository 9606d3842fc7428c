//! What the coalescer reads of one packet, and what it asks about two of them.

use crate::packet::checksum::{Sum, pseudo_header};
use crate::packet::ip::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, TCP, UDP, read_u16, read_u32};

pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;
const ECE: u8 = 0x40;

/// What is read of a packet that qualifies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) protocol: u8,
    pub(super) v6: bool,
    pub(super) header_len: u16,
    pub(super) payload_len: u16,
    pub(super) ends_group: bool,
    /// For a quick no; equal flows have equal hashes.
    pub(super) flow: u32,
}

impl Candidate {
    /// Step 1: reads a packet; none where it does not qualify. Its transport checksum is judged later.
    #[inline]
    pub(super) fn of(packet: &[u8]) -> Option<Candidate> {
        let (v6, transport, protocol) = match packet.first()? {
            0x45 if packet.len() >= IPV4_HEADER_LEN => {
                let whole = read_u16(packet, 6) & !0x4000 == 0;
                let length = usize::from(read_u16(packet, 2)) == packet.len();
                if !whole || !length || Sum::of(&packet[..IPV4_HEADER_LEN]).checksum() != 0 {
                    return None;
                }
                (false, IPV4_HEADER_LEN, packet[9])
            }
            first if first >> 4 == 6 && packet.len() >= IPV6_HEADER_LEN => {
                if usize::from(read_u16(packet, 4)) + IPV6_HEADER_LEN != packet.len() {
                    return None;
                }
                (true, IPV6_HEADER_LEN, packet[6])
            }
            _ => return None,
        };
        let (transport_len, ends_group) = match protocol {
            TCP if packet.len() >= transport + 20 => {
                let flags = packet[transport + 13];
                let reserved = packet[transport + 12] & 0x0f;
                if flags & ACK == 0 || flags & !(ACK | PSH | ECE) != 0 || reserved != 0 {
                    return None;
                }
                (usize::from(packet[transport + 12] >> 4) * 4, flags & PSH != 0)
            }
            UDP if packet.len() >= transport + 8 => {
                let length = usize::from(read_u16(packet, transport + 4));
                if length != packet.len() - transport || read_u16(packet, transport + 6) == 0 {
                    return None;
                }
                (8, false)
            }
            _ => return None,
        };
        let header_len = transport + transport_len;
        if transport_len < 8 || (protocol == TCP && transport_len < 20) || packet.len() <= header_len {
            return None;
        }
        let flow = flow_hash(packet, transport, v6) ^ u32::from(protocol);
        let payload_len = (packet.len() - header_len) as u16;
        Some(Candidate {
            protocol,
            v6,
            header_len: header_len as u16,
            payload_len,
            ends_group,
            flow,
        })
    }

    /// For a packet that stays alone.
    pub(super) fn single(length: usize) -> Candidate {
        Candidate {
            protocol: 0,
            v6: false,
            header_len: length as u16,
            payload_len: 0,
            ends_group: true,
            flow: 0,
        }
    }

    #[inline]
    pub(super) fn transport(&self) -> usize {
        if self.v6 { IPV6_HEADER_LEN } else { IPV4_HEADER_LEN }
    }
}

/// Source and destination as they stand in the header; empty where there is none.
#[inline]
pub(super) fn addresses(packet: &[u8]) -> &[u8] {
    match packet.first().map(|first| first >> 4) {
        Some(4) => packet.get(12..20).unwrap_or(&[]),
        Some(6) => packet.get(8..40).unwrap_or(&[]),
        _ => &[],
    }
}

#[inline]
fn flow_hash(packet: &[u8], transport: usize, v6: bool) -> u32 {
    let (source, destination) = if v6 { (20, 36) } else { (12, 16) };
    let ports = read_u32(packet, transport);
    read_u32(packet, source) ^ read_u32(packet, destination).rotate_left(8) ^ ports.rotate_left(16)
}

/// Whether two candidates have the same protocol, addresses and ports.
#[inline]
pub(super) fn same_flow(candidate: &Candidate, head: &Candidate, packet: &[u8], first: &[u8]) -> bool {
    let transport = candidate.transport();
    candidate.protocol == head.protocol
        && candidate.v6 == head.v6
        && addresses(packet) == addresses(first)
        && packet[transport..transport + 4] == first[transport..transport + 4]
}

/// Step 2: whether a packet of the flow is what segmenting would put behind the `count` packets of its group, which began with
/// `first` (read as `head`) and so far ends with `last`.
#[inline]
pub(super) fn continues(
    candidate: &Candidate,
    head: &Candidate,
    count: u16,
    packet: &[u8],
    first: &[u8],
    last: &[u8],
) -> bool {
    let ip_fits = if candidate.v6 {
        // version, traffic class and flow label; hop limit
        packet[..4] == first[..4] && packet[7] == first[7]
    } else {
        packet[1] == first[1]
            && packet[8] == first[8]
            && packet[6] == first[6]
            && id_fits(count, packet, first, last)
    };
    if candidate.protocol == UDP || !ip_fits {
        return ip_fits;
    }
    let (tcp, first) = (&packet[candidate.transport()..], &first[candidate.transport()..]);
    let done = u32::from(count) * u32::from(head.payload_len);
    read_u32(tcp, 4) == read_u32(first, 4).wrapping_add(done)
        && read_u32(tcp, 8) == read_u32(first, 8)
        && (tcp[13] ^ first[13]) & !PSH == 0
        && tcp[18..20] == first[18..20]
        && tcp[20..usize::from(candidate.header_len) - candidate.transport()]
            == first[20..usize::from(head.header_len) - candidate.transport()]
}

#[inline]
fn id_fits(count: u16, packet: &[u8], first: &[u8], last: &[u8]) -> bool {
    let [id, first_id, last_id] = [packet, first, last].map(|packet| read_u16(packet, 4));
    let counts_up = last_id == first_id.wrapping_add(count - 1) && id == last_id.wrapping_add(1);
    let constant = first[6] & 0x40 != 0 && first_id == last_id && id == last_id;
    counts_up || constant
}

#[inline]
pub(super) fn checksum_is_right(candidate: &Candidate, packet: &[u8]) -> bool {
    let transport = candidate.transport();
    let length = (packet.len() - transport) as u16;
    pseudo_header(addresses(packet), candidate.protocol, length)
        .with(&packet[transport..])
        .checksum()
        == 0
}
