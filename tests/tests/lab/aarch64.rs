//! An aarch64 node, cross-built and run by qemu's user-mode emulation, as one of a live mesh.

use std::path::Path;
use std::process::Command;

use meshd_tests::mesh::Node;
use meshd_tests::skip;

use crate::bed::{self, NET, SOON};

#[test]
fn a_node_of_another_architecture_is_a_node_like_any_other() {
    const NAME: &str = "a_node_of_another_architecture_is_a_node_like_any_other";
    let Some(folder) = std::env::var_os("MESHD_LAB_AARCH64") else {
        return skip(
            NAME,
            "no aarch64 binaries: packaging/cross-aarch64 builds them, ./test hands them over",
        );
    };
    if Command::new("qemu-aarch64-static")
        .arg("--version")
        .output()
        .is_err()
    {
        return skip(NAME, "qemu-user-static is not installed");
    }
    let mut bed = bed::together(&["amd"]);
    let machine = bed.sites[0].machine("arm", 9);
    let node = Node::start_emulated(&machine, &Path::new(&folder).join("meshd"));
    node.join(&bed.relay.token(NET, &[]));
    bed.nodes.push(node);
    bed.settle();
    bed.wait_for_paths("direct");
    assert!(bed.nodes[0].pings6("arm"), "by IPv6 too");
    let records = bed.relay.json(&["node", "list", "--network", NET]);
    assert!(records.to_string().contains("aarch64"), "{records:#}");
    bed.nodes[1].kill();
    bed.nodes[1].start_again();
    bed.nodes[0].reaches("arm", SOON);
}
