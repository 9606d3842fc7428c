//! Routes of other programs: written by hand here, with every form that the kernel knows; whoever writes them, what counts is the
//! same (docs/security.md).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use meshd_tests::beside::bridged_pod;
use meshd_tests::mesh::Node;
use meshd_tests::pods::Pod;
use meshd_tests::{Nat, Snapshot, eventually, figure, keeps};

use crate::bed::{self, Bed, NET, SOON};

/// From a route's appearance in the kernel to the first packet by it.
const ADOPTED: Duration = Duration::from_secs(1);
/// What all pods have.
const PODS: &str = "10.244.0.0/16";

/// Nodes a, b and c apart, each with a pod 10.244.N.5 on a bridge that meshd knows nothing of.
struct Beside {
    pods: Vec<(Pod, IpAddr)>,
    bed: Bed,
}

impl Beside {
    fn new() -> Self {
        let bed = bed::apart(&[("a", Nat::Open), ("b", Nat::PortRestricted), ("c", Nat::FullCone)]);
        let pods = (1..)
            .zip(&bed.nodes)
            .map(|(n, node)| bridged_pod(node, &format!("10.244.{n}"), 1408))
            .collect();
        Self { pods, bed }
    }

    fn node(&self, n: usize) -> &Node {
        &self.bed.nodes[n]
    }

    fn pod(&self, n: usize) -> &Pod {
        &self.pods[n].0
    }

    fn ip(&self, n: usize) -> IpAddr {
        self.pods[n].1
    }

    fn mesh(&self, n: usize) -> IpAddr {
        self.node(n).ipv4(NET)
    }

    /// `ip route VERB ...` on the node.
    fn route(&self, n: usize, words: &str) {
        let words: Vec<&str> = words.split_whitespace().collect();
        self.node(n)
            .machine()
            .run(&[&["ip", "route"][..], &words].concat());
    }

    fn admin(&self, words: &str) -> String {
        self.bed.relay.ctl(&words.split_whitespace().collect::<Vec<_>>())
    }

    #[track_caller]
    fn talks(&self, from: usize, to: usize) {
        eventually(SOON, &format!("pod {from} reaches pod {to}"), || {
            self.pod(from).pings(self.ip(to)).then_some(())
        });
    }

    #[track_caller]
    fn is_silent(&self, from: usize, to: usize) {
        eventually(SOON, &format!("pod {from} no longer reaches pod {to}"), || {
            (!self.pod(from).pings(self.ip(to))).then_some(())
        });
    }

    /// Waits until a warning of the node has all of these words.
    #[track_caller]
    fn warns(&self, n: usize, words: &[&str]) {
        eventually(SOON, &format!("the status says {words:?}"), || {
            let warnings = self.node(n).network(NET)?["warnings"].to_string();
            words.iter().all(|word| warnings.contains(word)).then_some(())
        });
    }
}

#[test]
fn a_route_counts_inside_a_grant_as_long_as_both_are_there() {
    let beside = Beside::new();
    let (a, b) = (beside.mesh(0), beside.mesh(1));
    beside.route(0, &format!("add 10.244.2.0/24 via {b} dev meshd0"));
    beside.route(1, &format!("add 10.244.1.0/24 via {a} dev meshd0"));
    beside.warns(
        0,
        &[
            "10.244.2.0/24 through",
            "meshctl node grant b --routes 10.244.2.0/24",
        ],
    );
    assert!(!beside.pod(0).pings(beside.ip(1)), "nobody granted it");

    beside.admin("node grant --all --routes 10.244.0.0/16");
    assert!(beside.admin("node show b").contains(PODS));
    beside.talks(0, 1);
    beside.talks(1, 0);

    // gone with the route, and back with it, in a second
    beside.route(0, "del 10.244.2.0/24");
    beside.is_silent(0, 1);
    beside.route(0, &format!("add 10.244.2.0/24 via {b} dev meshd0"));
    let begin = Instant::now();
    beside.talks(0, 1);
    let took = begin.elapsed();
    figure(
        "another program's route: until packets go by it",
        format!("{} ms", took.as_millis()),
        "1 s",
    );
    assert!(keeps(took, ADOPTED), "{took:?}");

    beside.admin("node revoke-grant --all --routes 10.244.0.0/16");
    beside.is_silent(0, 1);
    beside.warns(0, &["meshctl node grant b --routes 10.244.2.0/24"]);
}

