//! The virtio-net header that precedes each packet on a TUN queue with IFF_VNET_HDR (virtio 1.2, section 5.1.6;
//! `struct virtio_net_hdr` of linux/virtio_net.h). Here it is always little endian and 10 bytes long.

/// What the kernel left undone about a packet it hands out, or may leave undone about one it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// Bits: [`Self::NEEDS_CSUM`], [`Self::DATA_VALID`].
    pub flags: u8,
    /// One of the `GSO_*` numbers, maybe with [`Self::GSO_ECN`].
    pub gso_type: u8,
    /// Bytes of IP and transport header before the payload; a hint where the kernel writes it.
    pub hdr_len: u16,
    /// Payload bytes of each segment; 0 without GSO.
    pub gso_size: u16,
    /// With NEEDS_CSUM: offset from which the checksum is computed.
    pub csum_start: u16,
    /// With NEEDS_CSUM: offset from `csum_start` at which the checksum is stored; a partial one of the pseudo header is there.
    pub csum_offset: u16,
}

impl VnetHeader {
    /// Bytes before each packet.
    pub const LEN: usize = 10;
    /// The checksum at `csum_start + csum_offset` is to be completed.
    pub const NEEDS_CSUM: u8 = 1;
    /// The checksum is known to be right.
    pub const DATA_VALID: u8 = 2;
    /// One packet.
    pub const GSO_NONE: u8 = 0;
    /// TCP over IPv4 in segments of `gso_size`.
    pub const GSO_TCPV4: u8 = 1;
    /// TCP over IPv6 in segments of `gso_size`.
    pub const GSO_TCPV6: u8 = 4;
    /// UDP datagrams (either IP version) of `gso_size`; Linux 6.2.
    pub const GSO_UDP_L4: u8 = 5;
    /// Bit: the TCP packet has CWR set, to be kept on the first segment only.
    pub const GSO_ECN: u8 = 0x80;

    /// The header of an ordinary packet with whole checksums.
    pub const PLAIN: Self = Self {
        flags: 0,
        gso_type: 0,
        hdr_len: 0,
        gso_size: 0,
        csum_start: 0,
        csum_offset: 0,
    };

    /// Whether the packet is one packet with whole checksums, so that a queue without IFF_VNET_HDR can take it too.
    pub fn is_plain(&self) -> bool {
        self.gso_type == Self::GSO_NONE && self.flags & Self::NEEDS_CSUM == 0
    }

    pub(super) fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0] = self.flags;
        bytes[1] = self.gso_type;
        let fields = [self.hdr_len, self.gso_size, self.csum_start, self.csum_offset];
        for (to, field) in bytes[2..].chunks_exact_mut(2).zip(fields) {
            to.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8; Self::LEN]) -> Self {
        let field = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Self {
            flags: bytes[0],
            gso_type: bytes[1],
            hdr_len: field(2),
            gso_size: field(4),
            csum_start: field(6),
            csum_offset: field(8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_has_the_layout_of_the_specification() {
        let header = VnetHeader {
            flags: VnetHeader::NEEDS_CSUM,
            gso_type: VnetHeader::GSO_TCPV4,
            hdr_len: 40,
            gso_size: 1368,
            csum_start: 20,
            csum_offset: 16,
        };
        let bytes = header.encode();
        assert_eq!(bytes, [1, 1, 40, 0, 0x58, 0x05, 20, 0, 16, 0]);
        assert_eq!(VnetHeader::decode(&bytes), header);
        assert!(!header.is_plain());
        assert!(
            VnetHeader {
                flags: VnetHeader::DATA_VALID,
                ..VnetHeader::PLAIN
            }
            .is_plain()
        );
    }
}
