//! The pcap file format (draft-ietf-opsawg-pcap), as far as it is written here: little endian, microseconds, raw IP packets.

use std::fmt;

const MAGIC: u32 = 0xa1b2_c3d4;
const VERSION: [u16; 2] = [2, 4];
/// LINKTYPE_RAW: an IPv4 or IPv6 packet, told by its first four bits.
const RAW: u32 = 101;
/// The largest record in bytes.
pub const SNAP: u32 = 65_575;
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

/// Why bytes are no capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PcapError {
    /// Shorter than a file's header, or with another magic number, version or link type.
    NotRaw,
    /// The file ends inside of a record, which begins at this byte.
    CutShort(usize),
    /// A record at this byte is longer than may be, or was not recorded whole.
    Length(usize),
}

impl fmt::Display for PcapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRaw => f.write_str("not a little-endian pcap file of raw IP packets"),
            Self::CutShort(at) => write!(f, "the file ends inside of the record at byte {at}"),
            Self::Length(at) => write!(f, "the record at byte {at} has an impossible length"),
        }
    }
}

/// The header of a file.
pub fn file_header() -> Vec<u8> {
    let mut bytes = MAGIC.to_le_bytes().to_vec();
    bytes.extend(VERSION.iter().flat_map(|part| part.to_le_bytes()));
    bytes.extend([0; 8]);
    bytes.extend(SNAP.to_le_bytes());
    bytes.extend(RAW.to_le_bytes());
    bytes
}

/// The header of a packet's record; the packet follows it.
pub fn record_header(microseconds: u64, length: usize) -> Vec<u8> {
    let seconds = (microseconds / 1_000_000) as u32;
    let rest = (microseconds % 1_000_000) as u32;
    [seconds, rest, length as u32, length as u32]
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect()
}

/// The packets of a file, in order.
///
/// # Errors
/// Where the bytes are no capture that was written here and ended in order.
pub fn records(file: &[u8]) -> Result<Vec<&[u8]>, PcapError> {
    let known = file_header();
    if file.get(..FILE_HEADER) != Some(known.as_slice()) {
        return Err(PcapError::NotRaw);
    }
    let (mut packets, mut at) = (Vec::new(), FILE_HEADER);
    while at < file.len() {
        let header = file.get(at..at + RECORD_HEADER).ok_or(PcapError::CutShort(at))?;
        let number = |place: usize| {
            u32::from_le_bytes([
                header[place],
                header[place + 1],
                header[place + 2],
                header[place + 3],
            ])
        };
        let (kept, length) = (number(8), number(12));
        if kept != length || length > SNAP || number(4) >= 1_000_000 {
            return Err(PcapError::Length(at));
        }
        let begin = at + RECORD_HEADER;
        let end = begin + length as usize;
        packets.push(file.get(begin..end).ok_or(PcapError::CutShort(at))?);
        at = end;
    }
    Ok(packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(packets: &[&[u8]]) -> Vec<u8> {
        let mut bytes = file_header();
        for (number, packet) in packets.iter().enumerate() {
            bytes.extend(record_header(1_999_999 + number as u64, packet.len()));
            bytes.extend(*packet);
        }
        bytes
    }

    #[test]
    fn what_was_written_is_read() {
        let packets: [&[u8]; 3] = [b"one", b"", b"three"];
        assert_eq!(records(&file(&packets)), Ok(packets.to_vec()));
        assert_eq!(records(&file(&[])), Ok(Vec::new()));
    }

    #[test]
    fn a_file_that_ends_too_early_anywhere_is_an_error() {
        let whole = file(&[b"one", b"two"]);
        let borders = [24, 24 + 19, 24 + 38];
        for end in 0..whole.len() {
            assert_eq!(records(&whole[..end]).is_ok(), borders.contains(&end), "{end}");
        }
    }

    #[test]
    fn lengths_that_lie_and_other_formats_are_errors() {
        let whole = file(&[b"one"]);
        for (at, what) in [
            (0, PcapError::NotRaw),
            (20, PcapError::NotRaw),
            (32, PcapError::Length(24)),
            (31, PcapError::Length(24)),
            (38, PcapError::Length(24)),
        ] {
            let mut bad = whole.clone();
            bad[at] ^= 0x40;
            assert_eq!(records(&bad), Err(what), "byte {at}");
        }
        let mut longer = whole;
        (longer[32], longer[36]) = (4, 4);
        assert_eq!(records(&longer), Err(PcapError::CutShort(24)));
    }
}
