//! Endpoints: an address that every node holds, and the nodes to which connections to it go.

use crate::Base64Bytes;
use serde::{Deserialize, Serialize};

/// `POST /v1/admin/networks/{name}/endpoints`: makes an endpoint, or changes it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EndpointSet {
    /// Its name: a DNS label.
    pub name: String,
    /// Its address; the network's reserved ones where absent.
    #[serde(default)]
    pub address: Option<String>,
    /// The TCP port there.
    pub port: u16,
    /// The nodes behind it.
    pub members: Vec<EndpointMember>,
    /// Certificates (DER) of who issues the members': where there is one, a member is well that answers `GET /readyz` over TLS
    /// under it; else one that takes a connection.
    #[serde(default)]
    pub authorities: Vec<Base64Bytes>,
    /// `serial` of the endpoint that this is based on, 0 where there was none; another is refused as `stale-serial`.
    pub based_on: u64,
    /// Act statement, where the root key is kept elsewhere.
    #[serde(default)]
    pub statement: Option<Base64Bytes>,
}

/// A node behind an endpoint.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EndpointMember {
    /// The node's name or id; in an answer its name.
    pub node: String,
    /// The node's id, 32 hex digits; in an answer only.
    #[serde(default)]
    pub id: String,
    /// The TCP port on its mesh address.
    pub port: u16,
    /// Whether it is connected to the coordinator now; in an answer only.
    #[serde(default)]
    pub connected: bool,
}

/// `POST /v1/admin/networks/{name}/endpoints/remove`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EndpointRemove {
    /// Its name.
    pub name: String,
    /// Act statement, where the root key is kept elsewhere.
    #[serde(default)]
    pub statement: Option<Base64Bytes>,
}

/// An endpoint as an admin sees it (`GET /v1/admin/networks/{name}/endpoints`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EndpointInfo {
    /// Its name.
    pub name: String,
    /// Where it is, `address:port`.
    pub at: Vec<String>,
    /// Its address, where it is not at the network's reserved ones.
    pub address: Option<String>,
    /// The TCP port there.
    pub port: u16,
    /// The nodes behind it.
    pub members: Vec<EndpointMember>,
    /// How a member proves that it is well: `connect` (it takes a connection) or `readyz` (it answers `GET /readyz` over TLS).
    pub check: String,
    /// Certificates under which it does.
    pub authorities: Vec<Base64Bytes>,
    /// Serial of the act that made it, or changed it last.
    pub serial: u64,
}
