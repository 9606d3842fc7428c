//! A coordinator that is restored from an old backup: who joined later comes back, who was removed does not.

use meshd_tests::{eventually, eventually_or_last};

use crate::bed::{self, NET, SOON};

/// The names of the nodes that the coordinator knows.
fn known(bed: &bed::Bed) -> Vec<String> {
    let nodes = bed.relay.json(&["node", "list", "--network", NET]);
    let names = nodes
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|node| node["name"].as_str().map(str::to_owned));
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn after_a_restore_later_joiners_are_back_and_later_removals_stay_removed() {
    let mut bed = bed::together(&["a", "b", "removed"]);
    bed.relay.ctl(&["backup", "/var/lib/old-backup"]);
    let site = bed.sites[0].clone();
    bed.add(&site, "later", 20);
    bed.relay.ctl(&["node", "remove", "removed", "--network", NET]);
    let gone = bed.nodes.remove(2);
    eventually(SOON, "a knows both", || {
        let peers = bed.nodes[0].network(NET)?["peers"].to_string();
        (peers.contains("\"later\"") && !peers.contains("\"removed\"")).then_some(())
    });

    bed.relay.kill();
    bed.cloud.sh("rm -rf /var/lib/meshrelay/*");
    bed.relay.start_again();
    bed.relay.ctl(&["restore", "/var/lib/old-backup"]);
    bed.relay.start_again();

    let back = eventually_or_last(SOON * 2, || known(&bed), |names| *names == ["a", "b", "later"]);
    assert_eq!(
        back,
        ["a", "b", "later"],
        "who the coordinator knows:\n{}",
        bed.relay.ctl(&["node", "list", "--network", NET])
    );
    for node in &bed.nodes {
        eventually(SOON, "connected again", || {
            (node.network(NET)?["coordinator"] == "connected").then_some(())
        });
    }
    bed.settle();
    assert!(
        !gone.pings(&bed.nodes[0].ipv4(NET).to_string()),
        "a removed node is not let in by an old backup"
    );
    let fresh = bed.world.site(meshd_tests::Nat::FullCone);
    bed.add(&fresh, "fresh", 2);
    bed.settle();
}
