//! Machines behind NATs are nodes of a cluster, and the API server reaches into them.

use meshd_tests::k8s::{Cluster, ProxyMode};

use crate::bed::{self, LONG};

/// A pod in the network of each node: it needs no CNI plugin.
const MANIFEST: &str = include_str!("../../k8s/manifests/hosts.yaml");

#[test]
fn nodes_on_three_networks_register_and_the_api_server_reaches_into_them() {
    let Some(parts) = bed::parts("nodes of a cluster") else {
        return;
    };
    let cluster = Cluster::start(&parts, ProxyMode::Nftables);
    for node in &cluster.nodes {
        let address = node.address().to_string();
        cluster.wait(LONG, &format!("{} registers as {address}", node.name()), || {
            let object = cluster.get(&["node", node.name()])?;
            let addresses = object["status"]["addresses"].as_array()?;
            let own =
                |one: &serde_json::Value| one["type"] == "InternalIP" && one["address"] == address.as_str();
            addresses.iter().any(own).then_some(())
        });
    }
    cluster.apply(MANIFEST);
    for pod in cluster.wait_for_pods(LONG, "app=host", cluster.nodes.len()) {
        assert_eq!(pod.address(), cluster.node(&pod.node).address());
        assert_eq!(
            cluster
                .kubectl(&["exec", &pod.name, "--", "sh", "-c", "echo $NODE"])
                .trim(),
            pod.node
        );
        assert_eq!(bed::logged_and_forwarded(&cluster, &pod), pod.node);
    }
}
