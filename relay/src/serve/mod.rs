//! The coordinator's HTTPS API and its admin socket.
//!
//! A connection's journey: [`listen`] accepts it if [`limits`] lets it in; [`hello`] looks at its ClientHello;
//! [`connection`] does TLS and HTTP; [`router`] finds the handler; `proof` tells who asks.

mod admins;
pub(crate) mod answer;
pub mod connection;
pub mod hello;
mod ingress;
pub mod limits;
pub mod listen;
mod nodes;
mod openapi;
pub mod over_tls;
mod overlaps;
pub(crate) mod proof;
mod relays;
mod router;
pub mod session;

pub use router::router;
