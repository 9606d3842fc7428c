//! What tests of clusters begin with.

use std::time::Duration;

use meshd_tests::k8s::Parts;
use meshd_tests::skip;

/// For what a cluster does by itself, on a busy computer.
pub const LONG: Duration = Duration::from_secs(180);
/// The port of every pod that answers.
pub const WEB: u16 = 8080;

/// Real Kubernetes, or `None` where this computer cannot have it, which is said.
pub fn parts(test: &str) -> Option<Parts> {
    Parts::find().map_err(|why| skip(test, &why)).ok()
}