#[test]
fn onlink_multipath_next_hop_objects_and_ipv6_are_routes_too() {
    let beside = Beside::new();
    let (a, b, c) = (beside.mesh(0), beside.mesh(1), beside.mesh(2));
    beside.admin("node grant --all --routes 10.244.0.0/16 --routes fd44::/48");
    beside.route(1, &format!("add 10.244.1.0/24 via {a} dev meshd0 onlink"));
    beside.route(
        0,
        &format!("add 10.244.2.0/24 nexthop via {b} dev meshd0 nexthop via {c} dev meshd0"),
    );
    beside.talks(0, 1);
    beside.route(0, &format!("replace 10.244.2.0/24 via {c} dev meshd0"));
    beside.is_silent(0, 1);
    let machine = beside.node(0).machine();
    machine.run(&["ip", "route", "del", "10.244.2.0/24"]);
    machine.sh(&format!(
        "ip nexthop add id 7 via {b} dev meshd0; ip route add 10.244.2.0/24 nhid 7"
    ));
    beside.talks(0, 1);
    machine.sh(&format!("ip nexthop replace id 7 via {c} dev meshd0"));
    beside.is_silent(0, 1);
    machine.sh(&format!("ip nexthop replace id 7 via {b} dev meshd0"));
    beside.talks(0, 1);
    machine.sh("ip nexthop del id 7");
    beside.is_silent(0, 1);
    let b6 = beside.node(1).ipv6(NET);
    machine.run(&[
        "ip",
        "route",
        "add",
        "10.244.2.0/24",
        "via",
        "inet6",
        &b6.to_string(),
        "dev",
        "meshd0",
    ]);
    beside.talks(0, 1);

    for (n, peer) in [(0, 1), (1, 0)] {
        let (own, other) = (n + 1, peer + 1);
        beside.node(n).machine().sh(&format!(
            "ip link add six type bridge; ip link set six up; ip addr add fd44:0:0:{own}::5/128 dev six nodad; \
             ip -6 route add fd44:0:0:{other}::/64 via {} dev meshd0 src fd44:0:0:{own}::5",
            beside.node(peer).ipv6(NET)
        ));
    }
    eventually(SOON, "IPv6 goes by its route", || {
        beside.node(0).pings6("fd44:0:0:2::5").then_some(())
    });
}

#[test]
fn a_member_with_the_same_grant_does_not_pass_for_another() {
    let beside = Beside::new();
    let (a, b, c) = (beside.mesh(0), beside.mesh(1), beside.mesh(2));
    beside.admin("node grant --all --routes 10.244.0.0/16");
    beside.route(0, &format!("add 10.244.2.0/24 via {b} dev meshd0"));
    beside.route(1, &format!("add 10.244.1.0/24 via {a} dev meshd0"));
    beside.route(2, &format!("add 10.244.1.0/24 via {a} dev meshd0"));
    beside.talks(0, 1);
    let drops = || {
        let network = beside.node(0).network(NET).unwrap_or_default();
        network["drops"]["source_not_allowed"].as_u64().unwrap_or(0)
    };
    let before = drops();
    // c takes an address of b's for its own, and writes to a's pod from there
    beside.node(2).machine().sh(&format!(
        "ip addr add 10.244.2.9/32 dev lo; ping -n -q -c5 -i0.2 -W1 -I 10.244.2.9 {} || true",
        beside.ip(0)
    ));
    eventually(SOON, "a drops what comes from there", || {
        (drops() >= before + 5).then_some(())
    });
    beside.talks(0, 1);

    // a route that would lead the tunnel into itself: around the peer's own LAN
    let lan = beside.bed.sites[1].v4(0) + "/24";
    beside.admin(&format!("node grant b --routes {lan}"));
    beside.route(0, &format!("add {lan} via {b} dev meshd0"));
    eventually(
        SOON,
        "the peer's LAN address is reached through the tunnel",
        || {
            beside
                .node(0)
                .machine()
                .succeeds(&["ping", "-n", "-q", "-c1", "-W1", &beside.bed.sites[1].v4(2)])
                .then_some(())
        },
    );
    beside.talks(0, 1);
    assert_ne!(
        beside.node(0).path_kind(NET, "c"),
        "none",
        "other peers are where they were: {c}"
    );
}

#[test]
fn nothing_is_left_of_grants_after_down() {
    let beside = Beside::new();
    let node = beside.node(0);
    let before = Snapshot::take(node.machine());
    beside.admin("node grant a --routes 10.244.0.0/16");
    beside.route(1, &format!("add 10.244.1.0/24 via {} dev meshd0", beside.mesh(0)));
    eventually(SOON, "the rules are there", || {
        let rules = node.machine().sh("nft list ruleset");
        rules.contains("10.244.0.0/16").then_some(())
    });
    beside.admin("node revoke-grant a --routes 10.244.0.0/16");
    eventually(SOON, "the machine is as it was", || {
        before
            .difference(&Snapshot::take(node.machine()))
            .is_empty()
            .then_some(())
    });
}
