//! What a node finds between itself and the internet, and what it says of its paths.

use serde_json::Value;

use meshd_tests::mesh::{Node, Relay};
use meshd_tests::{Nat, World, eventually, poll};

use crate::bed::{self, CIDR, NET, SOON};

/// Mapping, filtering and allocation that `netcheck` must name with a relay of two addresses.
const EXPECTED: [(Nat, &str, &str, &str); 9] = [
    (Nat::Open, "none", "endpoint-independent", "preserving"),
    (Nat::Firewall, "none", "address-and-port-dependent", "preserving"),
    (
        Nat::FullCone,
        "endpoint-independent",
        "endpoint-independent",
        "preserving",
    ),
    (
        Nat::AddressRestricted,
        "endpoint-independent",
        "address-dependent",
        "preserving",
    ),
    (
        Nat::PortRestricted,
        "endpoint-independent",
        "address-and-port-dependent",
        "preserving",
    ),
    (
        Nat::PlainLinux,
        "endpoint-independent",
        "address-and-port-dependent",
        "preserving",
    ),
    (
        Nat::Symmetric,
        "address-and-port-dependent",
        "address-and-port-dependent",
        "random",
    ),
    (
        Nat::SymmetricSequential,
        "address-and-port-dependent",
        "address-and-port-dependent",
        "sequential",
    ),
    (
        Nat::CarrierSymmetric,
        "address-and-port-dependent",
        "address-and-port-dependent",
        "random",
    ),
];

/// A mesh with a node behind each of these NATs, and a relay with so many IPv4 addresses.
fn mesh(nats: &[Nat], addresses: usize) -> (Vec<Node>, Relay, World) {
    let world = World::new();
    let mut flags = vec!["--public-addr", "203.0.113.1"];
    if addresses == 2 {
        flags.extend(["--public-addr", "203.0.113.2"]);
    }
    let relay = Relay::start_with(&world.cloud(), &flags);
    relay.create_network(NET, CIDR);
    let nodes = nats.iter().map(|nat| {
        let node = Node::start(&world.site(*nat).machine(nat.label(), 2));
        node.join(&relay.token(NET, &[]));
        node
    });
    (nodes.collect(), relay, world)
}

/// `netcheck --json`, once a relay is known.
fn netcheck(node: &Node) -> Value {
    eventually(SOON, "netcheck has somebody to ask", || {
        let output = node.try_ctl(&["netcheck", "--json"]);
        output
            .status
            .success()
            .then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
    })
}

#[test]
fn with_two_relay_addresses_every_nat_is_named_right() {
    let nats = EXPECTED.map(|(nat, ..)| nat);
    let (nodes, _relay, _world) = mesh(&nats, 2);
    for ((nat, mapping, filtering, allocation), node) in EXPECTED.iter().zip(&nodes) {
        let found = netcheck(node);
        let named = (&found["mapping"], &found["filtering"], &found["allocation"]);
        assert_eq!(
            named,
            (&(*mapping).into(), &(*filtering).into(), &(*allocation).into()),
            "{nat:?}: {found}"
        );
        assert_eq!(
            (&found["udp"], &found["ipv6"]),
            (&true.into(), &false.into()),
            "{nat:?}: {found}"
        );
        assert_eq!(found["relays"].as_array().map(Vec::len), Some(4), "{found}");
    }
}

#[test]
fn with_one_relay_address_what_cannot_be_told_is_unknown() {
    let (nodes, _relay, _world) = mesh(&[Nat::FullCone, Nat::PortRestricted, Nat::Symmetric], 1);
    let named = |node| {
        let found = netcheck(node);
        [&found["mapping"], &found["filtering"]].map(|value| value.as_str().unwrap_or("").to_owned())
    };
    assert_eq!(named(&nodes[0]), ["unknown", "unknown"]);
    assert_eq!(named(&nodes[1]), ["unknown", "address-and-port-dependent"]);
    assert_eq!(
        named(&nodes[2]),
        ["address-and-port-dependent", "address-and-port-dependent"]
    );
}

#[test]
fn where_udp_is_blocked_netcheck_says_so() {
    let (nodes, _relay, _world) = mesh(&[Nat::UdpBlocked], 1);
    let found = netcheck(&nodes[0]);
    let named = (&found["udp"], &found["udp_blocked"], &found["mapping"]);
    assert_eq!(named, (&false.into(), &true.into(), &"unknown".into()), "{found}");
    let page = nodes[0].ctl(&["netcheck"]);
    assert!(page.contains("no relay answers over UDP"), "{page}");
    assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
}

