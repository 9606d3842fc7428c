//! Endpoints as one node serves them.

use serde::{Deserialize, Serialize};

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// Its name.
    pub name: String,
    /// Where this node listens, `address:port`.
    pub at: Vec<String>,
    /// How a member proves that it is well: `connect` or `readyz`.
    pub check: String,
    /// Connections now.
    pub connections: u64,
    /// Most connections at a time.
    pub limit: u64,
    /// Connections so far.
    pub accepted: u64,
    /// Of them those that no member took.
    pub unserved: u64,
    /// Of them those that were ended because their member was dead.
    pub ended: u64,
    /// Who is behind it.
    pub members: Vec<EndpointMemberStatus>,
}

/// A member of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointMemberStatus {
    /// Its node's name.
    pub node: String,
    /// The TCP port on its mesh address.
    pub port: u16,
    /// `ready`, `unknown`, `doubtful` (it was silent just now), `not-ready`, `hanging` (its machine is heard, its program does not answer), `refusing`, `dead`; `leaving` where it was taken out.
    pub health: String,
    /// Connections to it.
    pub connections: u64,
}
