//! TCP and UDP packets as their fields, read from bytes and written to bytes.

/// A number of the Assigned Internet Protocol Numbers.
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;
pub const ECE: u8 = 0x40;
pub const CWR: u8 = 0x80;

/// The IP header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ip {
    /// RFC 791 section 3.1.
    V4 {
        tos: u8,
        id: u16,
        flags_and_offset: u16,
        ttl: u8,
        source: [u8; 4],
        destination: [u8; 4],
        options: Vec<u8>,
    },
    /// RFC 8200 section 3. `extensions` are the extension headers, each with its number; the number of what follows stands in the
    /// first byte of each header (in `first_four` and `hop_limit` for the fixed one).
    V6 {
        first_four: [u8; 4],
        hop_limit: u8,
        source: [u8; 16],
        destination: [u8; 16],
        extensions: Vec<(u8, Vec<u8>)>,
    },
}

/// The transport header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// RFC 9293 section 3.1. `offset_and_reserved` is the byte with the data offset.
    Tcp {
        seq: u32,
        ack: u32,
        offset_and_reserved: u8,
        flags: u8,
        window: u16,
        urgent: u16,
        options: Vec<u8>,
    },
    /// RFC 768.
    Udp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub ip: Ip,
    pub ports: [u8; 4],
    pub transport: Transport,
    pub payload: Vec<u8>,
}

/// The internet checksum (RFC 1071): the complement of the one's complement sum of all 16-bit words.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    !(sum as u16)
}

