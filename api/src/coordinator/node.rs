//! What nodes and the coordinator say to each other.
//!
//! Requests of a node carry `Authorization: Meshd network=HEX,node=HEX,sig=BASE64`, the signature by its
//! identity key over a text bound to the TLS session.

use crate::Base64Bytes;
use crate::local::Membership;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// `POST /v1/join`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JoinRequest {
    /// Enrolment statement, signed by the token's join key.
    pub enrolment: Base64Bytes,
    /// Wanted host name.
    pub hostname: String,
    /// Wanted IPv4 address.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub ip: Option<Ipv4Addr>,
    /// IPv4 prefixes that the machine has: it gets no address from these unless it asks for one; at most 64.
    #[serde(default)]
    pub avoid: Vec<String>,
    /// Wanted UDP port.
    #[serde(default)]
    pub listen_port: Option<u16>,
    /// Hashed facts of the machine by name (e.g. `machine-id`), for telling clones from moves.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
}

/// `POST /v1/join/preview` (body [`JoinRequest`]): what the token's network is, or why the token admits nobody; allots
/// nothing and costs no use.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JoinPreview {
    /// The network's name.
    pub network: String,
    /// IPv4 prefix.
    pub cidr: String,
    /// IPv6 prefix.
    pub cidr6: String,
    /// Whether the token is one for VM templates.
    #[serde(default)]
    pub template: bool,
}

/// Answer to a join: what was allotted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JoinReply {
    /// In, or waiting for approval.
    pub state: Membership,
    /// The node id in force (the one held, where this identity joined before), 32 hex digits.
    pub node: String,
    /// Parameters statement, signed by the root. Absent while approval is pending.
    pub params: Option<Base64Bytes>,
    /// The network's name.
    pub network: String,
    /// Delegation statement of the token, signed by the root.
    pub delegation: Base64Bytes,
    /// Allotted host name.
    pub hostname: String,
    /// Allotted IPv4 address.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub ipv4: Ipv4Addr,
    /// Allotted IPv6 address.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub ipv6: Ipv6Addr,
    /// UDP port that the token fixes.
    pub listen_port: Option<u16>,
}

/// `PUT /v1/networks/{id}/record`: the node's signed record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecordUpdate {
    /// Record statement, signed by the identity.
    pub record: Base64Bytes,
    /// Hashed facts of the machine.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
}

/// `POST /v1/networks/{id}/leave`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Leave {
    /// Departure statement, signed by the identity.
    pub departure: Base64Bytes,
    /// Hashed facts of the machine: a clone does not leave in the name of its original.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
}

/// `POST /v1/networks/{id}/statements`: map entries that the sender holds and the coordinator lacks (after a restore).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Entries {
    /// Map entries, each verified against the network's root.
    pub entries: Vec<Base64Bytes>,
}

/// `POST /v1/networks/{id}/parts`: a control plane tells which parts of the pods' prefixes Kubernetes gave nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Parts {
    /// One for each node; at most 1,024 count.
    pub parts: Vec<NodePart>,
}

/// What Kubernetes gave a node (`Node.spec.podCIDRs`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodePart {
    /// The node's id in the network, 32 hex digits.
    pub node: String,
    /// IPv4 prefix of its pods.
    pub cidr: String,
    /// IPv6 prefix of its pods.
    #[serde(default)]
    pub cidr6: Option<String>,
}

/// Answer to [`Parts`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PartsTaken {
    /// How many were news and are taken: signed, or to be signed by an admin where the root key is kept elsewhere.
    pub taken: usize,
    /// Why others are not, a sentence each.
    pub refused: Vec<String>,
}

/// `POST /v1/networks/{id}/pong`: alive.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pong {
    /// The nonce of the ping line.
    pub nonce: u64,
}

/// One line of the map stream (`GET /v1/networks/{id}/map?epoch=E&version=V&facts=F`, `application/x-ndjson`); `E` and `V`
/// say which map the node holds, `F` is its machine's hashed facts, `name:value` with commas between.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StreamLine {
    /// First line.
    Hello {
        /// Relays that this node may bind to.
        relays: Vec<Relay>,
        /// The stream says something at least this often, in seconds; twice as long in silence means it is dead.
        ping_seconds: u16,
        /// Coordinator identity keys in force beside the pinned one (hex), for rotation.
        #[serde(default)]
        coordinators: Vec<String>,
    },
    /// The whole map.
    Full {
        /// CBOR `[header, [entry, ...]]`.
        map: Base64Bytes,
    },
    /// What changed.
    Delta {
        /// The version that it applies to.
        from_version: u64,
        /// New header statement.
        header: Base64Bytes,
        /// Entries added.
        add: Vec<Base64Bytes>,
        /// Keys of entries dropped.
        drop: Vec<Base64Bytes>,
    },
    /// Are you there? Answer with [`Pong`] where `answer` says so.
    Ping {
        /// To be echoed.
        nonce: u64,
        /// Whether a pong is wanted.
        #[serde(default)]
        answer: bool,
    },
    /// Something that this node's person should know.
    Notice {
        /// Stable code, e.g. `moved`, `clone`, `removed`, `approved`.
        code: String,
        /// One sentence.
        message: String,
    },
}

/// A relay and the right to bind to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Relay {
    /// Relay id, 16 hex digits.
    pub id: String,
    /// UDP addresses, `host:port`: those with the first one's port take frames, all answer STUN.
    pub udp: Vec<String>,
    /// TCP addresses, `host:port`, of the same relay over TLS (`GET /v1/relay`), for where UDP is blocked.
    #[serde(default)]
    pub tls: Vec<String>,
    /// The identity key that its TLS certificate is issued by, 64 hex digits; the coordinator's own where empty.
    #[serde(default)]
    pub identity: String,
    /// This node's bind key, 32 bytes. A secret.
    pub bind_key: Base64Bytes,
}
