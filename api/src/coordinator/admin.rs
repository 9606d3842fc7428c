//! What an admin asks of the coordinator, over its Unix socket or, signed, over TLS.
//!
//! Where the network's root key is kept off the relay host, the requests carry the statement already signed
//! by it (`statement`); where the relay holds it, the field is absent and the relay signs.
//!
//! | request (under `/v1/admin`) | body | answer |
//! |---|---|---|
//! | `GET /networks` | | array of [`NetworkInfo`]; over TLS only the network whose root key signed the request |
//! | `POST /networks` | [`NetworkCreate`] | [`NetworkInfo`] |
//! | `GET /networks/{name}` | | [`NetworkInfo`] |
//! | `DELETE /networks/{name}` | | [`Done`] |
//! | `GET /networks/{name}/tokens` | | array of [`TokenInfo`] |
//! | `POST /networks/{name}/tokens` | [`TokenCreate`] | [`TokenCreated`] |
//! | `POST /networks/{name}/tokens/{id}/revoke` | [`TokenRevoke`] | [`Done`] |
//! | `GET /networks/{name}/nodes` | | array of [`NodeInfo`] |
//! | `GET /networks/{name}/nodes/{name or id}` | | [`NodeInfo`] |
//! | `POST /networks/{name}/nodes/{name or id}/approve`, `/remove`, `/rename` | [`NodeAct`] | [`Done`] |
//! | `POST /networks/{name}/nodes/{name or id}/replace` | [`NodeAct`] | [`TokenCreated`] |
//! | `POST /networks/{name}/nodes/{name or id}/relay` | [`NodeRelay`] | [`Done`] |
//! | `POST /networks/{name}/names/free` | [`NameFree`] | [`Done`] |
//! | `GET /networks/{name}/gateways` | | array of [`GatewayInfo`] |
//! | `POST /networks/{name}/gateways` | [`GatewayAdd`] | [`Done`] |
//! | `POST /networks/{name}/gateways/remove` | [`GatewayRemove`] | [`Done`] |
//! | `POST /networks/{name}/pods` | [`NetworkPods`] | [`Done`] |
//! | `POST /networks/{name}/nodes/{name or id}/pods` | [`NodePods`] | [`Done`] |
//! | `POST /networks/{name}/grants` | [`GrantSet`] | [`Done`] |
//! | `GET /networks/{name}/endpoints` | | array of [`EndpointInfo`] |
//! | `POST /networks/{name}/endpoints` | [`EndpointSet`] | [`Done`] |
//! | `POST /networks/{name}/endpoints/remove` | [`EndpointRemove`] | [`Done`] |
//! | `GET /networks/{name}/exposures` | | array of [`ExposeInfo`] |
//! | `POST /networks/{name}/exposures` | [`ExposeSet`] | [`Done`] |
//! | `POST /networks/{name}/exposures/remove` | [`ExposeRemove`] | [`Done`] |
//! | `GET /networks/{name}/allowances` | | array of [`IngressInfo`] |
//! | `POST /networks/{name}/allowances` | [`IngressSet`] | [`Done`] |
//! | `POST /networks/{name}/allowances/remove` | [`IngressRemove`] | [`Done`] |
//! | `GET /backup` (admin socket only) | | the backup file, `application/octet-stream` |
//! | `POST /restore` (admin socket only) | a backup file | [`Done`] |

mod endpoints;
mod expose;
mod grants;
mod pods;

pub use super::ingress::{IngressInfo, IngressRemove, IngressSet};
pub use crate::Done;
pub use endpoints::{EndpointInfo, EndpointMember, EndpointRemove, EndpointSet};
pub use expose::{ExposeCounts, ExposeInfo, ExposeLimits, ExposeRemove, ExposeSet, ExposeTarget};
pub use grants::GrantSet;
pub use pods::{NetworkPods, NodePods, PodsInfo};

use crate::Base64Bytes;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr};

/// `POST /v1/admin/networks`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkCreate {
    /// Its name: a DNS label.
    pub name: String,
    /// IPv4 prefix, e.g. `10.77.0.0/16`.
    pub cidr: String,
    /// IPv6 prefix; a random ULA /64 where absent.
    #[serde(default)]
    pub cidr6: Option<String>,
    /// MTU of the interfaces, 1280..=8912, a multiple of 16; 1408 where absent.
    #[serde(default)]
    pub mtu: Option<u16>,
    /// Parameters statement, where the root key is kept elsewhere.
    #[serde(default)]
    pub statement: Option<Base64Bytes>,
}

