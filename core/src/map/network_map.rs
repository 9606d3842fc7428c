//! The map as bytes: a header, and entries by key.

use std::collections::BTreeMap;
use std::sync::Arc;

use minicbor::{Decoder, Encoder};

use super::{Delta, Entry, EntryKey, MapError};
use crate::keys::blake2s;
use crate::statement::{Digest, MapHeader, Signed};

/// Longest map in bytes.
pub const MAX_MAP: usize = 4 * 1024 * 1024;

/// Entries by key, shared between versions.
pub type Entries = BTreeMap<EntryKey, Arc<Entry>>;

/// A map whose entries are those of its header. Nobody's signature is checked: [`MapHolder`](super::MapHolder) does.
#[derive(Clone, Debug)]
pub struct NetworkMap {
    header: Signed<MapHeader>,
    entries: Entries,
}

/// What a header's digest is over: the keys of the entries, ascending.
pub fn digest<'a>(keys: impl IntoIterator<Item = &'a EntryKey>) -> Digest {
    let mut all = b"meshd map digest v1".to_vec();
    keys.into_iter().for_each(|key| all.extend_from_slice(&key.0));
    Digest(blake2s(&[&all]))
}

impl NetworkMap {
    /// Puts a map together.
    ///
    /// # Errors
    /// [`MapError::Digest`] where the entries are not the header's.
    pub fn new(header: Signed<MapHeader>, entries: Entries) -> Result<Self, MapError> {
        if digest(entries.keys()) != header.value().digest {
            return Err(MapError::Digest);
        }
        Ok(Self { header, entries })
    }

    /// Reads `[header, [entry, ...]]`.
    ///
    /// # Errors
    /// Where it is too large, not of this form, or its digest is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, MapError> {
        if bytes.len() > MAX_MAP {
            return Err(MapError::TooLarge(bytes.len()));
        }
        let mut decoder = Decoder::new(bytes);
        let form = |ok: bool| {
            if ok {
                Ok(())
            } else {
                Err(MapError::Malformed("it is not [header, [entry, ...]]"))
            }
        };
        form(matches!(decoder.array(), Ok(Some(2))))?;
        let header = Signed::decode(item(&mut decoder, bytes)?)?;
        let count = decoder.array().ok().flatten();
        form(count.is_some())?;
        let mut entries = Entries::new();
        for _ in 0..count.unwrap_or(0) {
            let entry = Entry::decode(item(&mut decoder, bytes)?)?;
            let twice = entries.insert(entry.key(), Arc::new(entry)).is_some();
            form(!twice)?;
        }
        form(decoder.position() == bytes.len())?;
        Self::new(header, entries)
    }

    /// `[header, [entry, ...]]`, entries in the order of their keys.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1024 + self.entries.len() * 512);
        let head = |bytes: Vec<u8>, length: usize| {
            let mut encoder = Encoder::new(bytes);
            encoder
                .array(length as u64)
                .expect("a vector takes all that is written to it");
            encoder.into_writer()
        };
        bytes = head(bytes, 2);
        bytes.extend_from_slice(self.header.bytes());
        bytes = head(bytes, self.entries.len());
        self.entries
            .values()
            .for_each(|entry| bytes.extend_from_slice(&entry.encode()));
        bytes
    }

    /// The map that `delta` makes of this one.
    ///
    /// # Errors
    /// Where it starts from another map, drops what is not there, or its digest does not fit: ask for the whole map.
    pub fn apply(&self, delta: &Delta) -> Result<Self, MapError> {
        let held = self.header.value();
        let next = delta.header.value();
        if delta.from_version != held.version || next.epoch != held.epoch {
            return Err(MapError::NotFromHere {
                from: delta.from_version,
                held: held.version,
            });
        }
        let mut entries = self.entries.clone();
        for key in &delta.drop {
            entries.remove(key).ok_or(MapError::Digest)?;
        }
        for entry in &delta.add {
            entries.insert(entry.key(), Arc::clone(entry));
        }
        Self::new(delta.header.clone(), entries)
    }

    /// The header.
    pub fn header(&self) -> &Signed<MapHeader> {
        &self.header
    }

    /// The entries by key.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }
}

/// The bytes of the next CBOR item.
/// The bytes of the next item.
pub(super) fn item<'a>(decoder: &mut Decoder<'a>, bytes: &'a [u8]) -> Result<&'a [u8], MapError> {
    let start = decoder.position();
    let cut = || MapError::Malformed("it ends within an entry");
    decoder.skip().map_err(|_| cut())?;
    bytes.get(start..decoder.position()).ok_or_else(cut)
}
