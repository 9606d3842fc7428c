//! The pure core of meshd: every wire format and every decision, no I/O.

pub mod auth;
pub mod clienthello;
pub mod id;
pub mod keys;
pub mod names;
pub mod sealed;
pub mod statement;
pub mod token;
