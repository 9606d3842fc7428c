//! No right clock is needed: a board without a battery boots in 1970, a broken one in 2040.

use std::path::Path;
use std::time::Duration;

use meshd_tests::mesh::Node;
use meshd_tests::{figure, skip};

use crate::bed::{self, NET, SOON};

/// The library that shifts a program's clock, where Debian puts it.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// Time after the start of meshd until a ping is answered.
const BAR: Duration = Duration::from_secs(2);

fn start_at(node: &Node, when: &str) -> Node {
    node.kill();
    // the monotonic clock is not what a missing battery breaks
    let shifted = [
        ("LD_PRELOAD", LIBRARY),
        ("FAKETIME", when),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    Node::start_with(node.machine(), &[], &shifted)
}

#[test]
fn a_machine_that_boots_in_1970_or_2040_has_traffic_in_two_seconds() {
    if !Path::new(LIBRARY).exists() {
        return skip(
            "a_machine_that_boots_in_1970_or_2040_has_traffic_in_two_seconds",
            "libfaketime is not installed",
        );
    }
    let bed = bed::together(&["a", "b"]);
    let [a, b] = &bed.nodes[..] else {
        unreachable!("two nodes")
    };
    let mut shifted = Vec::new();
    for when in [
        "@2040-06-01 12:00:00",
        "@1970-01-01 00:00:20",
        "@2040-06-01 12:00:00",
    ] {
        shifted.clear();
        let node = start_at(a, when);
        let there = node.reaches("b", SOON);
        let back = b.reaches("a", SOON);
        figure(
            &format!("traffic after a start at {when}"),
            format!("{} ms", there.max(back).as_millis()),
            "2,000 ms",
        );
        assert!(there.max(back) <= BAR, "{when}: {there:?} {back:?}");
        shifted.push(node);
    }
}

#[test]
fn a_machine_whose_clock_says_1970_can_join() {
    if !Path::new(LIBRARY).exists() {
        return skip(
            "a_machine_whose_clock_says_1970_can_join",
            "libfaketime is not installed",
        );
    }
    let mut bed = bed::together(&["a"]);
    let fresh = Node::start(&bed.sites[0].machine("pi", 9));
    let pi = start_at(&fresh, "@1970-01-01 00:00:20");
    pi.join(&bed.relay.token(NET, &["--expires", "7d"]));
    pi.reaches("a", SOON);
    bed.nodes.push(pi);
}
