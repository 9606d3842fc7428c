//! Coalescing, against a slow reference over recipes, and against segmenting as its inverse.

use super::super::build::Recipe;
use super::super::{Segments, ip};
use super::candidate::ACK;
use super::*;
use crate::packet::ip::UDP;
use proptest::prelude::*;

/// A packet of the test: how it was made, and what was done to it since.
#[derive(Clone, Debug)]
struct Sent {
    recipe: Recipe,
    damage: Damage,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Damage {
    None,
    TransportChecksum,
    IpChecksum,
    Fragment,
}

impl Sent {
    fn bytes(&self) -> Vec<u8> {
        let mut packet = self.recipe.build();
        let v6 = packet[0] >> 4 == 6;
        match self.damage {
            Damage::None => {}
            Damage::TransportChecksum => {
                let at = packet.len() - 1;
                packet[at] ^= 1;
            }
            Damage::IpChecksum if v6 => packet[6] = 44,
            Damage::IpChecksum => packet[10] ^= 1,
            Damage::Fragment if v6 => packet[6] = 44,
            Damage::Fragment => {
                packet[6] |= 0x20;
                ip::write_u16(&mut packet, 10, 0);
                let checksum = Sum::of(&packet[..20]).checksum();
                ip::write_u16(&mut packet, 10, checksum);
            }
        }
        packet
    }

    fn qualifies(&self) -> bool {
        let recipe = &self.recipe;
        let flags_fit = recipe.protocol == UDP || recipe.flags & 0xb7 == ACK;
        matches!(self.damage, Damage::None | Damage::TransportChecksum)
            && flags_fit
            && !recipe.payload.is_empty()
    }

    fn flow(&self) -> (std::net::IpAddr, std::net::IpAddr, u8, (u16, u16)) {
        let recipe = &self.recipe;
        (recipe.source, recipe.destination, recipe.protocol, recipe.ports)
    }
}

/// Whether `next` may stand behind `group` in one super-packet, from the definitions alone.
fn may_follow(group: &[Sent], next: &Sent) -> bool {
    let (first, last) = (&group[0].recipe, &group[group.len() - 1].recipe);
    let tcp = first.protocol == TCP;
    let ids: Vec<u16> = group
        .iter()
        .map(|sent| sent.recipe.id)
        .chain([next.recipe.id])
        .collect();
    let ids_count_up = ids.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1));
    let ids_constant = first.dont_fragment && ids.iter().all(|id| *id == ids[0]);
    let bytes: usize = group.iter().map(|sent| sent.recipe.payload.len()).sum();
    let total = if first.source.is_ipv4() { 20 } else { 40 }
        + first.transport_len()
        + bytes
        + next.recipe.payload.len();
    let next_is_right = next.damage == Damage::None && group[0].damage == Damage::None;
    group.len() < MAX_MERGED
        && total <= 65_535
        && next_is_right
        && last.payload.len() == first.payload.len()
        && next.recipe.payload.len() <= first.payload.len()
        && next.recipe.hop_limit == first.hop_limit
        && next.recipe.traffic_class == first.traffic_class
        && (first.source.is_ipv6()
            || (ids_count_up || ids_constant) && next.recipe.dont_fragment == first.dont_fragment)
        && (!tcp
            || last.flags & PSH == 0
                && next.recipe.flags & !PSH == first.flags & !PSH
                && next.recipe.seq == last.seq.wrapping_add(last.payload.len() as u32)
                && next.recipe.ack == first.ack
                && next.recipe.options == first.options)
}

/// Groups of indices, each kept open until something of its flow does not fit.
fn reference(packets: &[Sent]) -> Vec<Vec<usize>> {
    let mut groups: Vec<(Vec<usize>, bool)> = Vec::new();
    for (place, sent) in packets.iter().enumerate() {
        if !sent.qualifies() {
            for (members, open) in &mut groups {
                let first = &packets[members[0]].recipe;
                *open &= (first.source, first.destination) != (sent.recipe.source, sent.recipe.destination);
            }
            groups.push((vec![place], false));
            continue;
        }
        let found = groups
            .iter_mut()
            .find(|(members, open)| *open && packets[members[0]].flow() == sent.flow());
        if let Some((members, open)) = found {
            let present: Vec<Sent> = members.iter().map(|member| packets[*member].clone()).collect();
            if may_follow(&present, sent) {
                members.push(place);
                continue;
            }
            *open = false;
        }
        groups.push((vec![place], true));
    }
    groups.into_iter().map(|(members, _)| members).collect()
}