#[test]
fn a_dead_or_wrong_relay_address_is_a_clear_line_and_traffic_goes_on_over_the_rest() {
    let world = World::new();
    let cloud = world.cloud();
    let flags = ["203.0.113.1", "203.0.113.77", "no-such-host.invalid"];
    let flags: Vec<&str> = flags.iter().flat_map(|host| ["--public-addr", host]).collect();
    let relay = Relay::start_with(&cloud, &flags);
    relay.create_network(NET, CIDR);
    let nodes = ["a", "b"].map(|name| {
        let node = Node::start(&world.site(Nat::Symmetric).machine(name, 2));
        node.join(&relay.token(NET, &[]));
        node
    });
    nodes[0].reaches("b", SOON);
    let found = netcheck(&nodes[0]);
    let problem = |address: &str| {
        let relays = found["relays"].as_array().expect("relays");
        let of = relays.iter().find(|relay| relay["address"] == address);
        of.unwrap_or_else(|| panic!("{address} is not in {found}"))["problem"]
            .as_str()
            .map(str::to_owned)
    };
    assert_eq!(problem("203.0.113.1:3478"), None);
    assert!(
        problem("203.0.113.77:3478").is_some_and(|text| text.contains("does not answer")),
        "{found}"
    );
    let unresolved = problem("no-such-host.invalid:3478");
    assert!(
        unresolved.is_some_and(|text| text.contains("cannot be looked up")),
        "{found}"
    );
    let page = nodes[0].ctl(&["netcheck"]);
    assert!(
        page.contains("! relay 203.0.113.77:3478: does not answer"),
        "{page}"
    );
}

#[test]
fn ping_shows_the_path_of_each_pong_and_waits_for_a_direct_one() {
    let bed = bed::apart(&[
        ("a", Nat::PortRestricted),
        ("b", Nat::FullCone),
        ("s", Nat::Symmetric),
        ("t", Nat::Symmetric),
    ]);
    let direct = bed.nodes[0].json(&["ping", "b", "--until-direct"]);
    assert_eq!(direct["direct"], true, "{direct}");
    let last = direct["pings"]
        .as_array()
        .and_then(|pings| pings.last())
        .expect("a pong")
        .clone();
    assert_eq!(
        (&last["path"], &last["error"]),
        (&"direct".into(), &Value::Null),
        "{direct}"
    );
    assert!(last["rtt_ms"].as_f64().is_some_and(|rtt| rtt > 0.0), "{direct}");
    let relayed = bed.nodes[2].json(&["ping", "t", "-c", "2"]);
    let paths: Vec<_> = relayed["pings"]
        .as_array()
        .expect("pings")
        .iter()
        .map(|ping| ping["path"].clone())
        .collect();
    assert_eq!(paths, ["relay", "relay"], "{relayed}");
    let text = bed.nodes[0].ctl(&["ping", "b.prod.mesh", "-c", "1"]);
    assert!(
        text.starts_with("pong from b in ") && text.contains("direct"),
        "{text}"
    );
    let refused = bed.nodes[0].try_ctl(&["ping", "nobody", "-c", "1"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("no node nobody in prod; there are b, s, t"),
        "{said}"
    );
    bed.nodes[1].kill();
    let gone = bed.nodes[0].try_ctl(&["ping", "b", "-c", "1"]);
    assert_eq!(gone.status.code(), Some(1), "a peer that is off");
}

#[test]
fn why_names_both_nats_and_what_would_help() {
    let bed = bed::apart(&[("s", Nat::Symmetric), ("t", Nat::Symmetric)]);
    let known = |why: &Value| {
        why["theirs"]["mapping"]
            .as_str()
            .is_some_and(|mapping| mapping != "unknown")
    };
    let asked = || {
        bed.nodes[0].pings("t");
        Some(bed.nodes[0].json(&["why", "t"])).filter(known)
    };
    let why = poll(SOON, asked).unwrap_or_else(|| bed.nodes[0].json(&["why", "t"]));
    assert_eq!(why["path"]["kind"], "relay", "{why}");
    assert_eq!(why["ours"]["mapping"], "address-and-port-dependent", "{why}");
    assert_eq!(why["theirs"]["mapping"], "address-and-port-dependent", "{why}");
    assert!(!why["help"].as_array().expect("advice").is_empty(), "{why}");
    let page = bed.nodes[0].ctl(&["why", "t"]);
    assert!(
        page.starts_with("t is relayed: ") && page.contains("any one of these would help"),
        "{page}"
    );
}
