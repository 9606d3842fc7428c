//! State that is truncated, garbled or cannot be written: a clear word, and never a lost identity or network.

use std::net::{TcpListener, UdpSocket};

use meshd_tests::mesh::{Node, words};
use meshd_tests::{Nat, eventually, poll};

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

/// Moves the state of a node that is off to a disk of its own, of 1 MiB.
fn on_a_small_disk(node: &Node) {
    node.machine().sh(
        "mkdir /run/state; cp -a /var/lib/meshd/. /run/state; mount -t tmpfs -o size=1m,mode=700 tmpfs /var/lib/meshd; \
         cp -a /run/state/. /var/lib/meshd",
    );
}

/// Leaves no room on the disk of the node's state; what was being written at the time may leave some.
fn fill_disk(node: &Node) {
    let fill = "dd if=/dev/zero of=/var/lib/meshd/filler bs=4k oflag=append conv=notrunc 2>/dev/null || true";
    node.machine().sh(fill);
}

#[test]
fn on_a_full_disk_traffic_goes_on_and_the_identity_stays() {
    let bed = bed::together(&["a", "b"]);
    let a = &bed.nodes[0];
    let before = a.network(NET).expect("joined");
    a.kill();
    on_a_small_disk(a);
    fill_disk(a);
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

#[test]
fn a_state_disk_that_became_read_only_is_a_warning_and_the_node_runs() {
    let bed = bed::together(&["a", "b"]);
    let a = &bed.nodes[0];
    let before = a.network(NET).expect("joined");
    a.kill();
    on_a_small_disk(a);
    a.machine().run(&["mount", "-o", "remount,ro", "/var/lib/meshd"]);
    a.start_again();
    a.reaches("b", SOON);
    let warnings = a.status().expect("it runs")["warnings"].to_string();
    assert!(warnings.contains("read-only"), "{warnings}");
    assert_eq!(a.network(NET).expect("still in")["ipv4"], before["ipv4"]);
    let left = a.try_ctl(&["leave", NET]);
    assert!(!left.status.success(), "what cannot be forgotten is not left");
    assert!(words(&left).contains("still in it"), "{}", words(&left));
    a.reaches("b", SOON);
}

#[test]
fn a_disk_that_fills_up_under_a_running_node_is_a_warning_until_there_is_room() {
    let mut bed = bed::together(&["a", "b"]);
    let a = &bed.nodes[0];
    a.kill();
    on_a_small_disk(a);
    a.start_again();
    a.reaches("b", SOON);
    let warnings = |bed: &bed::Bed| bed.nodes[0].status().map(|status| status["warnings"].to_string());
    assert_eq!(warnings(&bed).as_deref(), Some("[]"));
    fill_disk(a);
    let site = bed.world.site(Nat::PortRestricted);
    bed.add(&site, "c", 2);
    let mut names = ["c", "d"];
    eventually(SOON, "it warns", || {
        fill_disk(&bed.nodes[0]);
        bed.relay.ctl(&["node", "rename", names[0], names[1]]);
        names.swap(0, 1);
        poll(SOON / 5, || {
            warnings(&bed)?.contains("No space left").then_some(())
        })
    });
    bed.nodes[0].reaches(names[0], SOON);
    bed.nodes[0].machine().run(&["rm", "/var/lib/meshd/filler"]);
    eventually(SOON, "the map is kept after all", || {
        (warnings(&bed)? == "[]").then_some(())
    });
}

#[test]
fn who_is_killed_in_the_midst_of_leaving_has_left() {
    let bed = bed::together(&["a", "b"]);
    let a = &bed.nodes[0];
    // nobody answers: the leave waits for the coordinator
    bed.cloud.sh(
        "nft add table inet mute; nft add chain inet mute in '{ type filter hook input priority 0; }'; \
         nft add rule inet mute in tcp dport 443 drop",
    );
    std::thread::scope(|scope| {
        let leaving = scope.spawn(|| a.try_ctl(&["leave", NET]));
        eventually(SOON, "it leaves", || {
            let marks = a.machine().sh("ls /var/lib/meshd/networks/*/leaving || true");
            (!marks.is_empty()).then_some(())
        });
        a.kill();
        assert!(!leaving.join().expect("meshctl ran").status.success());
    });
    a.start_again();
    assert!(a.network(NET).is_none(), "it does not come back");
    bed.cloud.sh("nft delete table inet mute");
    eventually(SOON, "the coordinator hears of it", || {
        let nodes = bed.relay.json(&["node", "list", "--network", NET]);
        (nodes.as_array()?.len() == 1).then_some(())
    });
    a.join(&bed.relay.token(NET, &[]));
    a.reaches("b", SOON);
}

#[test]
fn ports_that_somebody_else_holds_are_a_warning_until_they_are_free() {
    let bed = bed::together(&["b"]);
    let machine = bed.sites[0].machine("a", 30);
    let held = machine.inside(|| {
        let udp = UdpSocket::bind("0.0.0.0:7440").expect("it is free");
        (udp, TcpListener::bind("0.0.0.0:7441").expect("it is free"))
    });
    let a = Node::start(&machine);
    a.join(&bed.relay.token(NET, &[]));
    let warnings = || Some(a.network(NET)?["warnings"].to_string());
    eventually(SOON, "it warns of both", || {
        let said = warnings()?;
        (said.contains("7440") && said.contains("7441")).then_some(())
    });
    a.reaches("b", SOON);
    drop(held);
    eventually(SOON, "both are held by meshd now", || {
        let said = warnings()?;
        (!said.contains("7440") && !said.contains("7441")).then_some(())
    });
}
