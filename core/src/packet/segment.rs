//! Segmenting: one super-packet from the TUN device into the packets that go on the wire.
//!
//! What the kernel's own TSO and USO would have made of it (RFC 9293 for the numbers, RFC 3168 section 6.1.2 for CWR):
//! 1. headers are copied to each segment; lengths and the IPv4 header checksum follow;
//! 2. the IPv4 id counts up; the TCP sequence number moves by the payload before it;
//! 3. FIN and PSH stay on the last segment only, CWR on the first only;
//! 4. each transport checksum is computed whole.

use super::checksum::{Sum, pseudo_header};
use super::ip::{self, Fragment, TCP, UDP, read_u16, read_u32, write_u16};
use super::{DropReason, GsoKind, Offload};

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// The packets of one super-packet, one after the other.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    headers: &'a [u8],
    payload: &'a [u8],
    transport: usize,
    protocol: u8,
    /// Payload bytes in each segment but the last.
    step: usize,
    /// Payload bytes already written.
    done: usize,
    index: u16,
    count: usize,
}

impl<'a> Segments<'a> {
    /// Reads a super-packet. `max_len` is the largest packet in bytes that may go to this peer: TCP is cut finer where the
    /// kernel asked for more, since its segment borders mean nothing; UDP cannot be.
    ///
    /// # Errors
    /// [`DropReason::Malformed`] where headers and `offload` contradict each other or nothing is to be cut
    /// ([`GsoKind::None`] is [`super::complete_checksum`]'s); [`DropReason::TooBig`] where a segment would exceed `max_len`.
    pub fn new(packet: &'a [u8], offload: &Offload, max_len: usize) -> Result<Segments<'a>, DropReason> {
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
        let (headers, payload) = packet.split_at_checked(header_len).ok_or(DropReason::Malformed)?;
        let step = segment_payload(
            protocol,
            usize::from(offload.gso_size),
            header_len,
            payload.len(),
            max_len,
        )?;
        let count = payload.len().div_ceil(step).max(1);
        Ok(Segments {
            headers,
            payload,
            transport: header.transport,
            protocol,
            step,
            done: 0,
            index: 0,
            count,
        })
    }

    /// How many segments there are in all.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Length in bytes of the longest segment.
    #[inline]
    pub fn longest(&self) -> usize {
        self.headers.len() + self.step.min(self.payload.len())
    }

    /// Writes the next segment to the start of `out` and gives its length; `None` after the last, or where `out` is shorter
    /// than [`Segments::longest`].
    #[inline]
    pub fn write_next(&mut self, out: &mut [u8]) -> Option<usize> {
        if usize::from(self.index) >= self.count || out.len() < self.longest() {
            return None;
        }
        let (first, last) = (self.index == 0, usize::from(self.index) + 1 == self.count);
        let payload = if last {
            &self.payload[self.done..]
        } else {
            &self.payload[self.done..self.done + self.step]
        };
        let (headers, rest) = out.split_at_mut(self.headers.len());
        headers.copy_from_slice(self.headers);
        rest[..payload.len()].copy_from_slice(payload);
        let length = headers.len() + payload.len();
        self.write_ip_header(headers, length);
        if self.protocol == TCP {
            self.write_tcp_header(headers, first, last);
        }
        self.write_transport_checksum(&mut out[..length]);
        self.done += payload.len();
        self.index += 1;
        Some(length)
    }

    #[inline]
    fn write_ip_header(&self, headers: &mut [u8], length: usize) {
        if headers[0] >> 4 == 6 {
            return write_u16(headers, 4, (length - ip::IPV6_HEADER_LEN) as u16);
        }
        write_u16(headers, 2, length as u16);
        write_u16(headers, 4, read_u16(self.headers, 4).wrapping_add(self.index));
        write_u16(headers, 10, 0);
        let checksum = Sum::of(&headers[..usize::from(headers[0] & 0x0f) * 4]).checksum();
        write_u16(headers, 10, checksum);
    }

    #[inline]
    fn write_tcp_header(&self, headers: &mut [u8], first: bool, last: bool) {
        let tcp = &mut headers[self.transport..];
        let seq = read_u32(tcp, 4).wrapping_add(self.done as u32);
        tcp[4..8].copy_from_slice(&seq.to_be_bytes());
        if !last {
            tcp[13] &= !(FIN | PSH);
        }
        if !first {
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
