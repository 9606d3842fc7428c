//! What the bytes in the tables are: keys as fixed-size ids one after the other, values as JSON, statements verbatim.
//!
//! Fields may be added with a default; none is renamed or removed within one schema version.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use meshd_api::Base64Bytes;
use meshd_core::id::{NetworkId, NodeId, TokenId};
use meshd_core::keys::blake2s;
use meshd_core::statement::{Act, Deed, Grant, Grantee};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// The present version of the format, in [`super::Table::Meta`] under [`SCHEMA`].
pub const SCHEMA_VERSION: u32 = 1;
/// Key in the meta table: format version, u32 little endian.
pub const SCHEMA: &[u8] = b"schema";
/// Key in the meta table: seed of the coordinator's identity key.
pub const COORDINATOR_SEED: &[u8] = b"coordinator-seed";
/// Key in the meta table: relay id.
pub const RELAY_ID: &[u8] = b"relay-id";
/// Key in the meta table: the secret that makes bind keys.
pub const RELAY_SECRET: &[u8] = b"relay-secret";

/// A secret in a row; wiped on drop, redacted.
#[derive(Clone, Serialize, Deserialize)]
pub struct SecretBytes(Base64Bytes);

impl SecretBytes {
    /// A copy of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The bytes as a value, if they are its JSON.
    pub fn decode<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(self.0.as_ref()).ok()
    }

    /// The bytes as a seed; none where they are not 32.
    pub fn seed(&self) -> Option<zeroize::Zeroizing<[u8; 32]>> {
        <[u8; 32]>::try_from(self.0.as_ref())
            .ok()
            .map(zeroize::Zeroizing::new)
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.0.0.zeroize();
    }
}

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretBytes(redacted)")
    }
}

/// A network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NetworkRow {
    /// Parameters statement.
    pub params: Base64Bytes,
    /// Seed of the root key; absent where it is kept elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_seed: Option<SecretBytes>,
    /// Epoch of its map.
    pub epoch: u32,
    /// Version of its map.
    pub version: u64,
    /// Highest serial of a root-signed statement.
    pub last_serial: u64,
}

/// A token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenRow {
    /// Delegation statement.
    pub delegation: Base64Bytes,
    /// Joins so far.
    pub used: u32,
}

/// A node that joined.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeRow {
    /// Enrolment statement.
    pub enrolment: Base64Bytes,
    /// Record statement, once it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Base64Bytes>,
    /// Allotted host name.
    pub name: String,
    /// Allotted IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Allotted IPv6 address.
    pub ipv6: Ipv6Addr,
    /// Hashed facts of its machine.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
    /// Whether the machine changed since it joined.
    #[serde(default)]
    pub moved: bool,
    /// Unix time in s of its join.
    pub joined: u64,
}

/// A name that nobody may take for a while.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BlockRow {
    /// Whose it was.
    pub node: String,
    /// Unix time in s until when.
    pub until: u64,
}

/// An answer that was given to a write with an idempotency key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AnswerRow {
    /// Unix time in s when.
    pub at: u64,
    /// Hash of the request, so that the key is not taken for another one.
    pub request: Base64Bytes,
    /// HTTP status.
    pub status: u16,
    /// Body. It may hold a join token.
    pub body: SecretBytes,
}

/// Key of a token.
pub fn token_key(network: &NetworkId, token: &TokenId) -> Vec<u8> {
    [&network.as_bytes()[..], token.as_bytes()].concat()
}

/// Key of a node, and of its departure.
pub fn node_key(network: &NetworkId, node: &NodeId) -> Vec<u8> {
    [&network.as_bytes()[..], node.as_bytes()].concat()
}

/// Key of an act: the thing that it is about, so that a newer act on it takes its place (docs/wire.md section 2).
pub fn act_key(act: &Act, bytes: &[u8]) -> Vec<u8> {
    let hash = blake2s(&[bytes]);
    let range =
        |node: &NodeId, range: &ipnet::IpNet| [node.as_bytes(), range.to_string().as_bytes()].concat();
    let range_or_grant = match &act.deed {
        Deed::Gateway { node, terms } => range(node, &terms.range),
        Deed::WithdrawGateway {
            node,
            range: withdrawn,
        } => range(node, withdrawn),
        Deed::Grant { grant, .. } => grant_key(grant),
        _ => Vec::new(),
    };
    let (kind, about): (u8, &[u8]) = match &act.deed {
        Deed::Remove { node, .. } => (1, node.as_bytes()),
        Deed::Approve { node } => (APPROVE, node.as_bytes()),
        Deed::Rename { node, .. } => (RENAME, node.as_bytes()),
        Deed::FreeName { name } => (4, name.as_bytes()),
        Deed::RevokeToken { token } => (5, token.as_bytes()),
        Deed::RevokeTokenAndNodes { token } => (6, token.as_bytes()),
        Deed::Gateway { .. } | Deed::WithdrawGateway { .. } => (7, &range_or_grant),
        Deed::Relay { node, .. } => (RELAY, node.as_bytes()),
        Deed::PodNetwork { .. } => (9, &[]),
        Deed::PodPrefixes { node, .. } => (POD_PREFIXES, node.as_bytes()),
        Deed::Grant { .. } => (11, &range_or_grant),
        Deed::Endpoint { name, .. } | Deed::WithdrawEndpoint { name } => (13, name.as_bytes()),
        Deed::Expose { name, .. } | Deed::WithdrawExpose { name } => (24, name.as_bytes()),
        Deed::Ingress { name, .. } | Deed::WithdrawIngress { name } => (26, name.as_bytes()),
        Deed::Unknown { .. } => (0, &hash),
    };
    [act.network.as_bytes(), &[kind][..], about].concat()
}

/// Whom and what a grant is about: text ends at a zero byte, which no tag has.
fn grant_key(grant: &Grant) -> Vec<u8> {
    let to: (u8, &[u8]) = match &grant.to {
        Grantee::Everybody => (0, &[]),
        Grantee::Tag(tag) => (1, tag.as_bytes()),
        Grantee::Node(node) => (2, node.as_bytes()),
    };
    [&[to.0][..], to.1, &[0], grant.prefix.to_string().as_bytes()].concat()
}

/// Keys of the acts that mean nothing once a node is out.
pub fn act_keys_about(network: &NetworkId, node: &NodeId) -> [Vec<u8>; 4] {
    [APPROVE, RENAME, RELAY, POD_PREFIXES]
        .map(|kind| [network.as_bytes(), &[kind][..], node.as_bytes()].concat())
}

const APPROVE: u8 = 2;
const RENAME: u8 = 3;
const RELAY: u8 = 20;
const POD_PREFIXES: u8 = 10;

/// Key of a blocked name.
pub fn block_key(network: &NetworkId, name: &str) -> Vec<u8> {
    [&network.as_bytes()[..], name.as_bytes()].concat()
}

/// The network of a row whose key starts with it, and the rest of the key.
pub fn split_key(key: &[u8]) -> Option<(NetworkId, &[u8])> {
    let (network, rest) = key.split_first_chunk::<16>()?;
    Some(((*network).into(), rest))
}

/// A row as bytes.
pub fn encode<T: Serialize>(row: &T) -> Vec<u8> {
    // rows are plain structs with string keys, which always serialise
    serde_json::to_vec(row).unwrap_or_default()
}

/// A row from bytes; the error says what does not fit.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}
