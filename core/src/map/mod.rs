//! The network map (docs/wire.md section 3): what the coordinator hands out, and what a node believes of it.
//!
//! The coordinator's signature says only that this is the map of a version: it makes no peer. A peer is made by its
//! chain (root, delegation, join key, enrolment, identity, record), and unmade by acts of the root or its own departure.
//! So a broken-into coordinator can withhold, and no more:
//!
//! 1. [`NetworkMap`] and [`Delta`] are entries under a signed header; [`MapBuilder`] makes them.
//! 2. [`MapHolder`] takes them in a node: it checks the header and that (epoch, version) never goes back,
//! 3. verifies the chain of what is new (verdicts are kept, so that a delta costs what it adds),
//! 4. holds it against [`Memory`], all that was ever believed: first identities, serials, acts, departures,
//! 5. and gives a [`View`], what is believed, with a [`Refusal`] for each thing that is not, in words.
//!
//! A node that came by a token which is not ephemeral leaves by a removal or its departure, in no other way: where the
//! map merely omits it, it stays. So a coordinator restored from an older backup breaks no path while it takes the later
//! joiners back ([`MapHolder::testimony`], [`MapBuilder::absorb`]).

mod absorb;
mod acts;
mod builder;
mod chain;
mod delta;
mod entry;
mod error;
mod holder;
mod judge;
mod memory;
mod network_map;
mod places;
mod proof;
mod refusal;
mod saved;
mod view;

pub use absorb::Absorbed;
pub use builder::{MapBuilder, Put};
pub use delta::Delta;
pub use entry::{Body, Entry, EntryKey, MAX_ENTRY, NodeEntry};
pub use error::MapError;
pub use holder::{Changes, MapHolder};
pub use memory::{Death, Memory};
pub use network_map::{MAX_MAP, NetworkMap, digest};
pub use places::Place;
pub use proof::RemovalProof;
pub use refusal::{Cause, Refusal};
pub use view::{BlockedName, Membership, Node, NodeKeys, View};

#[cfg(test)]
mod tests;
