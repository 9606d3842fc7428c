//! Segmenting: one super-packet from the TUN device into the packets that go on the wire.
//!
//! What the kernel's own TSO and USO would have made of it (RFC 9293 for the numbers, RFC 3168 section 6.1.2 for CWR):
//! 1. headers are copied to each segment; lengths and the IPv4 header checksum follow;
//! 2. the IPv4 id counts up; the TCP sequence number moves by the payload before it;
//! 3. FIN and PSH stay on the last segment only, CWR on the first only;
//! 4. each transport checksum is computed whole.
//!
//! [`SegmentsInPlace`] does it without a copy of the payload, which is sealed from where it was read; [`Segments`] into a
//! buffer, for what is cut further.

use std::ops::Range;

use super::checksum::{Sum, pseudo_header};
use super::ip::{self, Fragment, TCP, UDP, read_u16, read_u32, write_u16};
use super::{DropReason, GsoKind, Offload};

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Longest headers that [`SegmentsInPlace`] keeps, in bytes: IPv6 with one short extension header, or IPv4 with all options, and TCP with all of its own.
const MAX_HEADERS: usize = 128;

/// How a super-packet is cut.
#[derive(Clone, Copy, Debug)]
struct Plan {
    header_len: usize,
    payload_len: usize,
    transport: usize,
    protocol: u8,
    /// Payload bytes in each segment but the last.
    step: usize,
    count: usize,
}

impl Plan {
    fn new(packet: &[u8], offload: &Offload, max_len: usize) -> Result<Plan, DropReason> {
        let (protocol, version) = match offload.kind {
            GsoKind::None => return Err(DropReason::Malformed),
            GsoKind::Tcp4 => (TCP, Some(4)),
            GsoKind::Tcp6 => (TCP, Some(6)),
            GsoKind::Udp => (UDP, None),
        };
        let header = ip::parse(packet)?;
        let version_fits = version.is_none_or(|version| packet[0] >> 4 == version);
        let checksum_fits =
            !offload.needs_checksum || usize::from(offload.checksum_start) == header.transport;
        if !version_fits
            || !checksum_fits
            || header.protocol != protocol
            || header.fragment != Fragment::Whole
        {
            return Err(DropReason::Malformed);
        }
        // what lies behind the packet's own length is no payload of it
        let packet = &packet[..header.total_len];
        let header_len = header.transport + transport_header_len(packet, header.transport, protocol)?;
        let payload_len = packet
            .len()
            .checked_sub(header_len)
            .ok_or(DropReason::Malformed)?;
        let gso_size = usize::from(offload.gso_size);
        let step = segment_payload(protocol, gso_size, header_len, payload_len, max_len)?;
        Ok(Plan {
            header_len,
            payload_len,
            transport: header.transport,
            protocol,
            step,
            count: payload_len.div_ceil(step).max(1),
        })
    }

    /// Where in the super-packet the payload of segment `index` lies.
    #[inline]
    fn payload(&self, index: usize) -> Range<usize> {
        let start = index * self.step;
        let end = (start + self.step).min(self.payload_len);
        self.header_len + start..self.header_len + end
    }

    /// Makes segment `index` of `packet`, which has the super-packet's headers and this segment's payload.
    #[inline]
    fn finish(&self, packet: &mut [u8], index: usize) {
        self.write_ip_header(packet, index);
        if self.protocol == TCP {
            self.write_tcp_header(packet, index);
        }
        self.write_transport_checksum(packet);
    }

    #[inline]
    fn write_ip_header(&self, packet: &mut [u8], index: usize) {
        let length = packet.len();
        if packet[0] >> 4 == 6 {
            return write_u16(packet, 4, (length - ip::IPV6_HEADER_LEN) as u16);
        }
        write_u16(packet, 2, length as u16);
        write_u16(packet, 4, read_u16(packet, 4).wrapping_add(index as u16));
        write_u16(packet, 10, 0);
        let checksum = Sum::of(&packet[..usize::from(packet[0] & 0x0f) * 4]).checksum();
        write_u16(packet, 10, checksum);
    }

    #[inline]
    fn write_tcp_header(&self, packet: &mut [u8], index: usize) {
        let tcp = &mut packet[self.transport..];
        let seq = read_u32(tcp, 4).wrapping_add((index * self.step) as u32);
        tcp[4..8].copy_from_slice(&seq.to_be_bytes());
        if index + 1 != self.count {
            tcp[13] &= !(FIN | PSH);
        }
        if index != 0 {
            tcp[13] &= !CWR;
        }
    }

    #[inline]
    fn write_transport_checksum(&self, packet: &mut [u8]) {
        let length = (packet.len() - self.transport) as u16;
        let field = self.transport + if self.protocol == TCP { 16 } else { 6 };
        if self.protocol == UDP {
            write_u16(packet, self.transport + 4, length);
        }
        write_u16(packet, field, 0);
        let addresses = if packet[0] >> 4 == 4 {
            &packet[12..20]
        } else {
            &packet[8..40]
        };
        let sum = pseudo_header(addresses, self.protocol, length).with(&packet[self.transport..]);
        let checksum = match sum.checksum() {
            // RFC 768: an all-zero checksum means none; for TCP both zeros are right, and the kernel writes this one
            0 => 0xffff,
            checksum => checksum,
        };
        write_u16(packet, field, checksum);
    }
}

