//! State files under a MAC of the node's own key: what was cut, garbled, swapped or written by a newer release is told
//! apart and never read as if it were good.
//!
//! | bytes | field |
//! |---|---|
//! | 8 | `meshdsf` and 0 |
//! | 4 | version, little endian, 1 |
//! | 8 | length of the payload, little endian |
//! | 16 | key hint: keyed BLAKE2s-128 of `meshd sealed hint v1`; tells a wrong key from a garbled file |
//! | 4 | BLAKE2s-256 of `meshd sealed head v1` and the 36 bytes before, first 4 bytes |
//! | n | payload |
//! | 32 | keyed BLAKE2s-256 of all bytes before |
//!
//! The payload is authenticated and not encrypted: the file's mode keeps it private.

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::keys::{blake2s, blake2s_128_keyed, blake2s_keyed};

const MAGIC: [u8; 8] = *b"meshdsf\0";
const VERSION: u32 = 1;
/// Bytes before the payload.
pub const HEAD: usize = 8 + 4 + 8 + 16 + 4;
const MAC: usize = 32;

/// The node's own key for its state files.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SealKey([u8; 32]);

/// Why a state file is not read. The caller adds its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// Shorter than it says.
    #[error("is truncated: {found} of {expected} bytes are there; restore it from a backup or remove it")]
    Truncated {
        /// Bytes there.
        found: u64,
        /// Bytes that should be there.
        expected: u64,
    },
    /// Not what was written.
    #[error("is garbled: its contents are not what was written; restore it from a backup or remove it")]
    Garbled,
    /// Of a later format.
    #[error("is of format {0}, and this release reads format 1; start the newer release, which wrote it")]
    NewerVersion(u32),
    /// Whole, but of another node.
    #[error(
        "is sealed with another key: it belongs to another node or state directory; put the right file back"
    )]
    WrongKey,
}

impl SealKey {
    /// From 32 random bytes that the node keeps.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, to be stored.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn hint(&self) -> [u8; 16] {
        blake2s_128_keyed(&self.0, &[b"meshd sealed hint v1"])
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(redacted)")
    }
}

/// The file that holds `payload`.
pub fn seal(key: &SealKey, payload: &[u8]) -> Vec<u8> {
    let mut file = Vec::with_capacity(HEAD + payload.len() + MAC);
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&VERSION.to_le_bytes());
    file.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    file.extend_from_slice(&key.hint());
    let sum = head_sum(&file);
    file.extend_from_slice(&sum);
    file.extend_from_slice(payload);
    let mac = blake2s_keyed(&key.0, &[&file]);
    file.extend_from_slice(&mac);
    file
}

/// The format of a file that a later release wrote, by its first [`HEAD`] bytes; none where it is of this format, or no such file.
pub fn newer_version(head: &[u8]) -> Option<u32> {
    match open(&SealKey::from_bytes([0; 32]), head) {
        Err(SealedError::NewerVersion(version)) => Some(version),
        _ => None,
    }
}

/// The payload of a file, where it is whole and this key's.
///
/// # Errors
/// One for each way in which it is not.
pub fn open<'a>(key: &SealKey, file: &'a [u8]) -> Result<&'a [u8], SealedError> {
    let truncated = |expected| SealedError::Truncated {
        found: file.len() as u64,
        expected,
    };
    let known = file.len().min(MAGIC.len());
    if file[..known] != MAGIC[..known] {
        return Err(SealedError::Garbled);
    }
    let (head, rest) = file
        .split_at_checked(HEAD)
        .ok_or(truncated((HEAD + MAC) as u64))?;
    let (fields, sum) = head.split_at(HEAD - 4);
    if head_sum(fields) != sum {
        return Err(SealedError::Garbled);
    }
    let version = u32::from_le_bytes([fields[8], fields[9], fields[10], fields[11]]);
    match version {
        VERSION => {}
        0 => return Err(SealedError::Garbled),
        newer => return Err(SealedError::NewerVersion(newer)),
    }
    let mut length = [0; 8];
    length.copy_from_slice(&fields[12..20]);
    let expected = u64::from_le_bytes(length).saturating_add((HEAD + MAC) as u64);
    match (file.len() as u64).cmp(&expected) {
        std::cmp::Ordering::Less => return Err(truncated(expected)),
        std::cmp::Ordering::Greater => return Err(SealedError::Garbled),
        std::cmp::Ordering::Equal => {}
    }
    if fields[20..] != key.hint() {
        return Err(SealedError::WrongKey);
    }
    let (payload, mac) = rest.split_at(rest.len() - MAC);
    let right = blake2s_keyed(&key.0, &[&file[..file.len() - MAC]]);
    if bool::from(right.ct_eq(mac)) {
        Ok(payload)
    } else {
        Err(SealedError::Garbled)
    }
}

fn head_sum(fields: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = blake2s(&[b"meshd sealed head v1", fields]);
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: SealKey = SealKey::from_bytes([1; 32]);

    #[test]
    fn each_harm_has_its_own_sentence() {
        let file = seal(&KEY, b"a network map");
        assert_eq!(open(&KEY, &file).unwrap(), b"a network map");
        for length in 0..file.len() {
            let error = open(&KEY, &file[..length]).unwrap_err();
            assert!(
                matches!(error, SealedError::Truncated { .. }),
                "{length}: {error}"
            );
        }
        let longer = [&file[..], b"x"].concat();
        assert_eq!(open(&KEY, &longer).unwrap_err(), SealedError::Garbled);
        assert_eq!(
            open(&SealKey::from_bytes([2; 32]), &file).unwrap_err(),
            SealedError::WrongKey
        );
        assert_eq!(open(&KEY, b"{\"json\":1}").unwrap_err(), SealedError::Garbled);
        assert_eq!(open(&KEY, &[0; 4096]).unwrap_err(), SealedError::Garbled);
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut file = seal(&KEY, b"");
        file[8] = 2;
        let sum = head_sum(&file[..HEAD - 4]);
        file[HEAD - 4..HEAD].copy_from_slice(&sum);
        assert_eq!(open(&KEY, &file).unwrap_err(), SealedError::NewerVersion(2));
    }

    #[test]
    fn every_bit_flip_is_refused() {
        let file = seal(&KEY, b"a network map");
        for bit in 0..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                open(&KEY, &flipped).unwrap_err(),
                SealedError::Garbled,
                "bit {bit}"
            );
        }
    }

    proptest! {
        #[test]
        fn round_trip(key: [u8; 32], payload in prop::collection::vec(any::<u8>(), 0..2000)) {
            let key = SealKey::from_bytes(key);
            let file = seal(&key, &payload);
            prop_assert_eq!(open(&key, &file).unwrap(), &payload[..]);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(open(&KEY, &bytes).is_err());
        }
    }
}
