//! What is exposed to the Internet: ports of the coordinator's host, and the nodes behind them.

use crate::Base64Bytes;
use serde::{Deserialize, Serialize};

/// `POST /v1/admin/networks/{name}/exposures`: exposes something, or changes what is exposed under this name.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExposeSet {
    /// Its name: a DNS label.
    pub name: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The public port.
    pub port: u16,
    /// The nodes behind it.
    pub targets: Vec<ExposeTarget>,
    /// Sites (TLS server names) for which the port is shared with others; where there are none, the port is its own.
    #[serde(default)]
    pub sites: Vec<String>,
    /// `v1` or `v2` where targets are told who the client is.
    #[serde(default)]
    pub proxy_protocol: Option<String>,
    /// Connections, or flows of UDP, at once.
    #[serde(default)]
    pub max_connections: Option<u32>,
    /// New ones in a second.
    #[serde(default)]
    pub max_per_second: Option<u32>,
    /// Seconds without a byte after which one ends.
    #[serde(default)]
    pub idle_seconds: Option<u32>,
    /// `serial` of the exposure that this is based on, 0 where there was none; another is refused as `stale-serial`.
    pub based_on: u64,
    /// Act statement, where the root key is kept elsewhere.
    #[serde(default)]
    pub statement: Option<Base64Bytes>,
}

/// A node behind something exposed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExposeTarget {
    /// The node's name or id; in an answer its name, or `NODE/ADDRESS` for a pod on it.
    pub node: String,
    /// The node's id, 32 hex digits; in an answer only.
    #[serde(default)]
    pub id: String,
    /// The port on its mesh address.
    pub port: u16,
    /// How meshrelay finds it: `ready`, `unknown`, `doubtful`, `hanging`, `refusing`, `dead`; in an answer only.
    #[serde(default)]
    pub health: String,
    /// Connections to it now; in an answer only.
    #[serde(default)]
    pub connections: u64,
}

/// `POST /v1/admin/networks/{name}/exposures/remove`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExposeRemove {
    /// Its name.
    pub name: String,
    /// Act statement, where the root key is kept elsewhere.
    #[serde(default)]
    pub statement: Option<Base64Bytes>,
}

/// Something exposed, as an admin sees it (`GET /v1/admin/networks/{name}/exposures`).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExposeInfo {
    /// Its name.
    pub name: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The public port.
    pub port: u16,
    /// Sites for which the port is shared.
    pub sites: Vec<String>,
    /// `v1`, `v2` or nothing.
    pub proxy_protocol: Option<String>,
    /// The allowance under which a node asked for it, and not an admin.
    #[serde(default)]
    pub allowance: Option<String>,
    /// Addresses on which meshrelay listens for it, `address:port`.
    pub at: Vec<String>,
    /// The nodes behind it.
    pub targets: Vec<ExposeTarget>,
    /// The node that runs beside meshrelay, through which everything goes; none where nothing can be forwarded.
    pub through: Option<String>,
    /// What somebody should know, in sentences.
    pub troubles: Vec<String>,
    /// Limits in force.
    pub limits: ExposeLimits,
    /// What happened since meshrelay started.
    pub counts: ExposeCounts,
    /// Serial of the act that made it, or changed it last.
    pub serial: u64,
}

/// Limits in force.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExposeLimits {
    /// Connections, or flows, at once.
    pub connections: u32,
    /// New ones in a second.
    pub per_second: u32,
    /// Seconds without a byte after which one ends.
    pub idle_seconds: u64,
}

/// What happened since meshrelay started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExposeCounts {
    /// Connections, or flows, now.
    pub open: u64,
    /// Let in so far.
    pub accepted: u64,
    /// Refused: there were too many.
    pub refused: u64,
    /// Let in, and no target took them.
    pub unserved: u64,
    /// Ended since their target was dead, or did not answer.
    pub ended: u64,
    /// Ended since nothing came or went for too long.
    pub idle: u64,
    /// Bytes from clients to targets.
    pub bytes_in: u64,
    /// Bytes from targets to clients.
    pub bytes_out: u64,
}
