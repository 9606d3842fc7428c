//! IPv4 and IPv6 headers (RFC 791, RFC 8200), read and never trusted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::DropReason;

/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;

pub(super) const IPV4_HEADER_LEN: usize = 20;
pub(super) const IPV6_HEADER_LEN: usize = 40;

/// More extension headers than this are not looked through (RFC 8200 section 4.1 knows seven).
const MAX_EXTENSION_HEADERS: usize = 8;

/// Whether a packet is a fragment, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// A whole packet.
    Whole,
    /// The first fragment: it has the transport header.
    First,
    /// A later fragment: what follows the IP header is the middle of something.
    Later,
}

/// What the packet path needs to know of one packet's IP headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpHeader {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Length of the packet in bytes by its header; what lies behind it is padding.
    pub total_len: usize,
    /// Offset in bytes of what follows the IP header and its extension headers.
    pub transport: usize,
    /// Protocol number of what stands there. With more than eight extension headers, the number of the ninth.
    pub protocol: u8,
    /// Type of service or traffic class: DSCP and ECN.
    pub traffic_class: u8,
    /// Whether it is a fragment.
    pub fragment: Fragment,
}

/// The source address; of IPv6 and IPv4 packets that have a whole fixed header.
#[inline]
pub fn source(packet: &[u8]) -> Option<IpAddr> {
    address(packet, 12, 8)
}

/// The destination address; of IPv6 and IPv4 packets that have a whole fixed header.
#[inline]
pub fn destination(packet: &[u8]) -> Option<IpAddr> {
    address(packet, 16, 24)
}

#[inline]
fn address(packet: &[u8], at_v4: usize, at_v6: usize) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 if packet.len() >= IPV4_HEADER_LEN => {
            let octets = packet[at_v4..].first_chunk::<4>()?;
            Some(IpAddr::V4(Ipv4Addr::from(*octets)))
        }
        6 if packet.len() >= IPV6_HEADER_LEN => {
            let octets = packet[at_v6..].first_chunk::<16>()?;
            Some(IpAddr::V6(Ipv6Addr::from(*octets)))
        }
        _ => None,
    }
}

/// The type of service or traffic class of a packet with a whole fixed header, else 0.
#[inline]
pub fn traffic_class(packet: &[u8]) -> u8 {
    match packet {
        [first, second, ..] if first >> 4 == 4 => *second,
        [first, second, ..] if first >> 4 == 6 => (first << 4) | (second >> 4),
        _ => 0,
    }
}

/// Reads the IP headers of a packet.
///
/// # Errors
/// [`DropReason::Malformed`] where a length contradicts another or the bytes end too early.
pub fn parse(packet: &[u8]) -> Result<IpHeader, DropReason> {
    match packet.first().map(|first| first >> 4) {
        Some(4) => parse_v4(packet),
        Some(6) => parse_v6(packet),
        _ => Err(DropReason::Malformed),
    }
}

fn parse_v4(packet: &[u8]) -> Result<IpHeader, DropReason> {
    if packet.len() < IPV4_HEADER_LEN {
        return Err(DropReason::Malformed);
    }
    let transport = usize::from(packet[0] & 0x0f) * 4;
    let total_len = usize::from(read_u16(packet, 2));
    if transport < IPV4_HEADER_LEN || total_len < transport || packet.len() < total_len {
        return Err(DropReason::Malformed);
    }
    let flags = read_u16(packet, 6);
    let fragment = fragment(flags & 0x1fff, flags & 0x2000 != 0);
    Ok(IpHeader {
        source: source(packet).ok_or(DropReason::Malformed)?,
        destination: destination(packet).ok_or(DropReason::Malformed)?,
        total_len,
        transport,
        protocol: packet[9],
        traffic_class: packet[1],
        fragment,
    })
}

