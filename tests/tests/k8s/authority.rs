//! Kubernetes allots nodes' prefixes of pods' addresses, and the mesh routes what its control plane tells, as far as it is true.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use meshd_tests::k8s::{Cluster, KUBECONFIG, NET, Plan, ProxyMode};
use meshd_tests::mesh::{Node, words};
use meshd_tests::poll;
use serde_json::{Value, json};

use crate::bed::{self, Bed, LONG, WEB};

/// In this time meshd would have told of a node that it believes.
const BELIEVED: Duration = Duration::from_secs(3);

#[test]
fn what_the_controller_manager_allots_is_what_the_mesh_routes_and_lies_are_refused() {
    let Some(parts) = bed::parts("prefixes from Kubernetes") else {
        return;
    };
    let cluster = Cluster::start_as(&parts, ProxyMode::Nftables, Plan::ALLOTTED);
    every_node_has_what_kubernetes_gave_it(&cluster);
    the_authority_stays(&cluster);
    let bed = with_pods(cluster);
    nodes_that_lie_get_nothing(&bed.cluster);
    a_kubelet_changes_no_prefix(&bed.cluster);
    pods_reach_pods(&bed);
}

#[test]
fn with_the_root_key_elsewhere_its_holder_signs_what_the_controller_manager_allots() {
    let Some(parts) = bed::parts("prefixes from Kubernetes, signed elsewhere") else {
        return;
    };
    let cluster = Cluster::start_as(&parts, ProxyMode::Nftables, Plan::ALLOTTED_AND_SIGNED);
    every_node_has_what_kubernetes_gave_it(&cluster);
    pods_reach_pods(&with_pods(cluster));
}

/// Of both IP versions, and no two the same.
fn every_node_has_what_kubernetes_gave_it(cluster: &Cluster) {
    let mut all = BTreeSet::new();
    for node in &cluster.nodes {
        let held = cluster.wait(
            LONG,
            &format!("{} has what Kubernetes gave it", node.name()),
            || {
                let given = cluster.get(&["node", node.name()])?["spec"]["podCIDRs"].clone();
                let pods = node.mesh().network(NET)?["pods"].clone();
                let held = json!([pods["cidr"], pods["cidr6"]]);
                (held == given && held[1].is_string()).then_some(held)
            },
        );
        all.insert(held.to_string());
    }
    assert_eq!(all.len(), 3, "{all:?}");
}

fn the_authority_stays(cluster: &Cluster) {
    let mesh = ["network", "pods", NET, "--pod-cidr", "10.244.0.0/16"];
    let mesh = [&mesh[..], &["--pod-cidr6", "none", "--authority", "mesh"]].concat();
    let refused = cluster.relay.try_ctl(&mesh);
    let said = words(&refused);
    assert!(
        !refused.status.success() && said.contains("chosen before the first one"),
        "{said}"
    );
}

fn with_pods(cluster: Cluster) -> Bed {
    cluster.apply(include_str!("../../k8s/manifests/web.yaml"));
    let pods = cluster.wait_for_pods(LONG, "app=web", cluster.nodes.len());
    Bed { cluster, pods }
}

/// By their addresses of both IP versions.
fn pods_reach_pods(bed: &Bed) {
    let (from, to) = (&bed.pods[1], &bed.pods[2]);
    assert_eq!(to.addresses.len(), 2, "{to:?}");
    for address in &to.addresses {
        let heard = bed.hears(from, (&address.to_string(), WEB), "hostname", 1);
        assert_eq!(heard, BTreeSet::from([to.name.clone()]));
    }
}

/// A node of the mesh that is none of the cluster, and what is said of it there.
struct Stranger<'a> {
    cluster: &'a Cluster,
    mesh: Node,
}

impl<'a> Stranger<'a> {
    fn join(cluster: &'a Cluster) -> Self {
        let mesh = Node::start(&cluster.sites[1].machine("w3", 3));
        mesh.join(&cluster.relay.token(NET, &[]));
        let credentials = cluster.nodes[1].mesh().machine().read(KUBECONFIG);
        let file = mesh.machine().file(KUBECONFIG);
        std::fs::create_dir_all(file.parent().expect("in a folder")).expect("the machine's own folder");
        std::fs::write(file, credentials).expect("the machine's own file");
        mesh.ctl(&["cni", "credentials", "--kubeconfig", KUBECONFIG]);
        Self { cluster, mesh }
    }

