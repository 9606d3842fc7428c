//! The answer where there is nothing else to say.

use serde::{Deserialize, Serialize};

/// Done; one sentence says what.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Done {
    /// For a person.
    pub message: String,
}
