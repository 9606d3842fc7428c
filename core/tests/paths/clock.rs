//! Where the virtual clock starts.

use std::time::Instant;

/// Any instant; nothing depends on which.
#[allow(clippy::disallowed_methods)]
pub fn start() -> Instant {
    Instant::now()
}