/// A network as an admin sees it (`GET /v1/admin/networks`, `GET /v1/admin/networks/{name}`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkInfo {
    /// Its name.
    pub name: String,
    /// Network id, 32 hex digits.
    pub id: String,
    /// Root public key, 64 hex digits.
    pub root: String,
    /// Whether the relay holds the root key.
    pub root_on_relay: bool,
    /// IPv4 prefix.
    pub cidr: String,
    /// IPv6 prefix.
    pub cidr6: String,
    /// MTU in bytes.
    pub mtu: u16,
    /// Prefixes of pods and services; null where it has none.
    #[serde(default)]
    pub pods: Option<PodsInfo>,
    /// Epoch of the map.
    pub epoch: u32,
    /// Version of the map.
    pub version: u64,
    /// How many nodes are in.
    pub nodes: u32,
    /// How many of them are connected now.
    pub connected: u32,
    /// Coordinator identity key, 64 hex digits (for tokens made elsewhere).
    pub coordinator: String,
    /// Coordinator addresses `host:port` (for tokens made elsewhere).
    pub addresses: Vec<String>,
    /// The highest serial used in a root-signed statement (for statements made elsewhere).
    pub last_serial: u64,
    /// Sentences that whoever makes a network should read: ranges that it meets here, and what nodes will lack.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// `POST /v1/admin/networks/{name}/tokens`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenCreate {
    /// How many joins it is good for; without end where absent.
    #[serde(default)]
    pub uses: Option<u32>,
    /// Seconds from now until it expires; never where absent.
    #[serde(default)]
    pub expires_in: Option<u64>,
    /// Tags of the nodes that come by it.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Nodes that come by it are removed when they stay away.
    #[serde(default)]
    pub ephemeral: bool,
    /// Nodes wait for `meshctl node approve`.
    #[serde(default)]
    pub approval: bool,
    /// Fixed host name.
    #[serde(default)]
    pub hostname: Option<String>,
    /// Fixed IPv4 address.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub ip: Option<Ipv4Addr>,
    /// Fixed UDP port.
    #[serde(default)]
    pub listen_port: Option<u16>,
    /// For VM templates: a clone gets an identity of its own.
    #[serde(default)]
    pub template: bool,
    /// Delegation statement, where the root key is kept elsewhere.
    #[serde(default)]
    pub statement: Option<Base64Bytes>,
}

/// Answer to `TokenCreate`, and to `node replace`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenCreated {
    /// The token's id, 16 hex digits.
    pub id: String,
    /// The join word; absent where the token was made elsewhere.
    pub token: Option<String>,
}

/// A token as an admin sees it; never the word itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenInfo {
    /// Id, 16 hex digits.
    pub id: String,
    /// `valid`, `expired`, `used-up` or `revoked`.
    pub state: String,
    /// Joins so far.
    pub used: u32,
    /// Joins allowed; without end where absent.
    pub uses: Option<u32>,
    /// Unix time in s when it expires.
    pub expires: Option<u64>,
    /// Tags.
    pub tags: Vec<String>,
    /// Ephemeral nodes.
    pub ephemeral: bool,
    /// Approval wanted.
    pub approval: bool,
    /// Fixed host name.
    pub hostname: Option<String>,
    /// Fixed IPv4 address.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub ip: Option<Ipv4Addr>,
    /// Fixed UDP port.
    pub listen_port: Option<u16>,
    /// For VM templates.
    pub template: bool,
    /// Name of the node that it replaces.
    pub replaces: Option<String>,
}

/// `POST /v1/admin/networks/{name}/tokens/{id}/revoke`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenRevoke {
    /// Also remove the nodes that came by it.
    #[serde(default)]
    pub with_nodes: bool,
    /// Act statement, where the root key is kept elsewhere.
    #[serde(default)]
    pub statement: Option<Base64Bytes>,
}

/// A node as an admin sees it (`GET /v1/admin/networks/{name}/nodes`, `.../nodes/{name or id}`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeInfo {
    /// Its name.
    pub name: String,
    /// Node id, 32 hex digits.
    pub id: String,
    /// `active`, `pending` or `removed`.
    pub state: String,
    /// IPv4 address in the network.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub ipv4: Ipv4Addr,
    /// IPv6 address in the network.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub ipv6: Ipv6Addr,
    /// WireGuard public key, base64; absent before the first record.
    pub public_key: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// Id of the token it came by.
    pub token: String,
    /// Whether its map stream is open now.
    pub connected: bool,
    /// Seconds since it was last heard of; null if never since the coordinator started.
    pub last_seen: Option<u64>,
    /// Underlay addresses it gave, `kind address:port`.
    pub candidates: Vec<String>,
    /// System, e.g. `linux/x86_64`.
    pub system: Option<String>,
    /// Version of its meshd.
    pub version: Option<String>,
    /// Set where the machine's facts changed since it joined.
    #[serde(default)]
    pub moved: bool,
    /// Whether it relays packets between other nodes of its network.
    #[serde(default)]
    pub relay: bool,
    /// Its part of the pods' prefixes.
    #[serde(default)]
    pub pods: Vec<String>,
    /// Prefixes granted to it: other programs' routes through it count inside them.
    #[serde(default)]
    pub granted: Vec<String>,
    /// What Kubernetes gave its pods, where that is not signed yet.
    #[serde(default)]
    pub pods_told: Vec<String>,
}

