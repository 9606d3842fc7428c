//! A network of Netmaker, read from what its API says of it, as a plan for a network here.
//!
//! The export is one JSON object of the answers of Netmaker's API: `networks` (`GET /api/networks`), `hosts` (`GET /api/hosts`),
//! `nodes` (`GET /api/nodes`), and where the server has it `egress` (`GET /api/v1/egress?network=NAME`). Each is a list, or the
//! object with a `Response` in which newer servers wrap one. What is not known of an entry is left out of the plan, with a sentence.
//!
//! 1. `export` reads entries: any bytes give entries or a sentence.
//! 2. [`plan()`] keeps names, IPv4 addresses and ranges as far as a network here may have them, and says what changes.
//!
//! Keys are not kept: each machine makes new ones when it joins, and Netmaker's server knew no private key anyway.

mod export;
mod plan;

pub use plan::{Plan, PlannedGateway, PlannedNode, plan};

/// Largest export that is read, in bytes: some thousand hosts.
pub const MAX_EXPORT: usize = 64 << 20;

/// Why nothing can be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Not JSON, or not an object.
    #[error(
        "the export is no JSON object with \"networks\", \"hosts\" and \"nodes\" ({0}): docs/from-netmaker.md has the commands that make one"
    )]
    Unreadable(String),
    /// A list is missing or of another kind.
    #[error("the export has no list \"{0}\": docs/from-netmaker.md has the commands that make one")]
    Missing(&'static str),
    /// No network in it.
    #[error("there is no network in the export{0}")]
    NoNetwork(String),
    /// Several in it.
    #[error("there are several networks in the export: say --network {0}")]
    Several(String),
    /// Its range cannot be had.
    #[error("network \"{network}\" has the range \"{range}\", which a network here cannot have: {why}")]
    Range {
        /// The network.
        network: String,
        /// As Netmaker wrote it.
        range: String,
        /// The sentence.
        why: String,
    },
}