/// The packets of one super-packet, one after the other, each written to a buffer of the caller's.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    packet: &'a [u8],
    plan: Plan,
    index: usize,
}

impl<'a> Segments<'a> {
    /// Reads a super-packet. `max_len` is the largest packet in bytes that may go to this peer: TCP is cut finer where the
    /// kernel asked for more, since its segment borders mean nothing; UDP cannot be.
    ///
    /// # Errors
    /// [`DropReason::Malformed`] where headers and `offload` contradict each other or nothing is to be cut
    /// ([`GsoKind::None`] is [`super::complete_checksum`]'s); [`DropReason::TooBig`] where a segment would exceed `max_len`.
    pub fn new(packet: &'a [u8], offload: &Offload, max_len: usize) -> Result<Segments<'a>, DropReason> {
        let plan = Plan::new(packet, offload, max_len)?;
        Ok(Segments {
            packet,
            plan,
            index: 0,
        })
    }

    /// How many segments there are in all.
    #[inline]
    pub fn count(&self) -> usize {
        self.plan.count
    }

    /// Length in bytes of the longest segment.
    #[inline]
    pub fn longest(&self) -> usize {
        self.plan.header_len + self.plan.step.min(self.plan.payload_len)
    }

    /// Writes the next segment to the start of `out` and gives its length; `None` after the last, or where `out` is shorter
    /// than [`Segments::longest`].
    #[inline]
    pub fn write_next(&mut self, out: &mut [u8]) -> Option<usize> {
        if self.index >= self.plan.count || out.len() < self.longest() {
            return None;
        }
        let payload = &self.packet[self.plan.payload(self.index)];
        let (headers, rest) = out.split_at_mut(self.plan.header_len);
        headers.copy_from_slice(&self.packet[..self.plan.header_len]);
        rest[..payload.len()].copy_from_slice(payload);
        let length = self.plan.header_len + payload.len();
        self.plan.finish(&mut out[..length], self.index);
        self.index += 1;
        Some(length)
    }
}

/// The packets of one super-packet, each made where its payload lies: its headers are written over the end of the packet
/// before, which is of no more use then. No payload is copied.
#[derive(Clone, Debug)]
pub struct SegmentsInPlace {
    headers: [u8; MAX_HEADERS],
    plan: Plan,
    index: usize,
}

impl SegmentsInPlace {
    /// Reads a super-packet, as [`Segments::new`] does; none where its headers are too long to be kept.
    ///
    /// # Errors
    /// As [`Segments::new`].
    pub fn new(
        packet: &[u8],
        offload: &Offload,
        max_len: usize,
    ) -> Result<Option<SegmentsInPlace>, DropReason> {
        let plan = Plan::new(packet, offload, max_len)?;
        let mut headers = [0; MAX_HEADERS];
        let Some(kept) = headers.get_mut(..plan.header_len) else {
            return Ok(None);
        };
        kept.copy_from_slice(&packet[..plan.header_len]);
        Ok(Some(SegmentsInPlace {
            headers,
            plan,
            index: 0,
        }))
    }

    /// Makes the next segment within `packet`, the super-packet that was read, and says where it lies. What lies behind it is
    /// untouched, what lies before it is spent. `None` after the last.
    #[inline]
    pub fn next_in(&mut self, packet: &mut [u8]) -> Option<Range<usize>> {
        let payload = self.plan.payload(self.index);
        if self.index >= self.plan.count || packet.len() < payload.end {
            return None;
        }
        let place = payload.start - self.plan.header_len..payload.end;
        let segment = &mut packet[place.clone()];
        segment[..self.plan.header_len].copy_from_slice(&self.headers[..self.plan.header_len]);
        self.plan.finish(segment, self.index);
        self.index += 1;
        Some(place)
    }
}

fn transport_header_len(packet: &[u8], transport: usize, protocol: u8) -> Result<usize, DropReason> {
    if protocol == UDP {
        return Ok(8);
    }
    match packet.get(transport + 12).map(|byte| usize::from(byte >> 4) * 4) {
        Some(length) if length >= 20 => Ok(length),
        _ => Err(DropReason::Malformed),
    }
}

fn segment_payload(
    protocol: u8,
    gso_size: usize,
    header_len: usize,
    payload: usize,
    max_len: usize,
) -> Result<usize, DropReason> {
    if gso_size == 0 {
        return Err(DropReason::Malformed);
    }
    if header_len + gso_size.min(payload) <= max_len {
        return Ok(gso_size);
    }
    if protocol == UDP || max_len <= header_len {
        return Err(DropReason::TooBig);
    }
    Ok(max_len - header_len)
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
