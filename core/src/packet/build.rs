//! Packets for tests, put together the slow and obvious way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::{Sum, pseudo_header};
use super::ip::{TCP, UDP};
use super::{GsoKind, Offload, ip};

/// Everything that tests vary in a TCP or UDP packet.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub ports: (u16, u16),
    pub traffic_class: u8,
    pub hop_limit: u8,
    pub id: u16,
    pub dont_fragment: bool,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// TCP options, padded to a multiple of four.
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Recipe {
    pub fn v4(protocol: u8, payload: &[u8]) -> Recipe {
        Recipe {
            source: Ipv4Addr::new(10, 77, 0, 1).into(),
            destination: Ipv4Addr::new(10, 77, 0, 2).into(),
            protocol,
            ports: (1000, 2000),
            traffic_class: 0,
            hop_limit: 64,
            id: 1,
            dont_fragment: true,
            seq: 1,
            ack: 1,
            flags: 0x10,
            options: Vec::new(),
            payload: payload.to_vec(),
        }
    }

    pub fn v6(protocol: u8, payload: &[u8]) -> Recipe {
        Recipe {
            source: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into(),
            destination: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).into(),
            ..Recipe::v4(protocol, payload)
        }
    }

    pub fn transport_len(&self) -> usize {
        if self.protocol == TCP {
            20 + self.options.len()
        } else {
            8
        }
    }

    /// The whole packet with right checksums.
    pub fn build(&self) -> Vec<u8> {
        let transport = self.transport();
        let mut packet = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = vec![0x45, self.traffic_class];
                header.extend((20 + transport.len() as u16).to_be_bytes());
                header.extend(self.id.to_be_bytes());
                header.extend([
                    if self.dont_fragment { 0x40 } else { 0 },
                    0,
                    self.hop_limit,
                    self.protocol,
                    0,
                    0,
                ]);
                header.extend(source.octets());
                header.extend(destination.octets());
                let checksum = Sum::of(&header).checksum();
                ip::write_u16(&mut header, 10, checksum);
                header
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut header = vec![0x60 | self.traffic_class >> 4, self.traffic_class << 4, 0, 0];
                header.extend((transport.len() as u16).to_be_bytes());
                header.extend([self.protocol, self.hop_limit]);
                header.extend(source.octets());
                header.extend(destination.octets());
                header
            }
            _ => unreachable!("one family"),
        };
        packet.extend(transport);
        packet
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.ports.0.to_be_bytes());
        bytes.extend(self.ports.1.to_be_bytes());
        let field = if self.protocol == TCP {
            bytes.extend(self.seq.to_be_bytes());
            bytes.extend(self.ack.to_be_bytes());
            bytes.extend([
                (self.transport_len() as u8 / 4) << 4,
                self.flags,
                0x20,
                0,
                0,
                0,
                0,
                0,
            ]);
            bytes.extend(&self.options);
            16
        } else {
            bytes.extend((8 + self.payload.len() as u16).to_be_bytes());
            bytes.extend([0, 0]);
            6
        };
        bytes.extend(&self.payload);
        let addresses = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => [source.octets(), destination.octets()].concat(),
            (IpAddr::V6(source), IpAddr::V6(destination)) => [source.octets(), destination.octets()].concat(),
            _ => unreachable!("one family"),
        };
        let sum = pseudo_header(&addresses, self.protocol, bytes.len() as u16).with(&bytes);
        let checksum = if sum.checksum() == 0 {
            0xffff
        } else {
            sum.checksum()
        };
        ip::write_u16(&mut bytes, field, checksum);
        bytes
    }
}

pub fn udp4(payload: &[u8]) -> Vec<u8> {
    Recipe::v4(UDP, payload).build()
}

pub fn udp6(payload: &[u8]) -> Vec<u8> {
    Recipe::v6(UDP, payload).build()
}

pub fn tcp4(seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    Recipe {
        seq,
        ack,
        flags,
        ..Recipe::v4(TCP, payload)
    }
    .build()
}

/// The packet as the kernel hands it over: only the pseudo header's sum in the checksum field.
pub fn with_partial_checksum(packet: &[u8]) -> (Vec<u8>, Offload) {
    let header = ip::parse(packet).unwrap();
    let (start, field) = (header.transport, if header.protocol == TCP { 16 } else { 6 });
    let addresses = if packet[0] >> 4 == 4 {
        &packet[12..20]
    } else {
        &packet[8..40]
    };
    let sum = pseudo_header(addresses, header.protocol, (packet.len() - start) as u16).fold();
    let mut partial = packet.to_vec();
    ip::write_u16(&mut partial, start + field, sum);
    let offload = Offload {
        kind: GsoKind::None,
        needs_checksum: true,
        checksum_start: start as u16,
        checksum_offset: field as u16,
        ..Offload::default()
    };
    (partial, offload)
}

/// A super-packet of `recipe` as the kernel hands it over, to be cut every `gso_size` bytes.
pub fn super_packet(recipe: &Recipe, gso_size: u16) -> (Vec<u8>, Offload) {
    let (packet, offload) = with_partial_checksum(&recipe.build());
    let kind = match (recipe.protocol, recipe.source) {
        (TCP, IpAddr::V4(_)) => GsoKind::Tcp4,
        (TCP, IpAddr::V6(_)) => GsoKind::Tcp6,
        _ => GsoKind::Udp,
    };
    let header_len = offload.checksum_start + recipe.transport_len() as u16;
    (
        packet,
        Offload {
            kind,
            gso_size,
            header_len,
            ..offload
        },
    )
}
