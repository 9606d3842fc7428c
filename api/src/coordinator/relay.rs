//! What a relay on another host and the coordinator say to each other.
//!
//! The relay asks `GET /v1/relays/stream?udp=A,B&tls=C` with a proof made with the secret of its relay word; `udp` and `tls`
//! say where it listens, as `host:port` or, where it does not know its host, `:port`.

use serde::{Deserialize, Serialize};

/// One line of the relay stream (`application/x-ndjson`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RelayLine {
    /// All nodes of a network that may use the relay; none ends the network there.
    Network {
        /// Network id, 32 hex digits.
        id: String,
        /// Its nodes.
        nodes: Vec<RelayMember>,
    },
    /// Every network was named: others that the relay knows are gone.
    Complete,
    /// The coordinator is there.
    Ping,
}

/// A node that may use a relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RelayMember {
    /// Its id, 32 hex digits.
    pub node: String,
    /// Its identity key, 64 hex digits: it proves itself with it where it comes over TLS.
    pub identity: String,
}