/// Lays the packets into an arena with gaps and runs the coalescer over it.
fn coalesce(packets: &[Vec<u8>]) -> (Coalescer, Vec<u8>) {
    let mut arena = Vec::new();
    let mut ranges = Vec::new();
    for packet in packets {
        arena.extend([0xee; 3]);
        ranges.push((arena.len(), packet.len()));
        arena.extend(packet);
    }
    let mut coalescer = Coalescer::new(packets.len());
    for (offset, length) in ranges {
        assert!(coalescer.push(&arena, offset, length));
    }
    (coalescer, arena)
}

fn describe(coalescer: &Coalescer, arena: &[u8], index: usize) -> (Vec<u8>, Offload) {
    let (mut header, mut parts) = ([0; MAX_HEADER_LEN], Parts::default());
    let offload = coalescer.group(index, arena, &mut header, &mut parts);
    (parts.as_slice().concat(), offload)
}

fn sequences() -> impl Strategy<Value = Vec<Sent>> {
    let length = prop_oneof![6 => Just(100usize), 1 => Just(0), 1 => Just(1), 1 => Just(99), 1 => Just(101), 1 => Just(2000)];
    let flags = prop_oneof![10 => Just(0x10u8), 2 => Just(0x18), 1 => Just(0x50), 1 => Just(0x11), 1 => Just(0x90), 1 => Just(0x12)];
    let damage = prop_oneof![
        20 => Just(Damage::None), 1 => Just(Damage::TransportChecksum), 1 => Just(Damage::IpChecksum), 1 => Just(Damage::Fragment)
    ];
    let twist = prop_oneof![20 => Just(0u8), 8 => 1u8..9];
    proptest::collection::vec((0usize..6, length, flags, damage, twist), 1..60).prop_map(|steps| {
        let mut flows = [(0u16, u32::MAX - 150); 6];
        steps
            .into_iter()
            .map(|(flow, length, flags, damage, twist)| {
                next_packet(&mut flows, flow, length, flags, damage, twist)
            })
            .collect()
    })
}

fn next_packet(
    flows: &mut [(u16, u32); 6],
    flow: usize,
    length: usize,
    flags: u8,
    damage: Damage,
    twist: u8,
) -> Sent {
    let (id, seq) = &mut flows[flow];
    let payload: Vec<u8> = (0..length).map(|byte| byte as u8 ^ *id as u8).collect();
    let protocol = if flow < 4 { TCP } else { UDP };
    let mut recipe = if flow & 1 == 0 {
        Recipe::v4(protocol, &payload)
    } else {
        Recipe::v6(protocol, &payload)
    };
    recipe.ports.0 += u16::from(flow < 2);
    (recipe.id, recipe.seq, recipe.flags) = (*id, *seq, flags);
    match twist {
        1 => recipe.hop_limit -= 1,
        2 => recipe.traffic_class = 2,
        3 => recipe.ack = 77,
        4 => recipe.options = vec![1, 1, 1, 1],
        5 => recipe.seq = recipe.seq.wrapping_add(1),
        6 => recipe.id = recipe.id.wrapping_sub(1),
        7 => recipe.dont_fragment = false,
        8 => recipe.id = recipe.id.wrapping_add(7),
        _ => {}
    }
    *id = id.wrapping_add(1);
    *seq = seq.wrapping_add(length as u32);
    let damage = if length == 0 && damage == Damage::TransportChecksum {
        Damage::None
    } else {
        damage
    };
    Sent { recipe, damage }
}

