//! A simulated world: agents, relays, NATs and links under a virtual clock, the same for the same seed.
//!
//! Nodes run the real [`crate::path::Agent`] over a toy tunnel; relays are the real [`crate::relay::RelayServer`]. Between
//! them are sites, each with a link (delay, reordering, loss) and perhaps a NAT (mapping, filtering, expiry,
//! hairpinning). A coordinator hands out what the nodes say of themselves, while it is up. Tests and the fuzzer build a
//! [`World`], let time pass and look at who got what, when, and by which way.

mod nat;
mod net;
mod node;
mod tunnel;
mod world;

pub use nat::{Dependence, Nat, NatKind, Ports};
pub use net::{HostId, INTERNET, Link, SiteId};
pub use node::{Delivery, Node};
pub use world::{Arrived, NODE_PORT, RELAY_PORT, World, node_id};
