//! HAProxy's PROXY protocol (its specification, proxy-protocol.txt of 2020, sections 2.1 and 2.2): the header by which a target is told
//! who the client is, and which address it reached.

use std::net::{IpAddr, SocketAddr};

use crate::statement::{Protocol, ProxyVersion};

/// What a version 2 header begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command LOCAL.
const LOCAL: u8 = 0x20;
/// Version 2, command PROXY.
const PROXY: u8 = 0x21;

/// The header for what a client sends: of version 1 for the beginning of a TCP stream, of version 2 for that, or for each datagram.
/// `reached` is the public address that the client used.
pub fn proxy_header(
    version: ProxyVersion,
    protocol: Protocol,
    client: SocketAddr,
    reached: SocketAddr,
) -> Vec<u8> {
    let addresses = (client.ip().to_canonical(), reached.ip().to_canonical());
    match version {
        ProxyVersion::V1 => line(addresses, client.port(), reached.port()).into_bytes(),
        ProxyVersion::V2 => binary(protocol, addresses, client.port(), reached.port()),
    }
}

/// The header of a connection that is nobody's: a probe.
pub fn proxy_local(version: ProxyVersion) -> Vec<u8> {
    match version {
        ProxyVersion::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
        ProxyVersion::V2 => [&SIGNATURE[..], &[LOCAL, 0, 0, 0]].concat(),
    }
}

fn line(addresses: (IpAddr, IpAddr), from: u16, to: u16) -> String {
    let family = match addresses {
        (IpAddr::V4(_), IpAddr::V4(_)) => "TCP4",
        (IpAddr::V6(_), IpAddr::V6(_)) => "TCP6",
        // no socket has both
        _ => return "PROXY UNKNOWN\r\n".into(),
    };
    format!("PROXY {family} {} {} {from} {to}\r\n", addresses.0, addresses.1)
}

fn binary(protocol: Protocol, addresses: (IpAddr, IpAddr), from: u16, to: u16) -> Vec<u8> {
    let transport = match protocol {
        Protocol::Tcp => 1,
        Protocol::Udp => 2,
    };
    let (family, octets) = match addresses {
        (IpAddr::V4(client), IpAddr::V4(reached)) => (0x10, [client.octets(), reached.octets()].concat()),
        (IpAddr::V6(client), IpAddr::V6(reached)) => (0x20, [client.octets(), reached.octets()].concat()),
        _ => return [&SIGNATURE[..], &[PROXY, 0, 0, 0]].concat(),
    };
    let length = (octets.len() as u16 + 4).to_be_bytes();
    let ports = [from.to_be_bytes(), to.to_be_bytes()].concat();
    [
        &SIGNATURE[..],
        &[PROXY, family | transport],
        &length,
        &octets,
        &ports,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: ProxyVersion, protocol: Protocol, client: &str, reached: &str) -> Vec<u8> {
        proxy_header(
            version,
            protocol,
            client.parse().unwrap(),
            reached.parse().unwrap(),
        )
    }

    #[test]
    fn version_1_is_a_line() {
        let line = |client, reached| {
            String::from_utf8(header(ProxyVersion::V1, Protocol::Tcp, client, reached)).unwrap()
        };
        assert_eq!(
            line("198.51.100.7:56324", "203.0.113.1:443"),
            "PROXY TCP4 198.51.100.7 203.0.113.1 56324 443\r\n"
        );
        assert_eq!(
            line("[2001:db8::7]:1", "[2001:db8::1]:443"),
            "PROXY TCP6 2001:db8::7 2001:db8::1 1 443\r\n"
        );
        // what an IPv6 socket calls an IPv4 client
        assert_eq!(
            line("[::ffff:198.51.100.7]:9", "[::ffff:203.0.113.1]:443"),
            "PROXY TCP4 198.51.100.7 203.0.113.1 9 443\r\n"
        );
        assert_eq!(line("198.51.100.7:9", "[2001:db8::1]:443"), "PROXY UNKNOWN\r\n");
        let longest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
        assert!(line(longest, longest).len() <= 107, "section 2.1");
    }

    #[test]
    fn version_2_is_bytes() {
        let v4 = header(
            ProxyVersion::V2,
            Protocol::Tcp,
            "198.51.100.7:56324",
            "203.0.113.1:443",
        );
        let wanted = [
            &b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"[..],
            &[0x21, 0x11, 0, 12],
            &[198, 51, 100, 7, 203, 0, 113, 1, 0xdc, 0x04, 0x01, 0xbb],
        ]
        .concat();
        assert_eq!(v4, wanted);
        let v6 = header(
            ProxyVersion::V2,
            Protocol::Udp,
            "[2001:db8::7]:1",
            "[2001:db8::1]:53",
        );
        assert_eq!((v6.len(), &v6[12..16]), (16 + 36, &[0x21, 0x22, 0, 36][..]));
        assert_eq!(v6[48..], [0, 1, 0, 53]);
        let udp = header(
            ProxyVersion::V2,
            Protocol::Udp,
            "198.51.100.7:1",
            "203.0.113.1:53",
        );
        assert_eq!(udp[13], 0x12);
    }

    #[test]
    fn a_probe_says_that_it_is_nobodys() {
        assert_eq!(proxy_local(ProxyVersion::V1), b"PROXY UNKNOWN\r\n");
        assert_eq!(proxy_local(ProxyVersion::V2)[12..], [0x20, 0, 0, 0]);
    }
}
