//! The coordinator's HTTPS API and its admin socket.

pub mod connection;
pub mod hello;
pub mod limits;
pub mod listen;
pub mod session;
