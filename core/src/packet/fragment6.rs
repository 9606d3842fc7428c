//! IPv6 packets of up to 1,280 bytes that a path does not carry whole.
//!
//! IPv6 relies on every link to carry these, and a link that cannot has to cut and join them below IPv6 (RFC 8200 section 5); no
//! answer makes a sender send less. The tunnel cuts them with IPv6's own fragment header (section 4.5), and the destination
//! joins them as it joins what any source has cut: outside each fragment is a datagram like every other, which passes
//! the NATs and firewalls that drop the fragments of a datagram.

use super::ip::{self, Fragment, IPV6_HEADER_LEN, read_u16, write_u16};

/// What every IPv6 link carries, in bytes (RFC 8200 section 5).
pub const IPV6_MIN_MTU: usize = 1280;
const FRAGMENT: u8 = 44;
const FRAGMENT_HEADER_LEN: usize = 8;

/// One packet, cut into fragments that fit.
#[derive(Clone, Debug)]
pub struct Fragments6<'a> {
    /// The headers that stand in every fragment (RFC 8200 section 4.5: "per-fragment headers").
    headers: &'a [u8],
    /// Where the last of them says what follows.
    next_at: usize,
    next: u8,
    payload: &'a [u8],
    /// Where the payload begins in the packet of which this one is a fragment itself, and whether more of that follows.
    offset: u16,
    more: bool,
    id: u32,
    max_len: usize,
    done: usize,
}

impl<'a> Fragments6<'a> {
    /// Cuts `packet` into fragments of at most `max_len` bytes with the identification `id`, which the last few packets between
    /// the two ends must not have had; a fragment keeps its own. None where it is no IPv6 packet of at most [`IPV6_MIN_MTU`], or
    /// nothing of it would fit.
    pub fn new(packet: &'a [u8], max_len: usize, id: u32) -> Option<Self> {
        let header = ip::parse(packet).ok()?;
        if packet[0] >> 4 != 6 || header.total_len > IPV6_MIN_MTU {
            return None;
        }
        let packet = &packet[..header.total_len];
        let (at, next_at) = fragmentable(packet)?;
        if max_len < at + FRAGMENT_HEADER_LEN + 8 {
            return None;
        }
        let (headers, rest) = packet.split_at(at);
        let whole = Self {
            headers,
            next_at,
            next: packet[next_at],
            payload: rest,
            offset: 0,
            more: false,
            id,
            max_len,
            done: 0,
        };
        match (header.fragment, whole.next) {
            (_, FRAGMENT) => whole.again(),
            (Fragment::Whole, _) => Some(whole),
            _ => None,
        }
    }

    /// Of a packet that is a fragment itself.
    fn again(self) -> Option<Self> {
        let (header, payload) = self.payload.split_at_checked(FRAGMENT_HEADER_LEN)?;
        let place = read_u16(header, 2);
        Some(Self {
            next: header[0],
            payload,
            offset: place & !7,
            more: place & 1 != 0,
            id: u32::from_be_bytes(*header[4..].first_chunk()?),
            ..self
        })
    }

    /// Writes the next fragment to the start of `out` and gives its length; none after the last, or where `out` is too short.
    pub fn write_next(&mut self, out: &mut [u8]) -> Option<usize> {
        let left = &self.payload[self.done..];
        if left.is_empty() {
            return None;
        }
        let at = self.headers.len();
        let room = self.max_len - at - FRAGMENT_HEADER_LEN;
        let last = left.len() <= room;
        let take = if last { left.len() } else { room / 8 * 8 };
        let length = at + FRAGMENT_HEADER_LEN + take;
        let out = out.get_mut(..length)?;
        out[..at].copy_from_slice(self.headers);
        out[self.next_at] = FRAGMENT;
        write_u16(out, 4, (length - IPV6_HEADER_LEN) as u16);
        (out[at], out[at + 1]) = (self.next, 0);
        let more = u16::from(!last || self.more);
        write_u16(out, at + 2, (self.offset + self.done as u16) | more);
        out[at + 4..at + 8].copy_from_slice(&self.id.to_be_bytes());
        out[at + FRAGMENT_HEADER_LEN..].copy_from_slice(&left[..take]);
        self.done += take;
        Some(length)
    }
}

