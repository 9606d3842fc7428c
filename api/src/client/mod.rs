//! HTTP/1.1 clients: [`unix`] for the two Unix sockets, [`pinned`] for the coordinator over TLS, [`plain`] inside the
//! tunnel.
//!
//! Both give a [`Connection`]: requests one after the other, each bounded in time and in the size of its
//! answer, or one long-lived [`LineStream`].

mod connection;
mod error;
pub mod pinned;
pub mod plain;
pub mod unix;

pub use connection::{Connection, LineStream, Reply};
pub use error::ClientError;
