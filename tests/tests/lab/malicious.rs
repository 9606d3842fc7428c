//! A relay that was broken into, with the root key kept elsewhere: it adds no peer, changes no key, and is found out.

use meshd_tests::mesh::{Node, program};
use meshd_tests::{Nat, eventually};

use crate::bed::{self, Bed, NET, SOON};

/// Where the root key is; in life not on this host.
const KEY: [&str; 2] = ["--admin-key-file", "/var/lib/prod.key"];

fn mesh_with_its_root_key_elsewhere() -> Bed {
    let world = meshd_tests::World::new();
    let cloud = world.cloud();
    let relay = meshd_tests::mesh::Relay::start(&cloud);
    relay.ctl(&[&["network", "create", NET, "--cidr", bed::CIDR], &KEY[..]].concat());
    let site = world.site(Nat::PortRestricted);
    let mut bed = Bed {
        nodes: Vec::new(),
        relay,
        sites: vec![site.clone()],
        cloud,
        world,
    };
    for (name, host) in [("a", 2), ("b", 3)] {
        let node = Node::start(&site.machine(name, host));
        node.join(&bed.relay.token(NET, &KEY));
        bed.nodes.push(node);
    }
    bed.settle();
    bed
}

#[test]
fn a_broken_into_coordinator_adds_no_peer_and_changes_no_key_and_every_node_says_so() {
    let bed = mesh_with_its_root_key_elsewhere();
    bed.wait_for_paths("direct");
    let [a, b] = &bed.nodes[..] else {
        unreachable!("two nodes")
    };
    let keys = || {
        [(a, "b"), (b, "a")]
            .map(|(node, peer)| node.peer(NET, peer).map(|peer| peer["public_key"].to_string()))
    };
    let before = keys();
    bed.relay.ctl(&["backup", "/var/lib/loot"]);
    bed.relay.kill();
    let evil = bed.cloud.spawn(
        &[&program("evil-coordinator"), "/var/lib/loot", "0.0.0.0:443"],
        &[],
    );
    eventually(SOON, "the evil coordinator listens", || {
        evil.log().contains("ready").then_some(())
    });
    for node in [a, b] {
        let said = eventually(SOON, &format!("{} says what it was told", node.name()), || {
            let text = node.network(NET)?["warnings"].to_string();
            let all = ["42424242", "key", "shows no proof"];
            all.iter().all(|part| text.contains(part)).then_some(text)
        });
        println!("{} says: {said}", node.name());
        assert!(node.peer(NET, "evil").is_none(), "a peer was added");
        assert!(
            !node.machine().read("/etc/hosts").contains("evil"),
            "its name was written"
        );
    }
    assert_eq!(keys(), before, "a key was changed");
    a.reaches("b", SOON);
    b.reaches("a", SOON);
    assert_eq!(a.path_kind(NET, "b"), "direct", "traffic goes on");
}
