//! The programs, driven as a person drives them: `meshrelay run`, `meshd run`, and `meshctl` typed beside them.
//!
//! meshd runs in the sandbox that its systemd unit describes ([`sandbox`]): the same capabilities, the same view of the
//! file system. What a test learns it learns from `meshctl ... --json`, from the hosts file and from packets.

mod node;
mod relay;
pub mod sandbox;

use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;

pub use node::Node;
pub use relay::Relay;

/// Where a program under test lies: `MESHD_LAB_BIN`, else beside the test's own binary.
pub fn program(name: &str) -> String {
    let folder = std::env::var_os("MESHD_LAB_BIN")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            let own = std::env::current_exe().expect("a running program has a path");
            let folder = own.parent().expect("in a folder");
            let folder = if folder.ends_with("deps") {
                folder.parent().expect("in target/")
            } else {
                folder
            };
            folder.to_owned()
        });
    folder.join(name).display().to_string()
}

/// What a `meshctl` run said, stdout and stderr, for a person.
pub fn words(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The JSON on stdout of a run that succeeded.
///
/// # Panics
/// If it failed, or did not print JSON.
#[track_caller]
pub fn json(what: &str, output: &Output) -> Value {
    assert!(output.status.success(), "{what} failed: {}", words(output));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{what}: {error}: {}", words(output)))
}
