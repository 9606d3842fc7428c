//! Names: which host names a node writes into its hosts file, and the bytes of that file.
//!
//! The hosts file belongs to the machine, not to us. Each (instance, network) owns one block between two marker lines,
//!
//! ```text
//! # meshd begin default/prod
//! 10.77.0.9  db1.prod.mesh db1
//! # meshd end default/prod
//! ```
//!
//! and every byte outside of those blocks stays as it was, whatever it is: other line ends, no final newline, bytes
//! that are not UTF-8, torn, doubled or nested markers. A line inside a block that we would not have written is not
//! ours either and is kept.
//!
//! The full name `NODE.NETWORK.mesh` is always written. The short name is written only where it takes nothing from
//! anybody: see [`Reason`] for what withholds it. [`update`] does both in one step, because which names are free
//! depends on the file as it is at that moment.

mod choose;
mod file;
mod journal;
mod label;
mod zone;

pub use choose::{Address, NetworkNames, NodeName, Reason, Wanted, Withheld};
pub use file::{MAX_FILE_LEN, has_blocks, is_instance, outside};
pub use journal::{Digest, Found, Journal, digest};
pub use label::{distinct, is_label, is_reserved, to_label};
pub use zone::{Found as ZoneFound, Zone};

/// The top-level domain of every full name.
pub const DOMAIN: &str = "mesh";

/// A hosts file as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The whole file. Equal to what was given where nothing has to change.
    pub bytes: Vec<u8>,
    /// Names that were not written, and why.
    pub withheld: Vec<Withheld>,
}

/// Puts the blocks of `instance` into `file` as `wanted` says; blocks of networks that are no longer wanted go.
///
/// Total, idempotent, and linear in the file's length. The blocks of other instances count as foreign bytes.
pub fn update(file: &[u8], instance: &str, wanted: &Wanted) -> Update {
    let lines = file::dissect(file, instance);
    let plan = choose::choose(wanted, &file::foreign_names(&lines, instance));
    Update {
        bytes: file::rewrite(&lines, instance, &plan.blocks),
        withheld: plan.withheld,
    }
}

/// Takes every block of `instance` out of `file`.
pub fn remove_all(file: &[u8], instance: &str) -> Vec<u8> {
    outside(file, instance)
}

#[cfg(test)]
mod tests;
