//! What a packet is cut into: a super-packet into segments; a packet, or a segment, that is too large for the peer's path and
//! may be cut, into fragments.
//!
//! Segments are made in place, where they were read: each is sealed, which copies it, before the next one's headers are
//! written over its end.

use meshd_core::packet::{
    DropReason, Fragments, Fragments6, GsoKind, IPV6_MIN_MTU, Offload, Segments, SegmentsInPlace,
};

/// Bytes behind a packet that sealing may overwrite: up to 15 of padding.
pub(super) const ROOM_BEHIND: usize = 16;

/// The pieces of one packet.
pub(super) struct Pieces<'a> {
    cut: Cut<'a>,
    max_packet: usize,
    /// Identification of IPv6 fragments.
    id: u32,
}

enum Cut<'a> {
    InPlace(SegmentsInPlace, &'a mut [u8]),
    Copied(Copied<'a>),
}

enum Copied<'a> {
    Segments(Segments<'a>),
    Fragments(Fragments<'a>),
    Fragments6(Fragments6<'a>),
}

/// Room for a piece, and for a piece of a piece; each of MTU size and 16 bytes more.
pub(super) struct Scratch {
    piece: Box<[u8]>,
    fragment: Box<[u8]>,
}

impl Scratch {
    pub(super) fn new(mtu: u16) -> Scratch {
        let room = || vec![0; usize::from(mtu) + ROOM_BEHIND].into_boxed_slice();
        Scratch {
            piece: room(),
            fragment: room(),
        }
    }

    /// Room for one packet.
    pub(super) fn packet(&mut self) -> &mut [u8] {
        &mut self.piece
    }
}

impl<'a> Pieces<'a> {
    /// Of the packet of `length` bytes at the start of `buffer`, whose checksum is complete unless it is a super-packet. What is
    /// in the buffer is spent by [`Pieces::each`]. `id` is another one for each.
    ///
    /// # Errors
    /// [`DropReason::TooBig`] where it may not be cut so small; [`DropReason::Malformed`].
    pub(super) fn new(
        buffer: &'a mut [u8],
        length: usize,
        offload: &Offload,
        max_packet: usize,
        id: u32,
    ) -> Result<Self, DropReason> {
        let packet = &buffer[..length];
        let limit = match offload.kind {
            GsoKind::None => {
                let cut = fragments(&buffer[..length], max_packet, id).ok_or(DropReason::TooBig)?;
                let cut = Cut::Copied(cut);
                return Ok(Self { cut, max_packet, id });
            }
            GsoKind::Udp => datagrams_limit(packet, offload, max_packet)?,
            GsoKind::Tcp4 | GsoKind::Tcp6 => max_packet,
        };
        let in_place = match buffer.len() >= length + ROOM_BEHIND && limit == max_packet {
            true => SegmentsInPlace::new(packet, offload, limit)?,
            false => None,
        };
        let cut = match in_place {
            Some(segments) => Cut::InPlace(segments, &mut buffer[..length + ROOM_BEHIND]),
            None => Cut::Copied(Copied::Segments(Segments::new(
                &buffer[..length],
                offload,
                limit,
            )?)),
        };
        Ok(Self { cut, max_packet, id })
    }

    /// Gives each piece to `each`, at the start of a buffer with at least 15 bytes more, with its length; how many there were.
    pub(super) fn each(self, scratch: &mut Scratch, mut each: impl FnMut(&mut [u8], usize)) -> usize {
        let mut cut = match self.cut {
            Cut::InPlace(segments, buffer) => return each_in_place(segments, buffer, each),
            Cut::Copied(cut) => cut,
        };
        let mut count = 0;
        while let Some(length) = cut.write_next(&mut scratch.piece) {
            if length <= self.max_packet {
                each(&mut scratch.piece, length);
                count += 1;
                continue;
            }
            let mut cut = fragments(
                &scratch.piece[..length],
                self.max_packet,
                self.id.wrapping_add(count as u32),
            );
            while let Some(length) = cut.as_mut().and_then(|cut| cut.write_next(&mut scratch.fragment)) {
                each(&mut scratch.fragment, length);
                count += 1;
            }
        }
        count
    }
}

/// The last [`ROOM_BEHIND`] bytes of `buffer` are not of the packet. Padding would overwrite the next segment's payload, which is
/// put back.
#[inline]
fn each_in_place(
    mut segments: SegmentsInPlace,
    buffer: &mut [u8],
    mut each: impl FnMut(&mut [u8], usize),
) -> usize {
    let (mut count, end) = (0, buffer.len() - ROOM_BEHIND);
    while let Some(place) = segments.next_in(&mut buffer[..end]) {
        let behind = place.end..place.end + ROOM_BEHIND;
        let mut kept = [0; ROOM_BEHIND];
        kept.copy_from_slice(&buffer[behind.clone()]);
        each(&mut buffer[place.start..behind.end], place.len());
        buffer[behind].copy_from_slice(&kept);
        count += 1;
    }
    count
}

impl Copied<'_> {
    #[inline]
    fn write_next(&mut self, out: &mut [u8]) -> Option<usize> {
        match self {
            Self::Segments(segments) => segments.write_next(out),
            Self::Fragments(fragments) => fragments.write_next(out),
            Self::Fragments6(fragments) => fragments.write_next(out),
        }
    }
}

fn fragments(packet: &[u8], max_packet: usize, id: u32) -> Option<Copied<'_>> {
    match packet.first()? >> 4 {
        4 => Fragments::new(packet, max_packet).map(Copied::Fragments),
        _ => Fragments6::new(packet, max_packet, id).map(Copied::Fragments6),
    }
}

/// The longest segment that a super-packet of datagrams may be cut into: `max_packet`, unless those that are longer may be cut in
/// turn.
fn datagrams_limit(packet: &[u8], offload: &Offload, max_packet: usize) -> Result<usize, DropReason> {
    let longest = Segments::new(packet, offload, usize::MAX)?.longest();
    if longest <= max_packet {
        return Ok(max_packet);
    }
    let cuttable = match packet.first().map(|first| first >> 4) {
        Some(4) => packet.get(6).is_some_and(|flags| flags & 0x40 == 0),
        _ => longest <= IPV6_MIN_MTU,
    };
    match cuttable {
        true => Ok(usize::MAX),
        false => Err(DropReason::TooBig),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MTU: u16 = 1408;

    /// A super-packet of `count` datagrams with `payload` bytes each.
    fn datagrams_of(v6: bool, dont_fragment: bool, payload: usize, count: usize) -> (Vec<u8>, Offload) {
        let length = 8 + payload * count;
        let mut packet = if v6 {
            let mut header = vec![0; 40];
            (header[0], header[6], header[23], header[39]) = (0x60, 17, 1, 2);
            header[4..6].copy_from_slice(&(length as u16).to_be_bytes());
            header
        } else {
            let mut header = vec![
                0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2,
            ];
            header[2..4].copy_from_slice(&(20 + length as u16).to_be_bytes());
            header[6] = if dont_fragment { 0x40 } else { 0 };
            header
        };
        let header_len = packet.len() as u16;
        packet.extend([0, 9, 0, 9]);
        packet.extend((length as u16).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend((0..payload * count).map(|at| at as u8));
        let offload = Offload {
            kind: GsoKind::Udp,
            needs_checksum: true,
            header_len: header_len + 8,
            gso_size: payload as u16,
            checksum_start: header_len,
            checksum_offset: 6,
        };
        (packet, offload)
    }

    /// How long the pieces are.
    fn pieces(packet: &[u8], offload: &Offload, max_packet: usize) -> Result<Vec<usize>, DropReason> {
        let (mut scratch, mut lengths) = (Scratch::new(MTU), Vec::new());
        let mut buffer = [packet, &[0; ROOM_BEHIND]].concat();
        let pieces = Pieces::new(&mut buffer, packet.len(), offload, max_packet, 1)?;
        let count = pieces.each(&mut scratch, |piece, length| {
            lengths.push(length);
            // as padding does
            piece[length..][..15].fill(0);
        });
        assert_eq!(count, lengths.len());
        Ok(lengths)
    }

    #[test]
    fn datagrams_that_may_be_fragmented_are() {
        let (packet, offload) = datagrams_of(false, false, 1_300, 3);
        let lengths = pieces(&packet, &offload, 1_200).unwrap();
        assert_eq!(lengths, [1_196, 152, 1_196, 152, 1_196, 152]);
        let (packet, offload) = datagrams_of(true, true, 1_200, 2);
        let lengths = pieces(&packet, &offload, 1_200).unwrap();
        assert_eq!(lengths, [1_200, 104, 1_200, 104]);
    }

    #[test]
    fn datagrams_that_must_not_be_fragmented_are_not() {
        for (v6, payload) in [(false, 1_300), (true, 1_300)] {
            let (packet, offload) = datagrams_of(v6, true, payload, 3);
            assert_eq!(pieces(&packet, &offload, 1_200), Err(DropReason::TooBig));
            let whole = pieces(&packet, &offload, usize::from(MTU)).unwrap();
            assert_eq!(whole.len(), 3);
        }
    }

    #[test]
    fn padding_behind_a_segment_does_not_touch_the_next() {
        let (packet, offload) = datagrams_of(false, true, 1_001, 5);
        let (mut scratch, mut payload) = (Scratch::new(MTU), Vec::new());
        for room in [ROOM_BEHIND, 0] {
            payload.clear();
            let mut buffer = [&packet[..], &[0xff; ROOM_BEHIND][..room]].concat();
            let pieces = Pieces::new(&mut buffer, packet.len(), &offload, 1_408, 1).unwrap();
            pieces.each(&mut scratch, |piece, length| {
                payload.extend_from_slice(&piece[28..length]);
                piece[length..][..15].fill(0);
            });
            assert_eq!(payload, packet[28..]);
        }
    }
}
