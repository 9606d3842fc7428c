//! What a virtio-net header says of a packet, as a plain struct; the I/O crate has the bytes.

use super::checksum::Sum;
use super::{DropReason, ip};

/// How a super-packet is to be cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GsoKind {
    /// Not at all: one packet.
    #[default]
    None,
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over either (USO).
    Udp,
}

/// The offloads that the kernel left to do, or that we leave to it (virtio 1.2 section 5.1.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// How it is to be cut.
    pub kind: GsoKind,
    /// The checksum field holds the pseudo header's sum only.
    pub needs_checksum: bool,
    /// Bytes of all headers; on packets from the kernel a hint that nothing relies on.
    pub header_len: u16,
    /// Payload bytes in each segment but the last.
    pub gso_size: u16,
    /// Where summing starts: the offset of the transport header.
    pub checksum_start: u16,
    /// Offset of the checksum field, from `checksum_start`.
    pub checksum_offset: u16,
}

/// Completes a partial checksum in place, for a packet that is not cut. Does nothing where none is wanted.
///
/// # Errors
/// [`DropReason::Malformed`] where the field lies outside the packet.
pub fn complete_checksum(packet: &mut [u8], offload: &Offload) -> Result<(), DropReason> {
    if !offload.needs_checksum {
        return Ok(());
    }
    let start = usize::from(offload.checksum_start);
    let field = start + usize::from(offload.checksum_offset);
    if packet.len() < field + 2 {
        return Err(DropReason::Malformed);
    }
    // the field holds the pseudo header's folded sum and is summed with the rest
    let checksum = match Sum::of(&packet[start..]).checksum() {
        0 => 0xffff,
        checksum => checksum,
    };
    ip::write_u16(packet, field, checksum);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::build;
    use super::*;

    #[test]
    fn a_partial_checksum_becomes_the_right_one() {
        for whole in [
            build::udp4(b"some payload"),
            build::udp6(b"odd"),
            build::tcp4(7, 9, 0x18, b"data"),
        ] {
            let (mut packet, offload) = build::with_partial_checksum(&whole);
            assert_ne!(packet, whole);
            complete_checksum(&mut packet, &offload).unwrap();
            assert_eq!(packet, whole);
        }
    }

    #[test]
    fn a_field_outside_the_packet_is_refused() {
        let offload = Offload {
            needs_checksum: true,
            checksum_start: 20,
            checksum_offset: 16,
            ..Offload::default()
        };
        assert_eq!(
            complete_checksum(&mut [0x45; 37], &offload),
            Err(DropReason::Malformed)
        );
        assert_eq!(complete_checksum(&mut [0x45; 38], &offload), Ok(()));
    }
}
