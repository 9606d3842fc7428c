//! What the coordinator must not forget.
//!
//! A [`Store`] is a handful of tables of bytes with atomic, durable batches; it knows nothing of networks. Everything is
//! read once, at start, into the coordinator's memory; after that the store is written to, in the same order, before
//! any answer leaves. [`RedbStore`] is the embedded one. [`rows`] says what the bytes are.

mod redb;
pub mod rows;
mod snapshot;

use std::path::PathBuf;

pub use redb::{RedbStore, report_damage_where_panics_abort};
pub use snapshot::{Snapshot, SnapshotError};

/// The tables. Names are part of the file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Format version, coordinator identity, relay id and secret.
    Meta,
    /// Network id: name, parameters, root secret if kept here, epoch and version of its map.
    Networks,
    /// Network id, token id: delegation, uses, revocation.
    Tokens,
    /// Network id, node id: enrolment, record, allotment, facts.
    Nodes,
    /// Network id, hash: admin act.
    Acts,
    /// Network id, node id: departure, or the proof that another node took this one's place.
    Departures,
    /// Network id, name: until when it is blocked.
    Blocks,
    /// Idempotency key: the answer given.
    Answers,
    /// Sequence number: audit line.
    Audit,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 9] = [
        Self::Meta,
        Self::Networks,
        Self::Tokens,
        Self::Nodes,
        Self::Acts,
        Self::Departures,
        Self::Blocks,
        Self::Answers,
        Self::Audit,
    ];

    /// Its name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Networks => "networks",
            Self::Tokens => "tokens",
            Self::Nodes => "nodes",
            Self::Acts => "acts",
            Self::Departures => "departures",
            Self::Blocks => "blocks",
            Self::Answers => "answers",
            Self::Audit => "audit",
        }
    }
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// One change of a batch.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets a value.
    Put(Table, Vec<u8>, Vec<u8>),
    /// Removes a key, if it is there.
    Delete(Table, Vec<u8>),
    /// Removes every key of a table.
    Clear(Table),
}

/// Changes that happen together or not at all, in this order.
#[derive(Clone, Default)]
pub struct Batch(Vec<Change>);

impl Batch {
    /// Sets a value.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.0.push(Change::Put(table, key.into(), value.into()));
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        self.0.push(Change::Delete(table, key.into()));
    }

    /// Removes every key of a table.
    pub fn clear(&mut self, table: Table) {
        self.0.push(Change::Clear(table));
    }

    /// The changes.
    pub fn changes(&self) -> &[Change] {
        &self.0
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Tables of bytes that can be read.
pub trait Rows {
    /// All pairs of a table, in the order of their keys.
    fn scan(&self, table: Table) -> Result<Vec<Pair>, StoreError>;

    /// The error for rows that were read and make no sense.
    fn damaged(&self, detail: String) -> StoreError;
}

/// Durable tables of bytes.
pub trait Store: Rows + Send + Sync {
    /// Does all changes or none; once it returns `Ok` they survive a power cut.
    fn commit(&self, batch: &Batch) -> Result<(), StoreError>;

    /// All tables at one moment.
    fn snapshot(&self) -> Result<Snapshot, StoreError>;
}

/// Why the store did not do it. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory or file cannot be opened or made.
    #[error("cannot open the state {path}: {cause}")]
    Unreachable {
        /// Directory or file.
        path: PathBuf,
        /// The system's word.
        cause: std::io::Error,
    },
    /// The directory was in use, and the file is gone or empty.
    #[error(
        "the state file {path} is missing or empty, though this directory was in use before. Nothing was changed. Put the \
         file back, or start on an empty directory and restore a backup (`meshctl restore FILE`)"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Another process has it open.
    #[error("the state file {path} is in use: is another meshrelay running on this directory?")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The bytes are not what was written.
    #[error(
        "the state file {path} is damaged ({detail}). Nothing was changed. Move it away for inspection, start on an empty \
         directory, and restore a backup (`meshctl restore FILE`)"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        detail: String,
    },
    /// A write or read failed, e.g. since the disk is full.
    #[error(
        "the state file {path} cannot be written or read: {detail}. The change was not made; free space or repair the disk, and try again"
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        detail: String,
    },
}
