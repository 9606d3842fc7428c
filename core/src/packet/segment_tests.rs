//! Segmenting, against a reference that builds each packet from its recipe.

use super::super::build::{self, Recipe};
use super::*;
use proptest::prelude::*;

/// The packets that a super-packet stands for, each built from scratch.
fn reference(recipe: &Recipe, gso_size: usize) -> Vec<Vec<u8>> {
    let pieces: Vec<&[u8]> = if recipe.payload.is_empty() {
        vec![&[]]
    } else {
        recipe.payload.chunks(gso_size).collect()
    };
    let last = pieces.len() - 1;
    pieces
        .iter()
        .enumerate()
        .map(|(place, piece)| {
            let mut flags = recipe.flags;
            if place != last {
                flags &= !(FIN | PSH);
            }
            if place != 0 {
                flags &= !CWR;
            }
            Recipe {
                id: recipe.id.wrapping_add(place as u16),
                seq: recipe.seq.wrapping_add((place * gso_size) as u32),
                flags,
                payload: piece.to_vec(),
                ..recipe.clone()
            }
            .build()
        })
        .collect()
}

fn segment(packet: &[u8], offload: &Offload, max_len: usize) -> Result<Vec<Vec<u8>>, DropReason> {
    let mut segments = Segments::new(packet, offload, max_len)?;
    let mut out = vec![0xaa; segments.longest()];
    let mut packets = Vec::new();
    while let Some(length) = segments.write_next(&mut out) {
        packets.push(out[..length].to_vec());
    }
    assert_eq!(packets.len(), segments.count());
    Ok(packets)
}

/// As [`segment`], in place; what lies behind a segment must be the super-packet still.
fn segment_in_place(packet: &[u8], offload: &Offload, max_len: usize) -> Result<Vec<Vec<u8>>, DropReason> {
    let Some(mut segments) = SegmentsInPlace::new(packet, offload, max_len)? else {
        return segment(packet, offload, max_len);
    };
    let (mut work, mut packets) = (packet.to_vec(), Vec::new());
    while let Some(place) = segments.next_in(&mut work) {
        assert_eq!(work[place.end..], packet[place.end..]);
        packets.push(work[place].to_vec());
    }
    assert!(segments.next_in(&mut work).is_none(), "the last is the last");
    Ok(packets)
}

pub(crate) fn recipes() -> impl Strategy<Value = Recipe> {
    let numbers = (
        any::<u16>(),
        any::<u32>(),
        any::<u32>(),
        any::<u8>(),
        any::<u8>(),
        1u8..,
    );
    (
        any::<bool>(),
        any::<bool>(),
        numbers,
        0usize..10,
        proptest::collection::vec(any::<u8>(), 0..6000),
        any::<bool>(),
    )
        .prop_map(
            |(v6, tcp, (id, seq, ack, flags, traffic_class, hop_limit), options, payload, dont_fragment)| {
                let protocol = if tcp { TCP } else { UDP };
                let base = if v6 {
                    Recipe::v6(protocol, &payload)
                } else {
                    Recipe::v4(protocol, &payload)
                };
                let options = vec![1; options * 4];
                Recipe {
                    id,
                    seq,
                    ack,
                    flags,
                    traffic_class,
                    hop_limit,
                    options,
                    dont_fragment,
                    ..base
                }
            },
        )
}

proptest! {
    #[test]
    fn equals_the_reference(recipe in recipes(), gso_size in 1u16..3000) {
        let gso_size = gso_size.max((recipe.payload.len() / 200) as u16);
        let (packet, offload) = build::super_packet(&recipe, gso_size);
        let expected = reference(&recipe, usize::from(gso_size));
        prop_assert_eq!(segment_in_place(&packet, &offload, usize::MAX).unwrap(), expected.clone());
        prop_assert_eq!(segment(&packet, &offload, usize::MAX).unwrap(), expected);
    }

    #[test]
    fn tcp_is_cut_to_the_size_of_the_peer(recipe in recipes(), gso_size in 200u16..3000, max_len in 300usize..1500) {
        let (packet, offload) = build::super_packet(&recipe, gso_size);
        let room = max_len - usize::from(offload.header_len);
        let fits = recipe.payload.len().min(usize::from(gso_size)) <= room;
        let got = segment(&packet, &offload, max_len);
        prop_assert_eq!(segment_in_place(&packet, &offload, max_len), got.clone());
        if recipe.protocol == TCP || fits {
            let step = if fits { usize::from(gso_size) } else { room };
            prop_assert_eq!(got.unwrap(), reference(&recipe, step));
        } else {
            prop_assert_eq!(got, Err(DropReason::TooBig));
        }
    }

    #[test]
    fn any_bytes_and_any_description_are_survived(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        kind in prop_oneof![Just(GsoKind::None), Just(GsoKind::Tcp4), Just(GsoKind::Tcp6), Just(GsoKind::Udp)],
        numbers: (bool, u16, u16, u16, u16),
        damage in proptest::collection::vec((0usize..80, any::<u8>()), 0..4),
        from_packet: bool,
    ) {
        let mut packet = if from_packet { build::tcp4(1, 2, 0x18, &bytes) } else { bytes };
        for (at, value) in damage {
            if let Some(byte) = packet.get_mut(at) { *byte = value; }
        }
        let offload = Offload {
            kind, needs_checksum: numbers.0, header_len: numbers.1, gso_size: numbers.2,
            checksum_start: if from_packet { 20 } else { numbers.3 }, checksum_offset: numbers.4,
        };
        let whole = segment(&packet, &offload, 1420);
        prop_assert_eq!(segment_in_place(&packet, &offload, 1420), whole);
        let _ = super::super::complete_checksum(&mut packet, &offload);
    }
}

#[test]
fn headers_too_long_to_be_kept_are_said_so() {
    // destination options of 80 bytes between the headers
    let (packet, offload) = build::super_packet(&Recipe::v6(TCP, &[7; 3000]), 1000);
    let mut extended = packet[..40].to_vec();
    extended.extend([TCP, 9]);
    extended.extend([1, 76]);
    extended.extend([0; 76]);
    extended.extend(&packet[40..]);
    extended[6] = 60;
    let length = (extended.len() - 40) as u16;
    write_u16(&mut extended, 4, length);
    let offload = Offload {
        checksum_start: 120,
        ..offload
    };
    assert_eq!(segment(&extended, &offload, 1500).unwrap().len(), 3);
    assert!(SegmentsInPlace::new(&extended, &offload, 1500).unwrap().is_none());
}

#[test]
fn a_buffer_that_is_too_short_gets_nothing() {
    let (packet, offload) = build::super_packet(&Recipe::v4(TCP, &[7; 3000]), 1000);
    let mut segments = Segments::new(&packet, &offload, 1500).unwrap();
    assert_eq!(segments.write_next(&mut [0; 1039]), None);
    assert_eq!(segments.write_next(&mut [0; 1040]), Some(1040));
}
