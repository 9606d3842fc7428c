//! A node may be in several networks, and none of them leaks into another or into what the machine had before.

use meshd_tests::mesh::{Node, words};
use meshd_tests::{Nat, eventually};

use crate::bed::{self, NET, SOON};

#[test]
fn a_node_in_two_networks_reaches_both_and_lets_nothing_through_between_them() {
    let mut bed = bed::together(&["only-prod", "both", "only-vms"]);
    bed.relay.create_network("vms", "10.88.0.0/16");
    let token = bed.relay.token("vms", &[]);
    let [prod, both, vms] = &bed.nodes[..] else {
        unreachable!("three nodes")
    };
    both.join(&token);
    vms.ctl(&["leave", NET]);
    vms.join(&token);
    eventually(SOON, "both reaches vms", || {
        both.pings("only-vms.vms.mesh").then_some(())
    });
    assert!(both.pings(&format!("only-prod.{NET}.mesh")));
    let status = both.status().expect("answers");
    let interfaces: Vec<_> = status["networks"]
        .as_array()
        .expect("networks")
        .iter()
        .map(|net| net["interface"].clone())
        .collect();
    assert_eq!(interfaces.len(), 2);
    assert_ne!(interfaces[0], interfaces[1], "one interface each");
    let (inside, outside) = (prod.ipv4(NET).to_string(), vms.ipv4("vms").to_string());
    both.machine().sh("echo 1 > /proc/sys/net/ipv4/ip_forward");
    vms.machine().run(&[
        "ip",
        "route",
        "add",
        &inside,
        "via",
        &both.ipv4("vms").to_string(),
        "onlink",
        "dev",
        &interface(vms, "vms"),
    ]);
    assert!(!vms.pings(&inside), "no way from one network into the other");
    assert!(!prod.pings(&outside));
    bed.nodes.truncate(3);
}

fn interface(node: &Node, network: &str) -> String {
    node.network(network).expect("joined")["interface"]
        .as_str()
        .expect("a name")
        .to_owned()
}

#[test]
fn a_range_that_the_machine_already_has_is_refused_with_both_names_unless_forced() {
    let bed = bed::empty();
    let machine = bed.world.site(Nat::PortRestricted).machine("host", 2);
    machine.sh(
        "ip link add name docker0 type bridge; ip addr add 10.77.3.1/24 dev docker0; ip link set docker0 up",
    );
    let node = Node::start(&machine);
    let token = bed.relay.token(NET, &[]);
    let output = node.try_ctl(&["join", &token]);
    assert!(!output.status.success(), "a collision is refused");
    let text = words(&output);
    assert!(
        text.contains("docker0") && text.contains(NET),
        "both are named: {text}"
    );
    node.ctl(&["join", &token, "--force"]);
    assert!(node.network(NET).is_some());
}

#[test]
fn a_lan_that_appears_later_wins_for_its_own_prefix_and_is_reported() {
    let bed = bed::together(&["laptop", "db1"]);
    let [laptop, db1] = &bed.nodes[..] else {
        unreachable!("two nodes")
    };
    // a café whose LAN lies inside the mesh's range, away from db1
    laptop
        .machine()
        .sh("ip link add name cafe type bridge; ip addr add 10.77.200.2/24 dev cafe; ip link set cafe up");
    let warned = eventually(SOON, "the collision is reported", || {
        let status = laptop.status()?.to_string();
        (status.contains("10.77.200.0/24") && status.contains("cafe")).then_some(status)
    });
    assert!(!warned.is_empty());
    let route = laptop.machine().run(&["ip", "route", "get", "10.77.200.9"]);
    assert!(route.contains("dev cafe"), "the LAN wins for its prefix: {route}");
    assert!(laptop.pings(&db1.ipv4(NET).to_string()), "the mesh stays up");
}

#[test]
fn several_meshd_live_on_one_machine_and_clean_takes_only_its_own() {
    let bed = bed::together(&["first", "peer"]);
    let [first, peer] = &bed.nodes[..] else {
        unreachable!("two nodes")
    };
    bed.relay.create_network("vms", "10.88.0.0/16");
    let token = bed.relay.token("vms", &[]);
    let machine = first.machine().clone();
    let second = Node::start_instance(&machine, 7);
    second.join(&token);
    peer.join(&token);
    peer.reaches(&format!("first.{NET}.mesh"), SOON);
    peer.reaches("first.vms.mesh", SOON);
    let hosts = machine.read("/etc/hosts");
    assert!(
        hosts.contains("# meshd begin 0/prod") && hosts.contains("# meshd begin 7/vms"),
        "{hosts}"
    );
    second.ctl(&["clean"]);
    second.stop();
    peer.reaches(&format!("first.{NET}.mesh"), SOON);
    let hosts = machine.read("/etc/hosts");
    assert!(
        hosts.contains("# meshd begin 0/prod") && !hosts.contains("7/vms"),
        "{hosts}"
    );
}

