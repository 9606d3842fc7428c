//! PCP's MAP over UDP (RFC 6887 sections 7 and 11), IPv4 mappings only.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::Grant;

/// The UDP port of PCP and NAT-PMP servers.
pub const SERVER_PORT: u16 = 5351;
const VERSION: u8 = 2;
const MAP: u8 = 1;
const ANSWER: u8 = 0x80;
const UDP: u8 = 17;
/// Header and MAP, either way.
const LEN: usize = 60;

/// What ties answers, renewals and the end of a mapping to who made it.
pub type Nonce = [u8; 12];

/// A request for a mapping.
#[derive(Clone, Copy, Debug)]
pub struct Map {
    /// Of the mapping, the same for all requests about it.
    pub nonce: Nonce,
    /// This machine's address, as the router sees it.
    pub own: SocketAddrV4,
    /// The outside that is wished for.
    pub wanted: SocketAddrV4,
    /// For how long, in s; 0 ends it.
    pub lifetime: u32,
}

impl Map {
    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, MAP, 0, 0];
        out.extend_from_slice(&self.lifetime.to_be_bytes());
        out.extend_from_slice(&self.own.ip().to_ipv6_mapped().octets());
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(&[UDP, 0, 0, 0]);
        out.extend_from_slice(&self.own.port().to_be_bytes());
        out.extend_from_slice(&self.wanted.port().to_be_bytes());
        out.extend_from_slice(&self.wanted.ip().to_ipv6_mapped().octets());
        out
    }
}

/// What a server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The mapping.
    Granted(Grant),
    /// It speaks NAT-PMP only.
    OtherVersion,
    /// No, with this result code (RFC 6887 section 7.4).
    Refused(u8),
}

/// The answer to `asked`; none where it is something else.
pub fn parse(bytes: &[u8], asked: &Map) -> Option<Answer> {
    let (&version, &opcode, &code) = (bytes.first()?, bytes.get(1)?, bytes.get(3)?);
    if version != VERSION {
        // a NAT-PMP server says in its own version that it does not know ours (RFC 6886 section 9)
        return (version == 0 && opcode & ANSWER != 0 && code == 1).then_some(Answer::OtherVersion);
    }
    if opcode != ANSWER | MAP || bytes.len() < LEN {
        return None;
    }
    let of_ours = bytes[24..36] == asked.nonce && bytes[36] == UDP;
    if !of_ours || bytes[40..42] != asked.own.port().to_be_bytes() {
        return None;
    }
    if code != 0 {
        return Some(Answer::Refused(code));
    }
    let port = u16::from_be_bytes([bytes[42], bytes[43]]);
    let address: [u8; 16] = bytes[44..60].try_into().ok()?;
    let address: Ipv4Addr = std::net::Ipv6Addr::from(address).to_ipv4_mapped()?;
    let lifetime = u32::from_be_bytes(bytes[4..8].try_into().ok()?);
    Grant::new(address, port, lifetime).map(Answer::Granted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Map {
        Map {
            nonce: [7; 12],
            own: "192.168.1.9:51820".parse().unwrap(),
            wanted: "0.0.0.0:51820".parse().unwrap(),
            lifetime: 3600,
        }
    }

    /// The request turned into an answer, as RFC 6887 figures 3 and 10 have it.
    fn granted() -> Vec<u8> {
        let mut bytes = asked().encode();
        bytes[1] |= 0x80;
        bytes[4..8].copy_from_slice(&120u32.to_be_bytes());
        bytes[8..24].fill(0);
        bytes[44..60].copy_from_slice(&Ipv4Addr::new(198, 51, 100, 7).to_ipv6_mapped().octets());
        bytes
    }

    #[test]
    fn a_request_is_as_the_rfc_draws_it_and_its_answer_is_read() {
        let request = asked().encode();
        assert_eq!(request.len(), 60);
        assert_eq!(request[..8], [2, 1, 0, 0, 0, 0, 0x0e, 0x10]);
        assert_eq!(request[18..24], [0xff, 0xff, 192, 168, 1, 9]);
        let grant = Grant {
            external: "198.51.100.7:51820".parse().unwrap(),
            lifetime: 120,
        };
        assert_eq!(parse(&granted(), &asked()), Some(Answer::Granted(grant)));
    }

    #[test]
    fn what_is_no_answer_to_ours_counts_for_nothing() {
        for (at, value) in [(24, 8), (36, 6), (41, 0), (1, 1), (0, 3)] {
            let mut bytes = granted();
            bytes[at] = value;
            assert_eq!(parse(&bytes, &asked()), None, "byte {at}");
        }
        for len in 0..60 {
            assert_eq!(parse(&granted()[..len], &asked()), None, "{len} bytes");
        }
        let mut bytes = granted();
        bytes[3] = 2;
        assert_eq!(parse(&bytes, &asked()), Some(Answer::Refused(2)));
        assert_eq!(
            parse(&[0, 0x81, 0, 1, 0, 0, 0, 0], &asked()),
            Some(Answer::OtherVersion)
        );
    }
}
