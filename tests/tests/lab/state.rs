//! State that is truncated, garbled or cannot be written: a clear word, and never a lost identity or network.

use meshd_tests::eventually;

use crate::bed::{self, NET, SOON};

/// Every file of meshd's state but those that are not one network's or the machine's key (sockets, locks).
fn state_files(bed: &bed::Bed) -> Vec<String> {
    let listed = bed.nodes[0]
        .machine()
        .sh("find /var/lib/meshd -type f ! -name '*.old' ! -name '*.copy' | sort");
    listed.lines().map(str::to_owned).collect()
}

fn each_file_is_spoilt_by(spoil: impl Fn(&str) -> String) {
    let bed = bed::together(&["a", "b"]);
    let a = &bed.nodes[0];
    let before = a.network(NET).expect("joined");
    let files = state_files(&bed);
    assert!(!files.is_empty(), "meshd keeps state");
    for file in files {
        a.kill();
        a.machine().sh(&spoil(&file));
        a.start_again();
        a.reaches("b", SOON);
        let after = a
            .network(NET)
            .unwrap_or_else(|| panic!("the network is lost with {file}"));
        for kept in ["ipv4", "ipv6", "public_key", "node", "hostname"] {
            assert_eq!(after[kept], before[kept], "{kept} after {file} was spoilt");
        }
    }
    let nodes = bed.relay.json(&["node", "list", "--network", NET]);
    assert_eq!(
        nodes.as_array().map(Vec::len),
        Some(2),
        "nobody joined anew: {nodes:#}"
    );
}

#[test]
fn each_state_file_truncated_costs_neither_identity_nor_network() {
    each_file_is_spoilt_by(|file| format!("truncate -s 7 '{file}'"));
}

#[test]
fn each_state_file_garbled_costs_neither_identity_nor_network() {
    each_file_is_spoilt_by(|file| format!("head -c 300 /dev/urandom > '{file}'"));
}

#[test]
fn on_a_full_disk_traffic_goes_on_and_the_identity_stays() {
    let bed = bed::together(&["a", "b"]);
    let a = &bed.nodes[0];
    let before = a.network(NET).expect("joined");
    a.kill();
    a.machine().sh(
        "mkdir /run/state; cp -a /var/lib/meshd/. /run/state; mount -t tmpfs -o size=1m,mode=700 tmpfs /var/lib/meshd; \
         cp -a /run/state/. /var/lib/meshd; dd if=/dev/zero of=/var/lib/meshd/filler bs=4k 2>/dev/null || true",
    );
    a.start_again();
    a.reaches("b", SOON);
    assert_eq!(a.network(NET).expect("still in")["ipv4"], before["ipv4"]);
    a.kill();
    a.machine().run(&["rm", "/var/lib/meshd/filler"]);
    a.start_again();
    a.reaches("b", SOON);
    eventually(SOON, "connected again", || {
        (a.network(NET)?["coordinator"] == "connected").then_some(())
    });
}