/// Without the IPv4 id and its checksum, where the packet may not be fragmented.
fn without_id(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 && packet[6] & 0x40 != 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

proptest! {
    #[test]
    fn groups_are_those_of_the_reference(sent in sequences()) {
        let packets: Vec<Vec<u8>> = sent.iter().map(Sent::bytes).collect();
        let (coalescer, arena) = coalesce(&packets);
        let groups: Vec<Vec<Vec<u8>>> = (0..coalescer.groups())
            .map(|group| coalescer.singles(group, &arena).map(<[u8]>::to_vec).collect())
            .collect();
        let expected: Vec<Vec<Vec<u8>>> = reference(&sent)
            .iter()
            .map(|group| group.iter().map(|place| packets[*place].clone()).collect())
            .collect();
        prop_assert_eq!(groups, expected);
    }

    #[test]
    fn cutting_gives_back_what_was_merged(sent in sequences()) {
        let packets: Vec<Vec<u8>> = sent.iter().map(Sent::bytes).collect();
        let (coalescer, arena) = coalesce(&packets);
        for group in 0..coalescer.groups() {
            let members: Vec<&[u8]> = coalescer.singles(group, &arena).collect();
            let (packet, offload) = describe(&coalescer, &arena, group);
            if members.len() == 1 {
                prop_assert_eq!(offload, Offload::default());
                prop_assert_eq!(&packet[..], members[0]);
                continue;
            }
            let mut segments = Segments::new(&packet, &offload, usize::MAX).unwrap();
            prop_assert_eq!(segments.count(), members.len());
            let mut out = vec![0; segments.longest()];
            for member in members {
                let length = segments.write_next(&mut out).unwrap();
                prop_assert_eq!(without_id(&out[..length]), without_id(member));
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..90), 1..20), v6: bool) {
        let packets: Vec<Vec<u8>> = packets
            .into_iter()
            .map(|mut packet| {
                if let Some(first) = packet.first_mut() { *first = if v6 { 0x60 } else { 0x45 }; }
                packet
            })
            .collect();
        let (coalescer, arena) = coalesce(&packets);
        let total: usize = (0..coalescer.groups()).map(|group| coalescer.singles(group, &arena).count()).sum();
        prop_assert_eq!(total, packets.len());
        for group in 0..coalescer.groups() {
            describe(&coalescer, &arena, group);
        }
    }
}

fn stream(count: usize, length: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|place| {
            let recipe = Recipe::v4(TCP, &vec![place as u8; length]);
            Recipe {
                id: place as u16,
                seq: (place * length) as u32,
                ..recipe
            }
            .build()
        })
        .collect()
}

#[test]
fn a_stream_becomes_super_packets_of_at_most_64_segments_and_64_kib() {
    let (coalescer, arena) = coalesce(&stream(130, 1000));
    let counts: Vec<usize> = (0..coalescer.groups())
        .map(|group| coalescer.singles(group, &arena).count())
        .collect();
    assert_eq!(counts, [64, 64, 2]);
    let (coalescer, arena) = coalesce(&stream(8, 8900));
    let lengths: Vec<usize> = (0..coalescer.groups())
        .map(|group| describe(&coalescer, &arena, group).0.len())
        .collect();
    assert_eq!(lengths, [7 * 8900 + 40, 8940]);
}

#[test]
fn the_newest_window_is_kept() {
    let mut packets = stream(2, 100);
    packets[1][34..36].copy_from_slice(&[0x77, 0x77]);
    ip::write_u16(&mut packets[1], 36, 0);
    let sum = pseudo_header(&packets[1][12..20], TCP, 120).with(&packets[1][20..]);
    ip::write_u16(&mut packets[1], 36, sum.checksum());
    let (coalescer, arena) = coalesce(&packets);
    assert_eq!(coalescer.groups(), 1);
    assert_eq!(describe(&coalescer, &arena, 0).0[34..36], [0x77, 0x77]);
}

#[test]
fn udp_stays_single_where_the_kernel_takes_no_uso() {
    let packets: Vec<_> = (0..3)
        .map(|id| {
            Recipe {
                id,
                ..Recipe::v4(UDP, b"datagram")
            }
            .build()
        })
        .collect();
    assert_eq!(coalesce(&packets).0.groups(), 1);
    let arena = packets.concat();
    let mut coalescer = Coalescer::new(8);
    coalescer.set_merge_udp(false);
    for place in 0..3 {
        assert!(coalescer.push(&arena, place * packets[0].len(), packets[0].len()));
    }
    assert_eq!(coalescer.groups(), 3);
}

#[test]
fn more_flows_than_can_be_open_only_merge_less() {
    let flow = |port: u16, id: u16| {
        Recipe {
            ports: (port, 1),
            id,
            ..Recipe::v4(UDP, &[id as u8; 8])
        }
        .build()
    };
    let packets: Vec<_> = (0..4)
        .flat_map(|id| (0..40).map(move |port| flow(port, id)))
        .collect();
    let (coalescer, arena) = coalesce(&packets);
    for port in 0..40u16 {
        let of_flow: Vec<&[u8]> = (0..coalescer.groups())
            .flat_map(|group| coalescer.singles(group, &arena))
            .filter(|packet| ip::read_u16(packet, 20) == port)
            .collect();
        assert_eq!(of_flow, (0..4).map(|id| flow(port, id)).collect::<Vec<_>>());
    }
}

#[test]
fn what_is_beyond_capacity_or_arena_is_refused() {
    let mut coalescer = Coalescer::new(1);
    assert!(!coalescer.push(&[0; 10], 5, 6));
    assert!(!coalescer.push(&[0; 10], usize::MAX, 6));
    assert!(coalescer.push(&[0; 10], 5, 5));
    assert!(!coalescer.push(&[0; 10], 5, 5));
    coalescer.clear();
    assert!(coalescer.is_empty());
}