    /// The cluster's object of this name is replaced by one with this prefix (none: the controller's choice) and address.
    fn is_said_to_be(&self, prefix: Option<&str>, address: IpAddr) {
        self.cluster
            .kubectl(&["delete", "node", "w3", "--ignore-not-found"]);
        let spec = prefix.map_or(
            json!({}),
            |prefix| json!({"podCIDR": prefix, "podCIDRs": [prefix]}),
        );
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "w3"}, "spec": spec});
        self.cluster.apply(&node.to_string());
        let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": address}]}});
        self.cluster.kubectl(&[
            "patch",
            "node",
            "w3",
            "--subresource=status",
            "--patch",
            &status.to_string(),
        ]);
    }

    fn part(&self) -> Option<String> {
        let pods: Value = self.mesh.network(NET)?["pods"].clone();
        pods["cidr"].as_str().map(str::to_owned)
    }

    /// Waits until a node's `status` says so.
    #[track_caller]
    fn is_told(&self, node: &Node, sentence: &str) {
        self.cluster
            .wait(LONG, &format!("{} says {sentence:?}", node.name()), || {
                let warnings = node.network(NET)?["warnings"].clone();
                let mut said = warnings.as_array()?.iter().filter_map(Value::as_str);
                said.any(|said| said.contains(sentence)).then_some(())
            });
        assert_eq!(self.part(), None, "{sentence}");
    }
}

/// Prefixes outside of the cluster's, or of another node, and a node that gives another's address for its own.
fn nodes_that_lie_get_nothing(cluster: &Cluster) {
    let stranger = Stranger::join(cluster);
    let (own, teller) = (stranger.mesh.ipv4(NET), cluster.node("cp").mesh());
    stranger.is_said_to_be(Some("10.99.0.0/24"), own);
    stranger.is_told(teller, "10.99.0.0/24 of \"w3\" lies outside of the pods' prefix");
    stranger.is_told(
        &stranger.mesh,
        "Kubernetes gave this node's pods 10.99.0.0/24, which is not signed yet: it must lie in 10.244.0.0/16",
    );
    let others = cluster.node("w1").mesh().network(NET).expect("joined");
    let others = others["pods"]["cidr"].as_str().expect("it has a part").to_owned();
    stranger.is_said_to_be(Some(&others), own);
    let overlaps = format!("{others} of \"w3\" overlaps {others}, which is in use");
    stranger.is_told(teller, &overlaps);
    stranger.is_said_to_be(Some("10.244.200.0/24"), cluster.node("w1").address());
    let believed = poll(BELIEVED, || stranger.part());
    assert_eq!(believed, None, "an address of w1 makes no w3");
    let still = cluster.node("w1").mesh().network(NET).expect("joined");
    assert_eq!(still["pods"]["cidr"], others, "nor is it w1");
    stranger.is_said_to_be(Some("10.244.200.0/24"), own);
    cluster.wait(LONG, "what is true is believed", || {
        (stranger.part()? == "10.244.200.0/24").then_some(())
    });
    cluster.kubectl(&["delete", "node", "w3"]);
}

/// With the credentials of its kubelet a node gives neither itself nor another one a prefix.
fn a_kubelet_changes_no_prefix(cluster: &Cluster) {
    let before = cluster.node("w2").mesh().network(NET).expect("joined")["pods"].clone();
    let credentials = cluster
        .node("w2")
        .mesh()
        .machine()
        .read("/etc/kubernetes/kubelet.conf");
    let file = "/etc/kubernetes/kubelet-of-w2.conf";
    std::fs::write(cluster.node("cp").mesh().machine().file(file), credentials)
        .expect("the machine's own file");
    for victim in ["w1", "w2"] {
        let spec = json!({"spec": {"podCIDR": "10.244.77.0/24", "podCIDRs": ["10.244.77.0/24"]}});
        let tried = [
            "--kubeconfig",
            file,
            "patch",
            "node",
            victim,
            "--patch",
            &spec.to_string(),
        ];
        let output = cluster.try_kubectl(&tried);
        assert!(!output.status.success(), "{victim}: {}", words(&output));
    }
    // its own status it may write, and the kubelet puts it right by and by
    let mut node = cluster.get(&["node", "w2"]).expect("it is there");
    let (own, others) = (cluster.node("w2").address(), cluster.node("w1").address());
    node["status"]["addresses"] = [others, own]
        .map(|ip| json!({"type": "InternalIP", "address": ip}))
        .into_iter()
        .collect();
    node["metadata"]["resourceVersion"] = Value::Null;
    let lie = cluster
        .node("cp")
        .mesh()
        .machine()
        .file("/etc/kubernetes/lie.json");
    std::fs::write(lie, node.to_string()).expect("the machine's own file");
    let status = [
        "--raw",
        "/api/v1/nodes/w2/status",
        "--filename",
        "/etc/kubernetes/lie.json",
    ];
    let output = cluster.try_kubectl(&[&["--kubeconfig", file, "replace"], &status[..]].concat());
    assert!(output.status.success(), "{}", words(&output));
    let changed = poll(BELIEVED, || {
        let held = cluster.node("w2").mesh().network(NET)?["pods"].clone();
        (held["cidr"] != before["cidr"]).then_some(())
    });
    assert_eq!(changed, None, "w2 keeps its part");
    let w1 = cluster.node("w1").mesh().network(NET).expect("joined");
    assert_eq!(w1["kube"]["node"], "w1");
}