#[test]
fn a_network_that_is_down_is_named_with_the_way_back_and_is_not_forgotten() {
    let bed = bed::together(&["a", "b"]);
    let [a, b] = &bed.nodes[..] else {
        unreachable!("two nodes")
    };
    let address = a.ipv4(NET);
    assert!(a.ctl(&["down"]).contains(NET), "down says what is down");
    let page = a.ctl(&["status"]);
    assert!(
        page.contains("prod is down") && page.contains("meshctl up"),
        "{page}"
    );
    let status = a.status().expect("meshd runs on");
    assert_eq!(status["down"], serde_json::json!([NET]), "{status:#}");
    let said = words(&a.try_ctl(&["leave", NET]));
    assert!(said.contains("prod is down"), "{said}");
    assert!(a.ctl(&["up"]).contains("up: prod"), "up says what is up");
    assert_eq!(a.ipv4(NET), address);
    assert_eq!(a.status().expect("answers")["down"], serde_json::json!([]));
    a.reaches("b", SOON);
    b.reaches("a", SOON);
}

#[test]
fn a_forced_join_takes_no_address_of_the_machines_own_lan() {
    let bed = bed::empty();
    let machine = bed.world.site(Nat::PortRestricted).machine("host", 2);
    machine.sh("ip link add name lan type bridge; ip addr add 10.77.0.3/25 dev lan; ip link set lan up");
    let node = Node::start(&machine);
    let joined = node.json(&["join", &bed.relay.token(NET, &[]), "--force"]);
    assert_eq!(joined["ipv4"], "10.77.0.128", "the first one outside the LAN");
    machine.sh("ip addr add 10.78.0.3/16 dev lan");
    bed.relay.create_network("ovl", "10.78.1.0/24");
    let token = bed.relay.token("ovl", &[]);
    let said = words(&node.try_ctl(&["join", &token, "--force"]));
    assert!(said.contains("10.78.1.0/24") && said.contains("--ip"), "{said}");
    let joined = node.json(&["join", &token, "--force", "--ip", "10.78.1.9"]);
    assert_eq!(joined["ipv4"], "10.78.1.9");
}

#[test]
fn ranges_of_a_lan_and_of_another_mesh_are_refused_by_name_and_taken_by_force() {
    let bed = bed::together(&["host"]);
    let host = &bed.nodes[0];
    host.machine().sh(
        "ip link add name office type bridge; ip addr add 10.90.7.1/24 dev office; ip link set office up",
    );
    for (name, cidr, theirs) in [
        ("lan", "10.90.0.0/16", "office"),
        ("twin", "10.77.128.0/17", "network prod"),
    ] {
        bed.relay.create_network(name, cidr);
        let token = bed.relay.token(name, &[]);
        let output = host.try_ctl(&["join", &token]);
        let said = words(&output);
        assert!(!output.status.success(), "{name} was joined");
        for part in [name, cidr, theirs, "--force"] {
            assert!(said.contains(part), "{part} is not in: {said}");
        }
        assert!(host.network(name).is_none());
        host.ctl(&["join", &token, "--force"]);
        assert!(host.network(name).is_some());
    }
}

#[test]
#[ignore = "sixty-four networks take a minute: ./test --long"]
fn a_machine_is_in_as_many_networks_as_it_can_be_and_says_what_to_do_then() {
    let bed = bed::empty();
    let node = Node::start(&bed.world.site(Nat::PortRestricted).machine("host", 2));
    node.join(&bed.relay.token(NET, &[]));
    let mut joined = 1;
    let said = loop {
        let name = format!("net{joined}");
        bed.relay
            .create_network(&name, &format!("10.{}.0.0/16", 100 + joined));
        let output = node.try_ctl(&["join", &bed.relay.token(&name, &[])]);
        if !output.status.success() {
            break words(&output);
        }
        joined += 1;
        assert!(joined < 100, "there is no limit");
    };
    assert!(
        said.contains(&format!("in {joined} networks")) && said.contains("leave one"),
        "{said}"
    );
    let interfaces = |node: &Node| {
        let status = eventually(SOON, "all networks answer", || node.status());
        let mut names: Vec<_> = status["networks"]
            .as_array()
            .expect("networks")
            .iter()
            .map(|n| n["interface"].to_string())
            .collect();
        names.sort();
        names.dedup();
        names.len()
    };
    assert_eq!(interfaces(&node), joined, "one interface each");
    node.ctl(&["leave", "net1"]);
    node.join(&bed.relay.token(&format!("net{joined}"), &[]));
    assert_eq!(interfaces(&node), joined);
}
