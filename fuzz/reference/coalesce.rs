//! Which packets of a batch may become one, by the rules that `core/src/packet/coalesce.rs` states, each applied to whole packets.

use super::packet::{ACK, ECE, Ip, PSH, Packet, Transport, checksum};

/// Packets in one super-packet, bytes in one, and flows that are followed at a time.
const MOST: usize = 64;
const MOST_BYTES: usize = 65_535;
const MOST_OPEN: usize = 16;

/// A super-packet to be, or a single packet: places in the batch.
pub struct Group {
    pub members: Vec<usize>,
    open: bool,
}

/// The groups of a batch, in the order in which they began.
pub fn groups(batch: &[Vec<u8>], merge_tcp: bool, merge_udp: bool) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (place, bytes) in batch.iter().enumerate() {
        let Some(packet) = qualifying(bytes) else {
            // of another kind: nothing between its addresses is added to any more
            for group in groups.iter_mut().filter(|group| group.open) {
                let first = addresses(&batch[group.members[0]]);
                group.open &= first.is_none() || first != addresses(bytes);
            }
            groups.push(Group {
                members: vec![place],
                open: false,
            });
            continue;
        };
        let is_tcp = matches!(packet.transport, Transport::Tcp { .. });
        if !(if is_tcp { merge_tcp } else { merge_udp }) {
            groups.push(Group {
                members: vec![place],
                open: false,
            });
            continue;
        }
        let mut of_flow = groups.iter_mut().filter(|group| group.open);
        let found = of_flow.find(|group| same_flow(&packet, &batch[group.members[0]]));
        if let Some(group) = found {
            if joins(bytes, &packet, group, batch) {
                group.members.push(place);
                let first = Packet::parse(&batch[group.members[0]]).expect("it qualified");
                let shorter = packet.payload.len() < first.payload.len();
                group.open = !has_psh(&packet) && !shorter && group.members.len() < MOST;
                continue;
            }
            group.open = false;
        }
        let open = !has_psh(&packet);
        if open && groups.iter().filter(|group| group.open).count() == MOST_OPEN {
            groups
                .iter_mut()
                .find(|group| group.open)
                .expect("there are some")
                .open = false;
        }
        groups.push(Group {
            members: vec![place],
            open,
        });
    }
    groups
}

/// Rule 1.
fn qualifying(bytes: &[u8]) -> Option<Packet> {
    let packet = Packet::parse(bytes)?;
    let plain = match &packet.ip {
        Ip::V4 {
            options,
            flags_and_offset,
            ..
        } => options.is_empty() && flags_and_offset & !0x4000 == 0 && checksum(&bytes[..20]) == 0,
        Ip::V6 { extensions, .. } => extensions.is_empty(),
    };
    let transport = match &packet.transport {
        Transport::Tcp {
            flags,
            offset_and_reserved,
            ..
        } => flags & ACK != 0 && flags & !(ACK | PSH | ECE) == 0 && offset_and_reserved & 15 == 0,
        Transport::Udp => {
            let udp = &bytes[packet.header_len() - 8..];
            let length = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
            length == udp.len() && udp[6..8] != [0, 0]
        }
    };
    // its length is that of its header, so nothing lies behind it
    let exact = packet.header_len() + packet.payload.len() == bytes.len();
    (plain && transport && exact && !packet.payload.is_empty()).then_some(packet)
}

fn addresses(bytes: &[u8]) -> Option<&[u8]> {
    match bytes.first()? >> 4 {
        4 => bytes.get(12..20),
        6 => bytes.get(8..40),
        _ => None,
    }
}

fn same_flow(packet: &Packet, first: &[u8]) -> bool {
    let first = Packet::parse(first).expect("it qualified");
    packet.protocol() == first.protocol()
        && packet.addresses() == first.addresses()
        && packet.ports == first.ports
}

fn has_psh(packet: &Packet) -> bool {
    matches!(packet.transport, Transport::Tcp { flags, .. } if flags & PSH != 0)
}

/// Rule 2: whether it is what cutting would put behind the group.
fn joins(bytes: &[u8], packet: &Packet, group: &Group, batch: &[Vec<u8>]) -> bool {
    let first_bytes = &batch[group.members[0]];
    let first = Packet::parse(first_bytes).expect("it qualified");
    let last = Packet::parse(&batch[group.members[group.members.len() - 1]]).expect("it qualified");
    let before: usize = group
        .members
        .iter()
        .map(|place| Packet::parse(&batch[*place]).expect("it qualified").payload.len())
        .sum();
    packet.payload.len() <= first.payload.len()
        && packet.header_len() == first.header_len()
        && first.header_len() + before + packet.payload.len() <= MOST_BYTES
        && ip_follows(packet, &first, &last, group.members.len())
        && transport_follows(packet, &first, before)
        && checksum_is_right(bytes, packet)
        && checksum_is_right(first_bytes, &first)
}

fn ip_follows(packet: &Packet, first: &Packet, last: &Packet, count: usize) -> bool {
    match (&packet.ip, &first.ip, &last.ip) {
        (
            Ip::V4 {
                tos,
                id,
                flags_and_offset,
                ttl,
                ..
            },
            Ip::V4 {
                tos: tos0,
                id: id0,
                flags_and_offset: flags0,
                ttl: ttl0,
                ..
            },
            Ip::V4 { id: last_id, .. },
        ) => {
            let counts = *last_id == id0.wrapping_add(count as u16 - 1) && *id == last_id.wrapping_add(1);
            let constant = flags0 & 0x4000 != 0 && id == id0 && id == last_id;
            tos == tos0 && ttl == ttl0 && flags_and_offset == flags0 && (counts || constant)
        }
        (
            Ip::V6 {
                first_four,
                hop_limit,
                ..
            },
            Ip::V6 {
                first_four: four0,
                hop_limit: limit0,
                ..
            },
            _,
        ) => first_four == four0 && hop_limit == limit0,
        _ => false,
    }
}

fn transport_follows(packet: &Packet, first: &Packet, before: usize) -> bool {
    match (&packet.transport, &first.transport) {
        (
            Transport::Tcp {
                seq,
                ack,
                flags,
                urgent,
                options,
                ..
            },
            Transport::Tcp {
                seq: seq0,
                ack: ack0,
                flags: flags0,
                urgent: urgent0,
                options: options0,
                ..
            },
        ) => {
            *seq == seq0.wrapping_add(before as u32)
                && ack == ack0
                && flags & !PSH == flags0 & !PSH
                && urgent == urgent0
                && options == options0
        }
        (Transport::Udp, Transport::Udp) => true,
        _ => false,
    }
}

/// RFC 1071: over what holds its own right checksum, the checksum is zero.
pub fn checksum_is_right(bytes: &[u8], packet: &Packet) -> bool {
    let transport = &bytes[bytes.len() - packet.transport_len()..];
    checksum(&[packet.pseudo_header(transport.len()), transport.to_vec()].concat()) == 0
}
