//! The pure core of meshd: every wire format and every decision, no I/O.

pub mod admission;
pub mod allowed_ips;
pub mod auth;
mod bytes;
pub mod clienthello;
pub mod demux;
pub mod firewall;
pub mod id;
pub mod keys;
pub mod map;
pub mod names;
pub mod packet;
pub mod path;
pub mod ranges;
pub mod relay;
pub mod sealed;
pub mod statement;
pub mod stun;
pub mod token;
pub mod underlay;
pub mod wireguard;
