//! Prefixes in which routes of other programs count.

use crate::Base64Bytes;
use serde::{Deserialize, Serialize};

/// `POST /v1/admin/networks/{name}/grants`: routes of other programs inside a prefix may lead through a node, the nodes with a
/// tag, or, where neither is named, every node; or they no longer may.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GrantSet {
    /// The node's name or id.
    #[serde(default)]
    pub node: Option<String>,
    /// The tag.
    #[serde(default)]
    pub tag: Option<String>,
    /// The prefix, e.g. `10.244.0.0/16`.
    pub prefix: String,
    /// Whether from now on they may.
    pub on: bool,
    /// Act statement, where the root key is kept elsewhere.
    #[serde(default)]
    pub statement: Option<Base64Bytes>,
}
