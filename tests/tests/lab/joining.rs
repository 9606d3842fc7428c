//! One token, and every machine reaches every other by name.

use std::time::{Duration, Instant};

use meshd_tests::mesh::{Node, words};
use meshd_tests::{Nat, UdpFlow, eventually, figure, keeps};

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
    let first = joined + flow.arriving().stop().first_arrival.expect("packets arrive");
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
    assert!(keeps(first, Duration::from_secs(1)), "{first:?}");
    assert!(
        keeps(joined + direct, Duration::from_secs(2)),
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

#[test]
fn when_a_join_returns_the_names_are_written_and_an_admins_name_for_the_node_is_the_one_told() {
    let bed = bed::together(&["db1"]);
    let db1 = &bed.nodes[0];
    let token = bed.relay.token(NET, &[]);
    for host in 10..13 {
        let machine = bed.sites[0].machine(&format!("new{host}"), host);
        let node = Node::start(&machine);
        node.join(&token);
        assert!(
            machine.read("/etc/hosts").contains("db1.prod.mesh"),
            "the others' names are there at once"
        );
    }
    bed.relay.ctl(&["node", "rename", "db1", "db7", "--network", NET]);
    eventually(SOON, "db1 knows its name", || {
        (db1.network(NET)?["hostname"] == "db7").then_some(())
    });
    assert_eq!(db1.join(&token)["hostname"], "db7");
    let port = db1.network(NET).expect("joined")["listen_port"]
        .as_u64()
        .expect("a port");
    let other = (port + 1).to_string();
    let said = words(&db1.try_ctl(&["join", &token, "--listen-port", &other]));
    assert!(said.contains("already") && said.contains("leave"), "{said}");
    bed.relay.kill();
    let said = db1.ctl(&["leave", NET]);
    assert!(said.contains("meshctl node remove db7"), "{said}");
}

#[test]
fn two_joins_of_one_machine_at_once_are_one_node() {
    let bed = bed::empty();
    let node = Node::start(&bed.world.site(Nat::PortRestricted).machine("db1", 2));
    let token = bed.relay.token(NET, &["--uses", "1"]);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let joins: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| node.try_ctl(&["join", &token, "--json"])))
            .collect();
        joins.into_iter().map(|join| join.join().expect("ran")).collect()
    });
    for answer in &answers {
        assert!(answer.status.success(), "{}", words(answer));
        assert_eq!(answer.stdout, answers[0].stdout, "all get the same answer");
    }
    let nodes = bed.relay.json(&["node", "list", "--network", NET]);
    assert_eq!(nodes.as_array().map(Vec::len), Some(1), "{nodes:#}");
    let tokens = bed.relay.json(&["token", "list", "--network", NET]);
    assert_eq!(tokens[0]["used"], 1, "and cost one use");
}

#[test]
fn who_left_and_is_killed_in_the_next_moment_has_left() {
    let bed = bed::together(&["a", "b"]);
    let a = &bed.nodes[0];
    let token = bed.relay.token(NET, &[]);
    for _ in 0..5 {
        a.ctl(&["leave", NET]);
        a.kill();
        a.start_again();
        assert!(a.network(NET).is_none(), "it is not in it any more");
        a.join(&token);
        a.reaches("b", SOON);
    }
}
