//! Packet relay: the frames, the node's side and the relay's side (docs/wire.md section 6).
//!
//! A relay forwards sealed packets between two members of one network and reads none of them. A node binds its address
//! with a MAC under its bind key and a cookie that shows that it can receive there, opens a session per peer, and from
//! then on puts 12 bytes in front of each packet. The relay replaces the session id by that of the opposite direction,
//! so that whoever receives a frame knows under which id to answer.
//!
//! - [`frame`]: the codec, both ends; [`stream`]: the same frames over TCP.
//! - [`RelayServer`]: every decision of the relay. Data frames need `&self` only: many threads forward under a shared
//!   lock, and the few control messages take it alone.
//! - [`node_relay`]: where a node of the network is the relay.
//! - [`RelayClient`]: one node at one relay: bound, renewed, bound again at once when refused; sessions on demand.

pub mod frame;
pub mod stream;
pub mod word;

mod client;
pub mod node_relay;
mod server;

pub use client::{RelayClient, RelayEvent, RelayInfo};
pub use server::{Channel, MemberTraffic, RelayConfig, RelayDrop, RelayServer, Strain, Verdict, bind_key};
