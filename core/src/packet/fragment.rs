//! IPv4 packets that are too large for a peer and may be cut (RFC 791 section 3.2): a router has to.

use super::checksum::Sum;
use super::ip::{self, IPV4_HEADER_LEN, read_u16, write_u16};

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
/// Longest header with options.
const MAX_HEADER_LEN: usize = 60;
/// Of an option's first byte: it belongs in every fragment.
const COPIED: u8 = 0x80;

/// One packet, cut into fragments that fit.
#[derive(Clone, Debug)]
pub struct Fragments<'a> {
    first_header: &'a [u8],
    later_header: [u8; MAX_HEADER_LEN],
    later_header_len: usize,
    payload: &'a [u8],
    max_len: usize,
    done: usize,
}

impl<'a> Fragments<'a> {
    /// Cuts `packet` into fragments of at most `max_len` bytes; none where that may not be: where it is not IPv4, must not be
    /// fragmented, contradicts itself, or where nothing of it would fit.
    pub fn new(packet: &'a [u8], max_len: usize) -> Option<Self> {
        let header = ip::parse(packet).ok()?;
        let cuttable = packet[0] >> 4 == 4 && read_u16(packet, 6) & DONT_FRAGMENT == 0;
        if !cuttable || max_len < header.transport + 8 {
            return None;
        }
        let (first_header, payload) = packet[..header.total_len].split_at(header.transport);
        let (later_header, later_header_len) = later_header(first_header);
        Some(Self {
            first_header,
            later_header,
            later_header_len,
            payload,
            max_len,
            done: 0,
        })
    }

    /// How many there are in all, at most.
    pub fn count(&self) -> usize {
        let room = (self.max_len - self.first_header.len()) / 8 * 8;
        self.payload.len().div_ceil(room)
    }

    /// Writes the next fragment to the start of `out` and gives its length; none after the last, or where `out` is too short.
    pub fn write_next(&mut self, out: &mut [u8]) -> Option<usize> {
        let left = &self.payload[self.done..];
        if left.is_empty() {
            return None;
        }
        let header = match self.done {
            0 => self.first_header,
            _ => &self.later_header[..self.later_header_len],
        };
        let room = self.max_len - header.len();
        let last = left.len() <= room;
        let take = if last { left.len() } else { room / 8 * 8 };
        let length = header.len() + take;
        let out = out.get_mut(..length)?;
        out[..header.len()].copy_from_slice(header);
        out[header.len()..].copy_from_slice(&left[..take]);
        let before = read_u16(self.first_header, 6);
        let more = if last {
            before & MORE_FRAGMENTS
        } else {
            MORE_FRAGMENTS
        };
        write_u16(out, 2, length as u16);
        write_u16(out, 6, more | ((before & 0x1fff) + (self.done / 8) as u16));
        write_u16(out, 10, 0);
        let checksum = Sum::of(&out[..header.len()]).checksum();
        write_u16(out, 10, checksum);
        self.done += take;
        Some(length)
    }
}

/// The header of later fragments: without the options that only the first one has.
fn later_header(first: &[u8]) -> ([u8; MAX_HEADER_LEN], usize) {
    let mut header = [0; MAX_HEADER_LEN];
    header[..IPV4_HEADER_LEN].copy_from_slice(&first[..IPV4_HEADER_LEN]);
    let (mut at, mut filled) = (IPV4_HEADER_LEN, IPV4_HEADER_LEN);
    while let Some(&kind) = first.get(at).filter(|kind| **kind != 0) {
        let length = match (kind, first.get(at + 1)) {
            (1, _) => 1,
            (_, Some(&length)) if length >= 2 => usize::from(length),
            _ => break,
        };
        let Some(option) = first.get(at..at + length) else {
            break;
        };
        if kind & COPIED != 0 {
            header[filled..filled + length].copy_from_slice(option);
            filled += length;
        }
        at += length;
    }
    let length = filled.next_multiple_of(4);
    header[0] = 0x40 | (length / 4) as u8;
    (header, length)
}

#[cfg(test)]
mod tests {
    use super::super::build;
    use super::super::ip::Fragment;
    use super::*;
    use proptest::prelude::*;

    fn cuttable(payload: &[u8]) -> Vec<u8> {
        let mut packet = build::udp4(payload);
        write_u16(&mut packet, 6, 0);
        packet
    }

    fn cut(packet: &[u8], max_len: usize) -> Vec<Vec<u8>> {
        let mut out = [0; 9000];
        let mut fragments = Fragments::new(packet, max_len).unwrap();
        std::iter::from_fn(|| {
            fragments
                .write_next(&mut out)
                .map(|length| out[..length].to_vec())
        })
        .collect()
    }

    /// What a host makes of them (RFC 815).
    fn joined(fragments: &[Vec<u8>]) -> Vec<u8> {
        let mut payload = Vec::new();
        for (number, fragment) in fragments.iter().enumerate() {
            let header = ip::parse(fragment).unwrap();
            assert_eq!(Sum::of(&fragment[..header.transport]).checksum(), 0);
            let flags = read_u16(fragment, 6);
            assert_eq!(usize::from(flags & 0x1fff) * 8, payload.len());
            assert_eq!(flags & MORE_FRAGMENTS != 0, number + 1 < fragments.len());
            payload.extend(&fragment[header.transport..]);
        }
        payload
    }

    #[test]
    fn what_must_not_be_cut_is_not() {
        let mut whole = cuttable(&[1; 100]);
        assert!(Fragments::new(&whole, 27).is_none());
        assert!(Fragments::new(&build::udp6(&[1; 100]), 68).is_none());
        write_u16(&mut whole, 6, DONT_FRAGMENT);
        assert!(Fragments::new(&whole, 68).is_none());
    }

    #[test]
    fn a_fragment_is_cut_again_and_options_go_where_they_belong() {
        let whole = cuttable(&[7; 2_000]);
        let first = cut(&whole, 1_408).remove(0);
        let again = cut(&first, 1_328);
        assert_eq!(ip::parse(&again[1]).unwrap().fragment, Fragment::Later);
        assert_ne!(
            read_u16(&again[1], 6) & MORE_FRAGMENTS,
            0,
            "more of the whole follows"
        );
        let mut options = whole[..20].to_vec();
        // a copied option (security, 130) and one that is not (record route, 7)
        options.extend([7, 3, 4, 130, 4, 9, 9, 0]);
        options.extend(&whole[20..]);
        options[0] = 0x47;
        let length = options.len() as u16;
        write_u16(&mut options, 2, length);
        let cut = cut(&options, 1_000);
        assert_eq!(ip::parse(&cut[0]).unwrap().transport, 28);
        assert_eq!(cut[1][20..24], [130, 4, 9, 9]);
        assert_eq!(joined(&cut), options[28..]);
    }

    proptest! {
        #[test]
        fn fragments_fit_and_make_the_packet(payload in proptest::collection::vec(any::<u8>(), 1..4000), max in 28usize..1500) {
            let packet = cuttable(&payload);
            let fragments = cut(&packet, max);
            prop_assert!(fragments.iter().all(|fragment| fragment.len() <= max));
            prop_assert!(fragments.len() <= Fragments::new(&packet, max).unwrap().count());
            prop_assert_eq!(joined(&fragments), &packet[20..]);
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), max in 0usize..200) {
            let mut out = [0; 200];
            if let Some(mut fragments) = Fragments::new(&bytes, max) {
                while fragments.write_next(&mut out).is_some() {}
            }
        }
    }
}