/// An admin act on a node: `POST .../nodes/{name}/approve|remove|rename|replace`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeAct {
    /// New name, for `rename`.
    #[serde(default)]
    pub name: Option<String>,
    /// Act statement (delegation for `replace`), where the root key is kept elsewhere.
    #[serde(default)]
    pub statement: Option<Base64Bytes>,
}

/// `POST /v1/admin/networks/{name}/nodes/{name or id}/relay`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeRelay {
    /// Whether the node relays packets between other nodes of its network from now on.
    pub on: bool,
    /// Act statement, where the root key is kept elsewhere.
    #[serde(default)]
    pub statement: Option<Base64Bytes>,
}

/// `POST /v1/admin/networks/{name}/names/free`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NameFree {
    /// The blocked name.
    pub name: String,
    /// Act statement, where the root key is kept elsewhere.
    #[serde(default)]
    pub statement: Option<Base64Bytes>,
}

/// `POST /v1/admin/networks/{name}/gateways`: makes a node a gateway for a range, or changes what it is for it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GatewayAdd {
    /// The node's name or id.
    pub node: String,
    /// The range behind it, e.g. `192.168.50.0/24`; `0.0.0.0/0` or `::/0` for an exit node.
    pub range: String,
    /// The prefix of the same length under which the network knows the range, where that is another.
    #[serde(default)]
    pub published: Option<String>,
    /// Whether hosts in the range see the gateway's address instead of the sender's.
    pub nat: bool,
    /// Of several gateways for one range the one with the lowest number is used first.
    pub priority: u32,
    /// Names or ids of the nodes that may use it.
    #[serde(default)]
    pub to_nodes: Vec<String>,
    /// Tags of the nodes that may use it. Where neither nodes nor tags are named, everybody may.
    #[serde(default)]
    pub to_tags: Vec<String>,
    /// Where it is set only pods with these labels may use it, on those nodes: a label selector, e.g. `app=web,tier in (a,b)`.
    #[serde(default)]
    pub pods: Option<String>,
    /// Hosts in the range that have names, each as `printer=192.168.50.9`; at most 16.
    #[serde(default)]
    pub names: Vec<String>,
    /// Whether everything is meant where `range` is everything.
    #[serde(default)]
    pub exit: bool,
    /// Act statement, where the root key is kept elsewhere.
    #[serde(default)]
    pub statement: Option<Base64Bytes>,
}

/// `POST /v1/admin/networks/{name}/gateways/remove`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GatewayRemove {
    /// The node's name or id.
    pub node: String,
    /// The range behind it.
    pub range: String,
    /// Act statement, where the root key is kept elsewhere.
    #[serde(default)]
    pub statement: Option<Base64Bytes>,
}

/// A gateway as an admin sees it (`GET /v1/admin/networks/{name}/gateways`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GatewayInfo {
    /// The node's name.
    pub node: String,
    /// The node's id, 32 hex digits.
    pub id: String,
    /// The range behind it.
    pub range: String,
    /// The prefix under which the network knows the range.
    pub published: String,
    /// Whether hosts in the range see the gateway's address.
    pub nat: bool,
    /// Lower ones first.
    pub priority: u32,
    /// Names of the nodes that may use it.
    pub to_nodes: Vec<String>,
    /// Tags of the nodes that may use it; everybody may where both are empty.
    pub to_tags: Vec<String>,
    /// Hosts in the range that have names, with their own addresses: `printer=192.168.50.9`.
    #[serde(default)]
    pub names: Vec<String>,
    /// The label selector of the pods that alone may use it.
    #[serde(default)]
    pub pods: Option<String>,
    /// Whether the node is connected to the coordinator now.
    pub connected: bool,
}

/// `POST /v1/admin/relays`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RelayCreate {
    /// What people call it: letters, digits and hyphens.
    pub name: String,
}

/// A relay was made; the word is shown this once.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RelayCreated {
    /// Relay id, 16 hex digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The relay word, for `meshrelay run --relay-for`. A secret.
    pub word: String,
}

/// A relay.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RelayInfo {
    /// Relay id, 16 hex digits.
    pub id: String,
    /// Its name; the coordinator's own is called `coordinator`.
    pub name: String,
    /// Whether it is in touch with the coordinator now.
    pub connected: bool,
    /// Where it takes UDP, `host:port`; empty where it never came.
    pub udp: Vec<String>,
    /// Where it takes TLS.
    pub tls: Vec<String>,
}
