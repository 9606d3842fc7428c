//! Why a map or a delta is not taken. The map held stays in force.

use crate::statement::StatementError;

/// Why a map or a delta is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// Larger than any map may be.
    #[error("the network map has {0} bytes; at most 4 MiB are allowed")]
    TooLarge(usize),
    /// Not the form of section 3 or 9.
    #[error("the network map is malformed: {0}")]
    Malformed(&'static str),
    /// Its header cannot be read, or no coordinator that this node trusts signed it.
    #[error("the network map is refused: {0}")]
    Header(#[from] StatementError),
    /// Another network's.
    #[error("the network map is of another network")]
    WrongNetwork,
    /// Its entries are not those that the header speaks of; ask for the whole map.
    #[error("the network map's entries do not match its header's digest; the whole map is needed")]
    Digest,
    /// A delta from another version than the one held; ask for the whole map.
    #[error(
        "the change of the network map starts from version {from}, and version {held} is held; the whole map is needed"
    )]
    NotFromHere {
        /// The version that it starts from.
        from: u64,
        /// The version held.
        held: u64,
    },
    /// Older than one already seen.
    #[error("the network map (epoch {}, version {}) is older than one already seen (epoch {}, version {}); refused", .got.0, .got.1, .held.0, .held.1)]
    Older {
        /// Its (epoch, version).
        got: (u32, u64),
        /// The highest (epoch, version) seen.
        held: (u32, u64),
    },
    /// The coordinator signed two maps of one version.
    #[error("the coordinator signed two different network maps as epoch {}, version {}; the first stays in force", .0.0, .0.1)]
    Forked((u32, u64)),
    /// No parameters that the root signed, neither in the map nor remembered.
    #[error("the network map has no parameters signed by the network's root; refused")]
    NoParams,
    /// A saved state of the map that is not what [`MapHolder::save`](super::MapHolder::save) writes.
    #[error("the saved network map cannot be read: {0}")]
    Saved(&'static str),
}

impl MapError {
    /// Whether the whole map would do better than the delta did.
    pub fn wants_full(&self) -> bool {
        matches!(self, Self::Digest | Self::NotFromHere { .. } | Self::Malformed(_))
    }
}
