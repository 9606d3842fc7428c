//! The body of every error answer.

use crate::Base64Bytes;
use serde::{Deserialize, Serialize};

/// What went wrong: a stable code for programs and one sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[error("{message}")]
pub struct Problem {
    /// Stable, lower case with hyphens, e.g. `token-expired`.
    pub code: String,
    /// One sentence: what was wrong, where, and what to do.
    pub message: String,
    /// What proves it to whoever must not take the other side's word: with `node-removed` the map entries that put the node
    /// out, CBOR `[entry, ...]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Base64Bytes>,
}

impl Problem {
    /// A problem with this code and sentence.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            proof: None,
        }
    }
}
