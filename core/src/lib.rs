//! The pure core of meshd: every wire format and every decision, no I/O.

pub mod id;
pub mod keys;
