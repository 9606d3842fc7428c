//! meshrelay: coordinator, STUN server and packet relay of a mesh, on the host with a public address.
#![forbid(unsafe_code)]

pub mod config;
pub mod coordinator;
pub mod packets;
pub mod run;
pub mod serve;
pub mod store;
pub mod tls;