impl Packet {
    pub fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp { .. } => TCP,
            Transport::Udp => UDP,
        }
    }

    /// Source and destination address, one after the other.
    pub fn addresses(&self) -> Vec<u8> {
        match &self.ip {
            Ip::V4 {
                source, destination, ..
            } => [&source[..], destination].concat(),
            Ip::V6 {
                source, destination, ..
            } => [&source[..], destination].concat(),
        }
    }

    /// The pseudo header (RFC 9293 section 3.1 figure 2, RFC 768; RFC 8200 section 8.1) before `length` bytes of transport.
    pub fn pseudo_header(&self, length: usize) -> Vec<u8> {
        let mut bytes = self.addresses();
        match self.ip {
            Ip::V4 { .. } => {
                bytes.extend([0, self.protocol()]);
                bytes.extend((length as u16).to_be_bytes());
            }
            Ip::V6 { .. } => {
                bytes.extend((length as u32).to_be_bytes());
                bytes.extend([0, 0, 0, self.protocol()]);
            }
        }
        bytes
    }

    /// Transport header and payload with this number in the checksum field.
    fn transport_with(&self, checksum: u16) -> Vec<u8> {
        let mut bytes = self.ports.to_vec();
        match &self.transport {
            Transport::Tcp {
                seq,
                ack,
                offset_and_reserved,
                flags,
                window,
                urgent,
                options,
            } => {
                bytes.extend(seq.to_be_bytes());
                bytes.extend(ack.to_be_bytes());
                bytes.extend([*offset_and_reserved, *flags]);
                bytes.extend(window.to_be_bytes());
                bytes.extend(checksum.to_be_bytes());
                bytes.extend(urgent.to_be_bytes());
                bytes.extend(options);
            }
            Transport::Udp => {
                bytes.extend((8 + self.payload.len() as u16).to_be_bytes());
                bytes.extend(checksum.to_be_bytes());
            }
        }
        bytes.extend(&self.payload);
        bytes
    }

    /// Length of transport header and payload in bytes.
    pub fn transport_len(&self) -> usize {
        self.transport_with(0).len()
    }

    /// Length of all headers in bytes.
    pub fn header_len(&self) -> usize {
        self.build().len() - self.payload.len()
    }

    /// The packet with right lengths and checksums.
    pub fn build(&self) -> Vec<u8> {
        let plain = self.transport_with(0);
        // RFC 768: a computed zero is sent as all ones; TCP takes either, the kernel writes the same
        let checksum = match checksum(&[self.pseudo_header(plain.len()), plain].concat()) {
            0 => 0xffff,
            checksum => checksum,
        };
        self.with_ip(&self.transport_with(checksum))
    }

    /// As the kernel hands it over: the sum of the pseudo header in the checksum field, not complemented.
    pub fn build_partial(&self) -> Vec<u8> {
        let sum = !checksum(&self.pseudo_header(self.transport_len()));
        self.with_ip(&self.transport_with(sum))
    }

    fn with_ip(&self, transport: &[u8]) -> Vec<u8> {
        match &self.ip {
            Ip::V4 {
                tos,
                id,
                flags_and_offset,
                ttl,
                source,
                destination,
                options,
            } => {
                let length = 20 + options.len();
                let header = |checksum: u16| {
                    let mut bytes = vec![0x40 | (length / 4) as u8, *tos];
                    bytes.extend(((length + transport.len()) as u16).to_be_bytes());
                    bytes.extend(id.to_be_bytes());
                    bytes.extend(flags_and_offset.to_be_bytes());
                    bytes.extend([*ttl, self.protocol()]);
                    bytes.extend(checksum.to_be_bytes());
                    bytes.extend(source);
                    bytes.extend(destination);
                    bytes.extend(options);
                    bytes
                };
                [&header(checksum(&header(0)))[..], transport].concat()
            }
            Ip::V6 {
                first_four,
                hop_limit,
                source,
                destination,
                extensions,
            } => {
                let length: usize = extensions.iter().map(|(_, bytes)| bytes.len()).sum();
                let first = extensions.first().map_or(self.protocol(), |(number, _)| *number);
                let mut bytes = first_four.to_vec();
                bytes.extend(((length + transport.len()) as u16).to_be_bytes());
                bytes.extend([first, *hop_limit]);
                bytes.extend(source);
                bytes.extend(destination);
                for (_, extension) in extensions {
                    bytes.extend(extension);
                }
                bytes.extend(transport);
                bytes
            }
        }
    }

    /// Reads a whole packet without trust. None where a length contradicts another, it is a fragment, or it is neither TCP
    /// nor UDP. Checksums, and UDP's length, are not looked at.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (ip, protocol, rest) = match bytes.first()? >> 4 {
            4 => Self::parse_v4(bytes)?,
            6 => Self::parse_v6(bytes)?,
            _ => return None,
        };
        let ports = rest.get(..4)?.try_into().ok()?;
        let (transport, payload) = match protocol {
            TCP => {
                let header = rest.get(..20)?;
                let length = usize::from(header[12] >> 4) * 4;
                let options = rest.get(20..length)?.to_vec();
                let tcp = Transport::Tcp {
                    seq: u32::from_be_bytes(header[4..8].try_into().ok()?),
                    ack: u32::from_be_bytes(header[8..12].try_into().ok()?),
                    offset_and_reserved: header[12],
                    flags: header[13],
                    window: u16::from_be_bytes([header[14], header[15]]),
                    urgent: u16::from_be_bytes([header[18], header[19]]),
                    options,
                };
                (tcp, &rest[length..])
            }
            UDP => (Transport::Udp, rest.get(8..)?),
            _ => return None,
        };
        Some(Self {
            ip,
            ports,
            transport,
            payload: payload.to_vec(),
        })
    }

    fn parse_v4(bytes: &[u8]) -> Option<(Ip, u8, &[u8])> {
        let header = bytes.get(..20)?;
        let length = usize::from(header[0] & 15) * 4;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let flags_and_offset = u16::from_be_bytes([header[6], header[7]]);
        // more fragments, or not the first
        let fragment = flags_and_offset & 0x3fff != 0;
        if total > bytes.len() || total < length || fragment {
            return None;
        }
        let ip = Ip::V4 {
            tos: header[1],
            id: u16::from_be_bytes([header[4], header[5]]),
            flags_and_offset,
            ttl: header[8],
            source: header[12..16].try_into().ok()?,
            destination: header[16..20].try_into().ok()?,
            options: bytes.get(20..length)?.to_vec(),
        };
        // what lies behind the packet's own length is padding
        Some((ip, header[9], bytes.get(length..total)?))
    }

    fn parse_v6(bytes: &[u8]) -> Option<(Ip, u8, &[u8])> {
        let header = bytes.get(..40)?;
        let total = 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
        let (mut number, mut rest) = (header[6], bytes.get(40..total)?);
        let mut extensions = Vec::new();
        while extensions.len() < 8 {
            // RFC 8200 section 4.2: lengths in units of 8 bytes after the first 8; RFC 4302 section 2.2: of 4, less 2
            let length = match number {
                0 | 43 | 60 | 135 | 139 | 140 => 8 * (1 + usize::from(*rest.get(1)?)),
                51 => 4 * (2 + usize::from(*rest.get(1)?)),
                44 => 8,
                _ => break,
            };
            let extension = rest.get(..length)?;
            // RFC 8200 section 4.5: offset or more fragments; a fragment header without either is an atomic fragment, a whole packet
            if number == 44 && (extension[2] != 0 || extension[3] & 0xf9 != 0) {
                return None;
            }
            extensions.push((number, extension.to_vec()));
            (number, rest) = (extension[0], &rest[length..]);
        }
        let ip = Ip::V6 {
            first_four: header[..4].try_into().ok()?,
            hop_limit: header[7],
            source: header[8..24].try_into().ok()?,
            destination: header[24..40].try_into().ok()?,
            extensions,
        };
        Some((ip, number, rest))
    }
}
