//! Inventories, read by the tool that they are for.

use std::fs;
use std::process::Command;

use meshd_tests::mesh::{Node, json, words};
use meshd_tests::{Machine, Nat, skip};
use serde_json::Value;

use crate::bed::{self, NET};

#[test]
fn ansible_reads_what_the_mesh_says_of_its_nodes() {
    if Command::new("ansible-inventory")
        .arg("--version")
        .output()
        .is_err()
    {
        return skip(
            "ansible_reads_what_the_mesh_says_of_its_nodes",
            "ansible-inventory is not installed",
        );
    }
    let mut bed = bed::apart(&[("no", Nat::Open), ("w1", Nat::PortRestricted)]);
    let site = bed.world.site(Nat::Open);
    let plane = Node::start(&site.machine("n1", 2));
    let token = bed.relay.token(NET, &["--tags", "control-plane,rack-7"]);
    plane.join(&token);
    bed.nodes.push(plane);
    bed.relay.ctl(&["endpoint", "add", "api", "--to", "no:6443"]);

    let read = listed(&bed.cloud, &bed.relay.ctl(&["inventory"]));
    assert_eq!(hosts(&read, "mesh_prod"), ["n1", "no", "w1"]);
    assert_eq!(
        hosts(&read, "control_plane"),
        ["n1", "no"],
        "by tag, and by the endpoint"
    );
    assert_eq!(hosts(&read, "tag_rack_7"), ["n1"]);
    let of = |name: &str, variable: &str| read["_meta"]["hostvars"][name][variable].clone();
    for node in &bed.nodes {
        let name = node.name();
        assert_eq!(of(name, "ansible_host"), node.ipv4(NET).to_string(), "{name}");
        assert_eq!(of(name, "mesh_ipv6"), node.ipv6(NET).to_string(), "{name}");
        assert_eq!(of(name, "mesh_name"), format!("{name}.prod.mesh"));
        assert_eq!(of(name, "mesh_connected"), true, "{name}");
    }

    let read = listed(
        &bed.cloud,
        &bed.relay.ctl(&["inventory", "--format", "kubespray"]),
    );
    assert_eq!(hosts(&read, "kube_control_plane"), ["n1", "no"]);
    assert_eq!(hosts(&read, "etcd"), ["n1"], "an odd number");
    assert_eq!(hosts(&read, "kube_node"), ["w1"]);
    let mut children: Vec<&str> = texts(&read["k8s_cluster"]["children"]);
    children.sort_unstable();
    assert_eq!(children, ["kube_control_plane", "kube_node"]);
    let vars = &read["_meta"]["hostvars"]["w1"];
    assert_eq!(vars["ip"], vars["ansible_host"]);
    assert_eq!(vars["loadbalancer_apiserver"]["address"], "10.77.255.254");
    assert_eq!(vars["loadbalancer_apiserver"]["port"], 7443);

    // a node tells what its meshd knows
    let told = json("inventory", &bed.nodes[1].try_ctl(&["inventory", "--json"]));
    let names: Vec<&str> = told["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .filter_map(|node| node["name"].as_str())
        .collect();
    assert_eq!(names, ["n1", "no", "w1"]);
    assert_eq!(told["nodes"][1]["control_plane"], true, "{told:#}");
}

/// What Ansible makes of an inventory.
fn listed(machine: &Machine, inventory: &str) -> Value {
    fs::write(machine.file("/etc/hosts.yaml"), inventory).expect("the machine's own file");
    let own = [
        "env",
        "ANSIBLE_HOME=/run/ansible",
        "ANSIBLE_LOCAL_TEMP=/run/ansible",
    ];
    let list = ["ansible-inventory", "-i", "/etc/hosts.yaml", "--list"];
    let output = machine.output(&[&own[..], &list].concat());
    let said = words(&output);
    assert!(
        output.status.success() && !said.contains("WARNING"),
        "{said}\n{inventory}"
    );
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn hosts<'a>(read: &'a Value, group: &str) -> Vec<&'a str> {
    let mut hosts = texts(&read[group]["hosts"]);
    hosts.sort_unstable();
    hosts
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}
