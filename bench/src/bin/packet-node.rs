//! meshd's packet path alone, for another architecture: the daemon's very files and `static-node`'s, without the rest of the daemon, which
//! takes ten times as long to cross-build. See `static-node` for its arguments; `bench/arm` measures it.

extern crate self as meshd;

#[path = "../../../daemon/src/dataplane/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "the daemon uses all of it")]
pub mod dataplane;
#[path = "../../../tests/src/bin/static-node.rs"]
mod static_node;

fn main() -> anyhow::Result<()> {
    static_node::main()
}
