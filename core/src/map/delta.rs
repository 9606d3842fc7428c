//! What changed between two versions of a map.

use std::sync::Arc;

use super::{Entry, EntryKey, MAX_MAP, MapError};
use crate::statement::{MapHeader, Signed};

/// What changed between two versions of one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The version that it applies to.
    pub from_version: u64,
    /// The header of the map that comes of it.
    pub header: Signed<MapHeader>,
    /// Entries that came.
    pub add: Vec<Arc<Entry>>,
    /// Keys of entries that went.
    pub drop: Vec<EntryKey>,
}

impl Delta {
    /// From the byte strings of the coordinator's stream.
    ///
    /// # Errors
    /// Where a part is not what it should be, or all together are larger than any map.
    pub fn from_parts<'a>(
        from_version: u64,
        header: &[u8],
        add: impl IntoIterator<Item = &'a [u8]>,
        drop: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, MapError> {
        let mut size = 0;
        let add = add.into_iter().map(|bytes| {
            size += bytes.len();
            if size > MAX_MAP {
                return Err(MapError::TooLarge(size));
            }
            Entry::decode(bytes).map(Arc::new)
        });
        let add = add.collect::<Result<_, _>>()?;
        let wrong = |_| MapError::Malformed("a key of a dropped entry is not 32 bytes");
        let drop = drop
            .into_iter()
            .map(|bytes| bytes.try_into().map(EntryKey).map_err(wrong));
        Ok(Self {
            from_version,
            header: Signed::decode(header)?,
            add,
            drop: drop.collect::<Result<_, _>>()?,
        })
    }
}
