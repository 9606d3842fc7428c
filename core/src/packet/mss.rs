//! The TCP maximum segment size, clamped to what fits a peer (RFC 9293 section 3.7.1).

use super::checksum;
use super::ip::{self, Fragment, TCP, read_u16, write_u16};

const SYN: u8 = 0x02;
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;

/// Lowers the MSS option of a TCP SYN so that its segments fit packets of `max_len` bytes, and corrects the checksum.
/// Tells whether it changed something. A SYN without the option is left alone: its default of 536 or 1,220 fits everywhere.
/// Where the checksum is still partial, pass `partial`: the option is not part of the pseudo header, so nothing is corrected.
pub fn clamp_mss(packet: &mut [u8], max_len: u16, partial: bool) -> bool {
    let Ok(header) = ip::parse(packet) else {
        return false;
    };
    let syn = packet
        .get(header.transport + 13)
        .is_some_and(|flags| flags & SYN != 0);
    if header.protocol != TCP || header.fragment != Fragment::Whole || !syn {
        return false;
    }
    let end = header.transport + usize::from(packet[header.transport + 12] >> 4) * 4;
    if end > header.total_len {
        return false;
    }
    let fixed = if packet[0] >> 4 == 4 {
        ip::IPV4_HEADER_LEN
    } else {
        ip::IPV6_HEADER_LEN
    } + 20;
    let limit = max_len.saturating_sub(fixed as u16);
    let Some(at) = find_mss(packet, header.transport + 20, end) else {
        return false;
    };
    let old = read_u16(packet, at);
    if old <= limit {
        return false;
    }
    write_u16(packet, at, limit);
    if !partial {
        correct_checksum(packet, header.transport, at, old, limit);
    }
    true
}

/// Offset of the option's value.
fn find_mss(packet: &[u8], mut at: usize, end: usize) -> Option<usize> {
    while at < end {
        match packet[at] {
            END_OF_OPTIONS => return None,
            NO_OPERATION => at += 1,
            kind => {
                let length = usize::from(*packet.get(at + 1)?);
                if length < 2 || at + length > end {
                    return None;
                }
                if kind == MAXIMUM_SEGMENT_SIZE && length == 4 {
                    return Some(at + 2);
                }
                at += length;
            }
        }
    }
    None
}

fn correct_checksum(packet: &mut [u8], transport: usize, at: usize, old: u16, new: u16) {
    // a value at an odd offset is summed with its bytes swapped (RFC 1071 section 2 (B))
    let (old, new) = if (at - transport) & 1 == 0 {
        (old, new)
    } else {
        (old.swap_bytes(), new.swap_bytes())
    };
    let checksum = checksum::update(read_u16(packet, transport + 16), old, new);
    write_u16(packet, transport + 16, checksum);
}

#[cfg(test)]
mod tests {
    use super::super::build::Recipe;
    use super::*;
    use proptest::prelude::*;

    fn syn(options: &[u8], v6: bool) -> Recipe {
        let base = if v6 {
            Recipe::v6(TCP, b"")
        } else {
            Recipe::v4(TCP, b"")
        };
        Recipe {
            flags: SYN,
            options: options.to_vec(),
            ..base
        }
    }

    #[test]
    fn a_larger_mss_is_lowered_and_the_checksum_stays_right() {
        for (v6, max_len, expected) in [(false, 1280, 1240u16), (true, 1280, 1220)] {
            for shift in 0..4 {
                let mut options = vec![NO_OPERATION; shift];
                let at = options.len() + 2;
                options.extend([MAXIMUM_SEGMENT_SIZE, 4, 0x05, 0xb4]);
                options.resize(8, NO_OPERATION);
                let mut packet = syn(&options, v6).build();
                assert!(clamp_mss(&mut packet, max_len, false));
                options[at..at + 2].copy_from_slice(&expected.to_be_bytes());
                assert_eq!(packet, syn(&options, v6).build());
                assert!(!clamp_mss(&mut packet, max_len, false), "twice is once");
            }
        }
    }

    #[test]
    fn what_is_small_enough_or_no_syn_stays() {
        let mut small = syn(&[MAXIMUM_SEGMENT_SIZE, 4, 0x02, 0x00], false).build();
        assert!(!clamp_mss(&mut small, 1280, false));
        let mut data = Recipe {
            flags: 0x10,
            ..syn(&[MAXIMUM_SEGMENT_SIZE, 4, 0x05, 0xb4], false)
        }
        .build();
        assert!(!clamp_mss(&mut data, 1280, false));
    }

    proptest! {
        #[test]
        fn any_options_are_survived(options in proptest::collection::vec(any::<u8>(), 40), length in 0usize..=10, cut in 0usize..80) {
            let packet = syn(&options[..length * 4], false).build();
            let mut packet = packet[..cut.min(packet.len())].to_vec();
            clamp_mss(&mut packet, 1280, false);
        }
    }
}
