//! Endpoints: an address that every node holds for itself, and the nodes to which connections to it go.
//!
//! A mesh has no segment on which an address could move from machine to machine. So nothing moves: each node has the address,
//! listens there, and chooses by itself, by what it sees itself, to whom a connection goes. [`check`] says which endpoints
//! break nothing; a [`Balancer`] for each says whom to probe and whom to take, by each member's [`Health`]. It knows no socket: the shell
//! probes, connects, and tells what came of it.

mod balancer;
mod health;
mod terms;

pub use balancer::{Ask, Balancer, Event};
pub use health::{Health, Outcome};
pub use terms::{API_PORT, Endpoint, EndpointError, check, names, reserved};
