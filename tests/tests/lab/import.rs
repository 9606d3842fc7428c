//! A network of Netmaker becomes one of ours.

use std::fs;

use meshd_tests::mesh::{Node, Relay, words};
use meshd_tests::{Machine, Nat, World, eventually};
use serde_json::{Value, json};

use crate::bed::SOON;

/// Where the export lies on the cloud host.
const FILE: &str = "/etc/netmaker.json";
/// A range behind one of the machines.
const RANGE: &str = "192.168.50.0/24";

#[test]
fn machines_of_netmaker_come_with_their_names_addresses_and_ranges() {
    let world = World::new();
    let cloud = world.cloud();
    let relay = Relay::start(&cloud);
    put_export(&cloud);
    let dry = ["import", "netmaker", FILE, "--dry-run"];
    let shown = relay.ctl(&dry);
    assert!(
        shown.contains("would be made") && shown.contains(RANGE),
        "{shown}"
    );
    assert_eq!(relay.json(&["network", "list"]), json!([]), "nothing was made");

    let made = relay.json(&["import", "netmaker", FILE]);
    assert_eq!(made["gateways"][0]["state"], "waits", "{made:#}");
    let again = relay.json(&["import", "netmaker", FILE]);
    let site = world.site(Nat::PortRestricted);
    let nodes = ["gw", "pi"].map(|name| {
        // called otherwise by itself: the token names it
        let node = Node::start(&site.machine(&format!("{name}-host"), if name == "gw" { 2 } else { 3 }));
        let old = node.try_ctl(&["join", &token(&made, name)]);
        assert!(
            !old.status.success(),
            "the first run's token ended: {}",
            words(&old)
        );
        node.ctl(&["join", &token(&again, name)]);
        node
    });
    for (node, address) in nodes.iter().zip(["10.101.0.7", "10.101.9.2"]) {
        assert_eq!(node.ipv4("home").to_string(), address);
    }
    nodes[1].reaches("gw", SOON);

    let third = relay.json(&["import", "netmaker", FILE]);
    let states: Vec<&Value> = third["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| &node["state"])
        .collect();
    assert_eq!(states, ["joined", "joined", "token"], "{third:#}");
    assert_eq!(third["gateways"][0]["state"], "added", "{third:#}");
    let gateways = relay.json(&["gateway", "list"]);
    assert_eq!(gateways[0]["range"], RANGE);
    assert_eq!(
        (&gateways[0]["node"], &gateways[0]["nat"]),
        (&json!("gw"), &json!(false))
    );
    eventually(SOON, "the range is known by its gateway", || {
        let ranges = nodes[1].network("home")?["ranges"].clone();
        (ranges[0]["gateway"] == "gw").then_some(())
    });
    let fourth = relay.json(&["import", "netmaker", FILE]);
    assert_eq!(fourth["gateways"][0]["state"], "there", "{fourth:#}");

    let other = relay.try_ctl(&["import", "netmaker", FILE, "--network", "none"]);
    assert!(words(&other).contains("called \"none\""), "{}", words(&other));
}

fn put_export(cloud: &Machine) {
    let node = |id: &str, address: &str| json!({"id": id, "hostid": format!("host-{id}"), "network": "home", "address": address, "address6": ""});
    let host = |id: &str, name: &str| json!({"id": format!("host-{id}"), "name": name});
    let export = json!({
        "networks": [{"netid": "home", "addressrange": "10.101.0.0/16", "addressrange6": ""}],
        "hosts": [host("1", "gw"), host("2", "pi"), host("3", "rack.example.com")],
        "nodes": [node("1", "10.101.0.7/16"), node("2", "10.101.9.2/16"), node("3", "10.101.0.3/16")],
        "egress": {"Code": 200, "Message": "", "Response": [
            {"id": "e", "name": "lan", "network": "home", "nodes": {"1": 256}, "range": RANGE, "nat": false, "status": true},
        ]},
    });
    fs::write(cloud.file(FILE), export.to_string()).expect("the machine's own file");
}

fn token(made: &Value, name: &str) -> String {
    let nodes = made["nodes"].as_array().expect("nodes");
    let node = nodes.iter().find(|node| node["name"] == name);
    let token = node.and_then(|node| node["token"].as_str());
    token
        .unwrap_or_else(|| panic!("{name} has no token in {made:#}"))
        .to_owned()
}
