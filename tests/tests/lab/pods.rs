//! Pods over the mesh: namespaces on nodes, connected by the CNI plugin, reach one another through NATs.

use std::net::{IpAddr, SocketAddr};

use meshd_tests::pods::Pod;
use meshd_tests::{Nat, eventually};

use crate::bed::{self, Bed, NET, SOON};

/// Bytes of a TCP stream.
const STREAM: u64 = 1 << 20;

/// Two nodes behind NATs, in a network whose pods have prefixes.
fn two_nodes() -> Bed {
    let bed = bed::apart(&[("a", Nat::PortRestricted), ("b", Nat::Symmetric)]);
    give_prefixes(&bed);
    bed
}

/// Gives the network's pods prefixes, and waits until each node knows its part.
fn give_prefixes(bed: &Bed) {
    bed.relay.ctl(&[
        "network",
        "pods",
        NET,
        "--pod-cidr",
        "10.42.0.0/16",
        "--service-cidr",
        "10.43.0.0/16",
    ]);
    for node in &bed.nodes {
        eventually(SOON, "it has a part of the pods' prefix", || {
            node.network(NET)?["pods"]["cidr"].as_str().map(str::to_owned)
        });
    }
}

fn at(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

#[test]
fn pods_on_two_nodes_reach_each_other_through_nats_by_both_ip_versions() {
    let bed = two_nodes();
    let (first, first_ips) = Pod::added(&bed.nodes[0], "first");
    let (second, second_ips) = Pod::added(&bed.nodes[1], "second");
    assert_eq!((first_ips.len(), second_ips.len()), (2, 2), "IPv4 and IPv6");
    for to in &second_ips {
        eventually(SOON, "a pod answers", || first.pings(*to).then_some(()));
    }
    for to in &first_ips {
        eventually(SOON, "and back", || second.pings(*to).then_some(()));
    }
    for (port, to) in (8000..).zip(&second_ips) {
        let flow = first.streams_to(&second, at(*to, port), 0);
        eventually(SOON, "the stream arrives", || {
            (flow.received() > STREAM).then_some(())
        });
        let report = flow.stop();
        assert!(report.broken.is_none(), "{to}: {report:?}");
    }
    let node = bed.nodes[1].ipv4(NET);
    assert!(first.pings(node), "pods reach nodes");
    assert!(
        bed.nodes[0].pings(&second_ips[0].to_string()),
        "and nodes reach pods"
    );
}
