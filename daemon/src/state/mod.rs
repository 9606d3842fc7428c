//! What survives: one folder, 0700, locked by the running meshd.
//!
//! ```text
//! lock                      held while meshd runs
//! machine.key               32 random bytes; keys the MAC of every file below
//! networks/ID/identity      secrets, statements and what was allotted; written at join, rarely after
//! networks/ID/progress      the record's serial and where the last map stood
//! networks/ID/map           the last good map, and what must never be rolled back: removals, first-held keys, serials
//! networks/ID/paths         last proven endpoints, for a start without the coordinator
//! networks/ID/exit          the exit node that was chosen
//! networks/ID/forwarding    settings of interfaces that a gateway switched on, and what they were before
//! networks/ID/machine       the machine on which the identity was last let in
//! networks/ID/leaving       a mark: this node leaves, also where the process ends before it is done
//! farewells                 why this machine is no longer in networks that it was put out of
//! template                  a sealed token waiting for the first boot of a clone
//! ```
//!
//! Each file is sealed (see [`meshd_core::sealed`]) and kept in two generations, `NAME` and `NAME.old`: a file that is
//! truncated or garbled is reported and its older generation used. One of a newer release is refused, and nothing touched. A write that fails (full disk) leaves both as they were.

mod dir;
mod generations;
mod membership;
#[cfg(test)]
mod tests;
mod troubles;

pub use dir::{Farewell, NetworkFiles, StateDir, StateError};
pub use membership::{Allotted, Membership};
