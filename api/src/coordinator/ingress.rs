//! What nodes expose by themselves, within what an admin allowed: a cluster's control plane asks for ports of the coordinator's host.

use crate::Base64Bytes;
use serde::{Deserialize, Serialize};

/// `PUT /v1/networks/{id}/ingress`: all that a cluster exposes now. What it does not name is exposed no longer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IngressAsk {
    /// The admin's allowance under which it asks.
    pub allowance: String,
    /// Counts the cluster's elections: who was elected before is not heard any more.
    pub term: u64,
    /// The ports.
    pub ports: Vec<IngressPort>,
}

/// A public port that a node asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IngressPort {
    /// The namespace of the service that it is for.
    pub namespace: String,
    /// The service.
    pub service: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The public port.
    pub port: u16,
    /// Sites (TLS server names) for which the port is shared.
    #[serde(default)]
    pub sites: Vec<String>,
    /// `v1` or `v2` where targets are told who the client is.
    #[serde(default)]
    pub proxy_protocol: Option<String>,
    /// Where what comes there goes, `address:port`: pods of the network, or node ports of its nodes.
    #[serde(default)]
    pub targets: Vec<String>,
}

/// Answer to [`IngressAsk`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IngressGiven {
    /// Names and addresses under which the ports are reached.
    pub addresses: Vec<String>,
    /// What became of each port, in the order in which they were asked for.
    pub ports: Vec<IngressState>,
}

/// What became of a port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IngressState {
    /// Why it is not had, in a sentence; nothing where it is.
    pub refused: Option<String>,
    /// What somebody should know all the same, in sentences.
    pub warnings: Vec<String>,
}

/// `POST /v1/admin/networks/{name}/allowances`: says what nodes may expose by themselves.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IngressSet {
    /// Its name: a DNS label.
    pub name: String,
    /// Nodes that may ask, by name or id.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// Tags whose nodes may ask.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Public ports, such as `443/tcp` or `30000-32767/udp`.
    #[serde(default)]
    pub ports: Vec<String>,
    /// Sites that they may take at ports that are shared; all where there are none.
    #[serde(default)]
    pub sites: Vec<String>,
    /// Namespaces whose services count; all where there are none.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Private addresses for services, as prefixes.
    #[serde(default)]
    pub pool: Vec<String>,
    /// Whether services of no class count too.
    #[serde(default)]
    pub default_class: bool,
    /// Ports at once.
    #[serde(default)]
    pub max_ports: Option<u16>,
    /// Connections, or flows of UDP, at once at each port.
    #[serde(default)]
    pub max_connections: Option<u32>,
    /// New ones in a second.
    #[serde(default)]
    pub max_per_second: Option<u32>,
    /// Seconds without a byte after which one ends.
    #[serde(default)]
    pub idle_seconds: Option<u32>,
    /// Act statement, where the root key is kept elsewhere.
    #[serde(default)]
    pub statement: Option<Base64Bytes>,
}

/// `POST /v1/admin/networks/{name}/allowances/remove`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IngressRemove {
    /// Its name.
    pub name: String,
    /// Act statement, where the root key is kept elsewhere.
    #[serde(default)]
    pub statement: Option<Base64Bytes>,
}

/// What nodes may expose by themselves, as an admin sees it (`GET /v1/admin/networks/{name}/allowances`).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IngressInfo {
    /// Its name.
    pub name: String,
    /// Nodes that may ask, by name.
    pub nodes: Vec<String>,
    /// Tags whose nodes may ask.
    pub tags: Vec<String>,
    /// Public ports.
    pub ports: Vec<String>,
    /// Sites; all where there are none.
    pub sites: Vec<String>,
    /// Namespaces; all where there are none.
    pub namespaces: Vec<String>,
    /// Private addresses for services.
    pub pool: Vec<String>,
    /// Whether services of no class count too.
    pub default_class: bool,
    /// Ports at once.
    pub max_ports: u16,
    /// The node that asked last; none where nobody did since meshrelay started.
    pub asked_by: Option<String>,
    /// Ports that it has now.
    pub held: usize,
    /// What it asked for and has not, in sentences.
    pub refused: Vec<String>,
    /// Serial of the act that made it, or changed it last.
    pub serial: u64,
}
