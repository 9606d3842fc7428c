//! What a datagram on the node's UDP port is, by its first bytes (docs/wire.md section 5, whose order is normative).
//!
//! Nothing here is believed: a class only says which parser, and which queue, a datagram goes to.

use crate::packet::DropReason;

/// Message type of a relay frame: the first u32 (little endian) of the datagram.
pub const RELAY_FRAME: u32 = 5;
/// Length in bytes of a relay frame's header: `[u32 5][u64 session id]`.
pub const RELAY_HEADER_LEN: usize = 12;
/// The session id of control messages between a node and its relay.
pub const RELAY_CONTROL_SESSION: u64 = 0;
/// First four bytes of a discovery packet: "msh" and version 1.
pub const DISCOVERY_MAGIC: [u8; 4] = *b"msh\x01";
/// First four bytes of a LAN beacon: "msb" and version 1.
pub const BEACON_MAGIC: [u8; 4] = *b"msb\x01";
/// The magic cookie of a STUN message at bytes 4..8 (RFC 8489 section 5).
pub const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// The class of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// WireGuard message 1.
    HandshakeInitiation,
    /// WireGuard message 2.
    HandshakeResponse,
    /// WireGuard message 3.
    CookieReply,
    /// WireGuard message 4: the only class that the packet threads handle themselves.
    Data,
    /// A relay frame, data or control.
    Relay,
    /// A STUN message.
    Stun,
    /// A sealed discovery packet.
    Discovery,
    /// A LAN beacon.
    Beacon,
    /// Anything else: dropped and counted.
    Unknown,
}

/// Classifies a datagram; total, reads at most its first 8 bytes.
#[inline]
pub fn classify(datagram: &[u8]) -> Class {
    let Some((first, rest)) = datagram.split_first_chunk::<4>() else {
        return Class::Unknown;
    };
    match u32::from_le_bytes(*first) {
        4 => return Class::Data,
        1 => return Class::HandshakeInitiation,
        2 => return Class::HandshakeResponse,
        3 => return Class::CookieReply,
        RELAY_FRAME => return Class::Relay,
        _ => {}
    }
    if first[0] & 0xc0 == 0 && rest.starts_with(&STUN_COOKIE) {
        return Class::Stun;
    }
    match *first {
        DISCOVERY_MAGIC => Class::Discovery,
        BEACON_MAGIC => Class::Beacon,
        _ => Class::Unknown,
    }
}

/// Splits a relay frame into its session id and payload.
///
/// # Errors
/// [`DropReason::UnknownDatagram`] where it is shorter than its header or of another class.
#[inline]
pub fn split_relay(datagram: &[u8]) -> Result<(u64, &[u8]), DropReason> {
    let (kind, rest) = datagram
        .split_first_chunk::<4>()
        .ok_or(DropReason::UnknownDatagram)?;
    let (session, payload) = rest.split_first_chunk::<8>().ok_or(DropReason::UnknownDatagram)?;
    if u32::from_le_bytes(*kind) != RELAY_FRAME {
        return Err(DropReason::UnknownDatagram);
    }
    Ok((u64::from_le_bytes(*session), payload))
}

/// The header of a relay frame with this session id.
#[inline]
pub fn relay_header(session: u64) -> [u8; RELAY_HEADER_LEN] {
    let mut header = [0; RELAY_HEADER_LEN];
    header[..4].copy_from_slice(&RELAY_FRAME.to_le_bytes());
    header[4..].copy_from_slice(&session.to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_told_by_its_first_bytes() {
        let stun = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 9];
        for (bytes, class) in [
            (&[1u8, 0, 0, 0][..], Class::HandshakeInitiation),
            (&[2, 0, 0, 0, 7], Class::HandshakeResponse),
            (&[3, 0, 0, 0], Class::CookieReply),
            (&[4, 0, 0, 0], Class::Data),
            (&[5, 0, 0, 0], Class::Relay),
            (&stun, Class::Stun),
            (b"msh\x01rest", Class::Discovery),
            (b"msb\x01rest", Class::Beacon),
            (b"msh\x02rest", Class::Unknown),
            (&[4, 0, 0, 1], Class::Unknown),
            (&[4, 0, 0], Class::Unknown),
            (&[], Class::Unknown),
        ] {
            assert_eq!(classify(bytes), class, "{bytes:?}");
        }
    }

    #[test]
    fn wireguard_goes_before_stun_where_both_fit() {
        let both = [1, 0, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        assert_eq!(classify(&both), Class::HandshakeInitiation);
    }

    #[test]
    fn a_relay_frame_splits_into_what_it_was_made_of() {
        let mut frame = relay_header(0x0102_0304_0506_0708).to_vec();
        frame.extend_from_slice(b"payload");
        assert_eq!(split_relay(&frame), Ok((0x0102_0304_0506_0708, &b"payload"[..])));
        assert_eq!(split_relay(&frame[..11]), Err(DropReason::UnknownDatagram));
        assert_eq!(split_relay(&[4; 20]), Err(DropReason::UnknownDatagram));
    }
}
