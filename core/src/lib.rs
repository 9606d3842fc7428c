//! The pure core of meshd: every wire format and every decision, no I/O.

pub mod allowed_ips;
pub mod auth;
pub mod clienthello;
pub mod demux;
pub mod firewall;
pub mod id;
pub mod keys;
pub mod names;
pub mod packet;
pub mod ranges;
pub mod sealed;
pub mod statement;
pub mod token;