/// Where the part of a packet begins that may be cut, and where it stands what that is: hop-by-hop options and routing
/// headers, and destination options before those, come before it.
fn fragmentable(packet: &[u8]) -> Option<(usize, usize)> {
    let (mut at, mut next_at) = (IPV6_HEADER_LEN, 6);
    let mut found = (at, next_at);
    while let kind @ (0 | 43 | 60) = packet[next_at] {
        let length = 8 + 8 * usize::from(*packet.get(at + 1)?);
        (next_at, at) = (at, at + length);
        packet.get(..at)?;
        if kind != 60 {
            found = (at, next_at);
        }
    }
    if packet[next_at] == FRAGMENT {
        found = (at, next_at);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::super::build;
    use super::*;
    use proptest::prelude::*;

    fn cut(packet: &[u8], max_len: usize) -> Vec<Vec<u8>> {
        let mut out = [0; 2000];
        let mut fragments = Fragments6::new(packet, max_len, 77).unwrap();
        std::iter::from_fn(|| {
            let length = fragments.write_next(&mut out)?;
            Some(out[..length].to_vec())
        })
        .collect()
    }

    /// What a host makes of them (RFC 8200 section 4.5).
    fn joined(fragments: &[Vec<u8>], at: usize) -> Vec<u8> {
        let mut payload = Vec::new();
        for (number, fragment) in fragments.iter().enumerate() {
            let header = ip::parse(fragment).unwrap();
            assert_eq!(header.total_len, fragment.len());
            let place = read_u16(fragment, at + 2);
            assert_eq!(usize::from(place & !7), payload.len());
            assert_eq!(place & 1 != 0, number + 1 < fragments.len());
            assert_eq!(fragment[at + 4..at + 8], [0, 0, 0, 77]);
            payload.extend(&fragment[at + 8..]);
        }
        payload
    }

    #[test]
    fn a_fragment_is_cut_again_and_options_stand_where_they_belong() {
        let packet = build::udp6(&[7; 1_000]);
        let again: Vec<Vec<u8>> = cut(&packet, 900)
            .iter()
            .flat_map(|fragment| cut(fragment, 500))
            .collect();
        assert_eq!(joined(&again, 40), packet[40..]);
        let mut options = packet.clone();
        let (upper, length) = (packet[6], packet.len() - 40 + 16);
        // hop-by-hop options go into each fragment, destination options are cut
        options[6] = 0;
        options.splice(40..40, [60, 0, 1, 4, 0, 0, 0, 0, upper, 0, 1, 4, 0, 0, 0, 0]);
        write_u16(&mut options, 4, length as u16);
        let fragments = cut(&options, 600);
        assert!(
            fragments
                .iter()
                .all(|fragment| fragment[40] == FRAGMENT && fragment[48] == 60)
        );
        assert_eq!(joined(&fragments, 48), options[48..]);
    }

    #[test]
    fn what_every_link_need_not_carry_is_not_cut() {
        assert!(Fragments6::new(&build::udp6(&[0; 1_233]), 1_200, 1).is_none());
        assert!(Fragments6::new(&build::udp4(&[0; 1_000]), 900, 1).is_none());
        assert!(Fragments6::new(&build::udp6(&[0; 100]), 55, 1).is_none());
    }

    proptest! {
        #[test]
        fn fragments_fit_and_make_the_packet(payload in proptest::collection::vec(any::<u8>(), 1..1_232), max in 576usize..1_279) {
            let packet = build::udp6(&payload);
            let fragments = cut(&packet, max);
            prop_assert!(fragments.iter().all(|fragment| fragment.len() <= max));
            prop_assert_eq!(joined(&fragments, 40), &packet[40..]);
        }

        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), max in 0usize..200) {
            if let Some(first) = bytes.first_mut() {
                *first = 0x60 | (*first & 0xf);
            }
            let mut out = [0; 300];
            if let Some(mut fragments) = Fragments6::new(&bytes, max, 1) {
                while fragments.write_next(&mut out).is_some() {}
            }
        }
    }
}
