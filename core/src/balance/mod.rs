//! Endpoints: an address that every node holds for itself, and the nodes to which connections to it go.
//!
//! A mesh has no segment on which an address could move from machine to machine. So nothing moves: each node has the address,
//! listens there, and chooses by itself, by what it sees itself, to whom a connection goes. [`check`] says which endpoints
//! break nothing.

mod terms;

pub use terms::{API_PORT, Endpoint, EndpointError, check};
