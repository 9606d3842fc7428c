//! One token, and every machine reaches every other by name.

use std::time::{Duration, Instant};

use meshd_tests::mesh::Node;
use meshd_tests::{Nat, UdpFlow, figure};

use crate::bed::{self, NET, SOON};

#[test]
fn three_machines_behind_different_nats_join_by_token_and_reach_one_another_by_name() {
    let bed = bed::apart(&[
        ("db1", Nat::PortRestricted),
        ("web", Nat::Symmetric),
        ("pi", Nat::CarrierFullCone),
    ]);
    for node in &bed.nodes {
        for peer in bed.nodes.iter().filter(|peer| peer.name() != node.name()) {
            let full = format!("{}.{NET}.mesh", peer.name());
            assert!(
                node.pings(peer.name()) && node.pings(&full),
                "{} -> {} by IPv4",
                node.name(),
                peer.name()
            );
            assert!(
                node.pings6(peer.name()) && node.pings6(&full),
                "{} -> {} by IPv6",
                node.name(),
                peer.name()
            );
        }
    }
    let status = bed.nodes[0].network(NET).expect("joined");
    assert_eq!(status["coordinator"], "connected");
    assert_eq!(status["peers"].as_array().map(Vec::len), Some(2), "{status:#}");
}

#[test]
fn a_site_with_ipv6_only_reaches_one_with_ipv4_only() {
    let mut bed = bed::empty();
    let (six, four) = (bed.world.v6_site(), bed.world.site(Nat::PortRestricted));
    bed.add(&six, "six", 2);
    bed.add(&four, "four", 2);
    bed.settle();
    assert_eq!(
        bed.nodes[0].path_kind(NET, "four"),
        "relay",
        "there is no other way between the two"
    );
}

#[test]
fn the_first_packet_passes_within_a_second_of_the_join_and_a_lan_is_direct_within_two() {
    let bed = bed::together(&["db1"]);
    let site = &bed.sites[0];
    let node = Node::start(&site.machine("late", 9));
    let token = bed.relay.token(NET, &[]);
    let begin = Instant::now();
    node.join(&token);
    let joined = begin.elapsed();
    let flow = UdpFlow::start(&node, &bed.nodes[0], bed.nodes[0].at(NET, 9000), 100);
    let direct = meshd_tests::timed(SOON, "a direct path", || {
        (node.path_kind(NET, "db1") == "direct").then_some(())
    })
    .1;
    let first = joined + flow.stop().first_arrival.expect("packets arrive");
    figure(
        "join to first packet through",
        format!("{} ms", first.as_millis()),
        "1,000 ms",
    );
    figure(
        "join to direct path on a LAN",
        format!("{} ms", (joined + direct).as_millis()),
        "2,000 ms",
    );
    assert!(first <= Duration::from_secs(1), "{first:?}");
    assert!(
        joined + direct <= Duration::from_secs(2),
        "{joined:?} + {direct:?}"
    );
}

#[test]
fn joining_again_costs_no_use_and_gives_the_same_node() {
    let mut bed = bed::empty();
    let site = bed.world.site(Nat::PortRestricted);
    let node = Node::start(&site.machine("db1", 2));
    let token = bed.relay.token(NET, &["--uses", "1"]);
    let (first, again) = (node.join(&token), node.join(&token));
    assert_eq!(
        (&first["ipv4"], &first["hostname"]),
        (&again["ipv4"], &again["hostname"])
    );
    let nodes = bed.relay.json(&["node", "list", "--network", NET]);
    assert_eq!(nodes.as_array().map(Vec::len), Some(1), "{nodes:#}");
    bed.nodes.push(node);
}
