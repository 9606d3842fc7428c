//! The answer to a packet that is too big for its peer: "fragmentation needed" (RFC 1191 section 4) or
//! "packet too big" (RFC 4443 section 3.2).

use std::net::IpAddr;

use super::checksum::{Sum, pseudo_header};
use super::ip::{self, Fragment, ICMP, ICMPV6, IPV4_HEADER_LEN, IPV6_HEADER_LEN, write_u16};

/// Largest answer in bytes: RFC 4443 section 2.4 (c) for IPv6; RFC 1812 section 4.3.2.3 asks for at most 576 with IPv4.
pub const MAX_ANSWER_LEN: usize = 1280;
const MAX_ANSWER_LEN_V4: usize = 576;
const HOP_LIMIT: u8 = 64;

/// Writes the answer to `packet` into `out` and gives its length. `mtu` is the largest packet in bytes that the peer
/// takes. It comes from `from`, the node's own address, or in the name of the packet's destination. `None` where
/// nothing may be answered (RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e)): to ICMP errors, later fragments, IPv4
/// that may be fragmented, where an end is no single host; and where `out` is too short.
pub fn too_big(packet: &[u8], mtu: u16, from: Option<IpAddr>, out: &mut [u8]) -> Option<usize> {
    let header = ip::parse(packet).ok()?;
    let single = is_single_host(header.source) && is_single_host(header.destination);
    if header.fragment == Fragment::Later || !single || is_icmp_error(packet, &header) {
        return None;
    }
    match (from.unwrap_or(header.destination), header.source) {
        (IpAddr::V4(source), IpAddr::V4(sender)) if packet[6] & 0x40 != 0 => {
            let quoted = packet
                .len()
                .min(header.total_len)
                .min(MAX_ANSWER_LEN_V4 - IPV4_HEADER_LEN - 8);
            let length = IPV4_HEADER_LEN + 8 + quoted;
            let out = out.get_mut(..length)?;
            out[..IPV4_HEADER_LEN + 8].fill(0);
            out[0] = 0x45;
            write_u16(out, 2, length as u16);
            (out[8], out[9]) = (HOP_LIMIT, ICMP);
            out[12..16].copy_from_slice(&source.octets());
            out[16..20].copy_from_slice(&sender.octets());
            let checksum = Sum::of(&out[..IPV4_HEADER_LEN]).checksum();
            write_u16(out, 10, checksum);
            (out[20], out[21]) = (3, 4);
            write_u16(out, 26, mtu);
            out[28..].copy_from_slice(&packet[..quoted]);
            let checksum = Sum::of(&out[20..]).checksum();
            write_u16(out, 22, checksum);
            Some(length)
        }
        (IpAddr::V6(source), IpAddr::V6(sender)) => {
            let quoted = packet
                .len()
                .min(header.total_len)
                .min(MAX_ANSWER_LEN - IPV6_HEADER_LEN - 8);
            let length = IPV6_HEADER_LEN + 8 + quoted;
            let out = out.get_mut(..length)?;
            out[..IPV6_HEADER_LEN + 8].fill(0);
            out[0] = 0x60;
            write_u16(out, 4, (8 + quoted) as u16);
            (out[6], out[7]) = (ICMPV6, HOP_LIMIT);
            out[8..24].copy_from_slice(&source.octets());
            out[24..40].copy_from_slice(&sender.octets());
            out[40] = 2;
            write_u16(out, 46, mtu);
            out[48..].copy_from_slice(&packet[..quoted]);
            let sum = pseudo_header(&out[8..40], ICMPV6, (8 + quoted) as u16).with(&out[40..]);
            write_u16(out, 42, sum.checksum());
            Some(length)
        }
        _ => None,
    }
}

fn is_single_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_unspecified() || v4.is_broadcast() || v4.is_multicast() || v4.is_loopback())
        }
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_multicast() || v6.is_loopback()),
    }
}

fn is_icmp_error(packet: &[u8], header: &ip::IpHeader) -> bool {
    let kind = packet.get(header.transport).copied();
    match header.protocol {
        // everything that is no query or answer counts as an error
        ICMP => !matches!(kind, Some(0 | 8 | 13 | 14)),
        ICMPV6 => kind.is_none_or(|kind| kind < 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::{self, Recipe};
    use super::super::ip::UDP;
    use super::*;

    #[test]
    fn a_large_packet_is_answered_with_its_own_start() {
        for (packet, mtu_at, quote_at, total) in [
            (build::udp4(&[1; 1300]), 26, 28, 576),
            (build::udp6(&[1; 1300]), 46, 48, 1280),
        ] {
            let mut out = [0xaa; MAX_ANSWER_LEN];
            let length = too_big(&packet, 1200, None, &mut out).unwrap();
            assert_eq!(length, total);
            let answer = ip::parse(&out[..length]).unwrap();
            assert_eq!(
                (answer.source, answer.destination),
                (ip::destination(&packet).unwrap(), ip::source(&packet).unwrap())
            );
            assert_eq!(ip::read_u16(&out, mtu_at), 1200);
            assert_eq!(out[quote_at..length], packet[..length - quote_at]);
            let sum = if quote_at == 28 {
                Sum::of(&out[20..length])
            } else {
                pseudo_header(&out[8..40], ICMPV6, (length - 40) as u16).with(&out[40..length])
            };
            assert_eq!(sum.checksum(), 0);
            assert_eq!(
                too_big(&out[..length], 1200, None, &mut [0; 1280]),
                None,
                "no error about an error"
            );
        }
    }

    #[test]
    fn what_may_be_fragmented_or_fits_no_buffer_is_not_answered() {
        let packet = Recipe {
            dont_fragment: false,
            ..Recipe::v4(UDP, &[0; 1300])
        }
        .build();
        assert_eq!(too_big(&packet, 1200, None, &mut [0; 1280]), None);
        let packet = build::udp4(&[0; 1300]);
        assert_eq!(too_big(&packet, 1200, None, &mut [0; 575]), None);
        let multicast = std::net::Ipv4Addr::new(239, 1, 2, 3).into();
        let packet = Recipe {
            destination: multicast,
            ..Recipe::v4(UDP, &[0; 1300])
        }
        .build();
        assert_eq!(too_big(&packet, 1200, None, &mut [0; 1280]), None);
    }
}
