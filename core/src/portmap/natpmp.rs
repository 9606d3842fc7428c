//! NAT-PMP (RFC 6886 section 3): the outside address, and a UDP mapping.

use std::net::Ipv4Addr;

/// What a server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its outside address.
    Address(Ipv4Addr),
    /// A mapping of `own` to the outside port, for so many seconds.
    Mapped {
        /// The port inside.
        own: u16,
        /// The port outside.
        port: u16,
        /// For how long, in s.
        lifetime: u32,
    },
    /// No, with this result code.
    Refused(u16),
}

/// Asks for the outside address.
pub const ADDRESS_REQUEST: [u8; 2] = [0, 0];

/// Asks for a UDP mapping of the port `own`, wishing for `wanted` outside, for `lifetime` seconds; 0 of both ends it.
pub fn map_request(own: u16, wanted: u16, lifetime: u32) -> [u8; 12] {
    let mut out = [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    out[4..6].copy_from_slice(&own.to_be_bytes());
    out[6..8].copy_from_slice(&wanted.to_be_bytes());
    out[8..12].copy_from_slice(&lifetime.to_be_bytes());
    out
}

/// An answer; none where it is something else.
pub fn parse(bytes: &[u8]) -> Option<Answer> {
    let u16_at = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let (version, opcode, result) = (*bytes.first()?, *bytes.get(1)?, u16_at(2)?);
    if version != 0 || !matches!(opcode, 128 | 129) || bytes.len() < 8 {
        return None;
    }
    if result != 0 {
        return Some(Answer::Refused(result));
    }
    if opcode == 128 {
        let address: [u8; 4] = bytes.get(8..12)?.try_into().ok()?;
        return Some(Answer::Address(address.into()));
    }
    Some(Answer::Mapped {
        own: u16_at(8)?,
        port: u16_at(10)?,
        lifetime: u32::from_be_bytes(bytes.get(12..16)?.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_are_as_the_rfc_draws_them() {
        let request = map_request(51820, 51821, 3600);
        assert_eq!(request, [0, 1, 0, 0, 0xca, 0x6c, 0xca, 0x6d, 0, 0, 0x0e, 0x10]);
        let address = [0, 128, 0, 0, 0, 0, 0, 9, 198, 51, 100, 7];
        assert_eq!(parse(&address), Some(Answer::Address([198, 51, 100, 7].into())));
        let mapped = [0, 129, 0, 0, 0, 0, 0, 9, 0xca, 0x6c, 0xca, 0x6d, 0, 0, 0, 60];
        let wanted = Answer::Mapped {
            own: 51820,
            port: 51821,
            lifetime: 60,
        };
        assert_eq!(parse(&mapped), Some(wanted));
        assert_eq!(
            parse(&[0, 129, 0, 2, 0, 0, 0, 9]),
            Some(Answer::Refused(2)),
            "refusals may be short"
        );
        for bytes in [&address[..], &mapped] {
            for len in 0..bytes.len() {
                assert_eq!(parse(&bytes[..len]), None, "{len} bytes");
            }
        }
        assert_eq!(parse(&[2, 129, 0, 0, 0, 0, 0, 9]), None, "another version");
    }
}
