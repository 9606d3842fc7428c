//! The vocabulary between meshd's programs: serde types and small clients of the two APIs.
//!
//! - [`local`]: meshd's Unix socket. `meshctl` and the CNI plugin speak it.
//! - [`coordinator`]: meshrelay's HTTPS API under `/v1`, spoken by nodes and, on its admin part, by `meshctl`.
//! - [`client`]: HTTP/1.1 over a Unix socket, and over TLS 1.3 pinned to the coordinator's identity key.
//!
//! Signed statements, tokens and maps cross these APIs as opaque strings ([`Base64Bytes`]): what they mean is
//! the core's business, which this crate does not know. Both APIs answer an error with a [`Problem`] body: a
//! stable `code` for programs and one sentence for a person, saying what was wrong, where, and what to do.
//!
//! All JSON field names are stable within `/v1`: fields may be added, never renamed or removed.

#[cfg(feature = "client")]
pub mod client;
pub mod coordinator;
pub mod local;

mod bytes;
mod done;
mod problem;

pub use bytes::Base64Bytes;
pub use done::Done;
pub use problem::Problem;