fn parse_v6(packet: &[u8]) -> Result<IpHeader, DropReason> {
    if packet.len() < IPV6_HEADER_LEN {
        return Err(DropReason::Malformed);
    }
    let total_len = IPV6_HEADER_LEN + usize::from(read_u16(packet, 4));
    let packet = packet.get(..total_len).ok_or(DropReason::Malformed)?;
    let (mut transport, mut protocol, mut whole) = (IPV6_HEADER_LEN, packet[6], Fragment::Whole);
    for _ in 0..MAX_EXTENSION_HEADERS {
        let length = match protocol {
            // hop-by-hop, routing, destination options, mobility, HIP, shim6: units of 8 bytes after the first 8
            0 | 43 | 60 | 135 | 139 | 140 => 8 + 8 * usize::from(byte(packet, transport + 1)?),
            // authentication header: units of 4 bytes, less 2 (RFC 4302 section 2.2)
            51 => 8 + 4 * usize::from(byte(packet, transport + 1)?),
            44 => 8,
            _ => break,
        };
        let header = packet
            .get(transport..transport + length)
            .ok_or(DropReason::Malformed)?;
        if protocol == 44 {
            let offset = read_u16(header, 2);
            whole = fragment(offset >> 3, offset & 1 != 0);
        }
        (protocol, transport) = (header[0], transport + length);
        if whole == Fragment::Later {
            break;
        }
    }
    Ok(IpHeader {
        source: source(packet).ok_or(DropReason::Malformed)?,
        destination: destination(packet).ok_or(DropReason::Malformed)?,
        total_len,
        transport,
        protocol,
        traffic_class: traffic_class(packet),
        fragment: whole,
    })
}

fn fragment(offset: u16, more: bool) -> Fragment {
    match (offset, more) {
        (0, false) => Fragment::Whole,
        (0, true) => Fragment::First,
        _ => Fragment::Later,
    }
}

fn byte(packet: &[u8], at: usize) -> Result<u8, DropReason> {
    packet.get(at).copied().ok_or(DropReason::Malformed)
}

/// The big-endian number at `at`, which the caller knows to be inside.
#[inline]
pub(super) fn read_u16(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

#[inline]
pub(super) fn read_u32(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}

#[inline]
pub(super) fn write_u16(packet: &mut [u8], at: usize, value: u16) {
    packet[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::build;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_plain_ipv4_packet() {
        let packet = build::udp4(b"hello");
        let header = parse(&packet).unwrap();
        assert_eq!(
            (header.transport, header.protocol, header.total_len),
            (20, UDP, 33)
        );
        assert_eq!(header.fragment, Fragment::Whole);
        assert_eq!(Some(header.source), source(&packet));
        assert_eq!(Some(header.destination), destination(&packet));
    }

    #[test]
    fn extension_headers_are_walked_to_the_transport_header() {
        let inner = build::udp6(b"x");
        let udp = inner[40..].to_vec();
        // hop-by-hop of 16 bytes, then destination options of 8, then UDP
        let mut packet = inner[..40].to_vec();
        packet[6] = 0;
        packet.extend_from_slice(&[60, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend_from_slice(&[UDP, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend_from_slice(&udp);
        write_u16(&mut packet, 4, 24 + udp.len() as u16);
        let header = parse(&packet).unwrap();
        assert_eq!((header.transport, header.protocol), (64, UDP));
    }

    #[test]
    fn fragments_are_told_apart() {
        let mut packet = build::udp4(b"hello");
        write_u16(&mut packet, 6, 0x2000);
        assert_eq!(parse(&packet).unwrap().fragment, Fragment::First);
        write_u16(&mut packet, 6, 0x0001);
        assert_eq!(parse(&packet).unwrap().fragment, Fragment::Later);
        let mut packet = build::udp6(b"12345678");
        packet[6] = 44;
        packet[40..44].copy_from_slice(&[UDP, 0, 0, 8]);
        assert_eq!(parse(&packet).unwrap().fragment, Fragment::Later);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let mut packet = build::udp4(b"hello");
        write_u16(&mut packet, 2, 34);
        assert_eq!(parse(&packet), Err(DropReason::Malformed));
        write_u16(&mut packet, 2, 19);
        assert_eq!(parse(&packet), Err(DropReason::Malformed));
        let mut packet = build::udp6(b"");
        packet[6] = 0;
        packet[41] = 200;
        assert_eq!(parse(&packet), Err(DropReason::Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer_inside_the_packet(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), v6: bool, next in 0u8..64) {
            if let [first, _, _, _, _, length, protocol, ..] = &mut bytes[..] {
                *first = if v6 { 0x60 } else { 0x45 };
                if v6 { *length &= 0x7f; *protocol = next; }
            }
            if let Ok(header) = parse(&bytes) {
                prop_assert!(header.transport <= header.total_len && header.total_len <= bytes.len());
            }
        }
    }
}
