//! Machines behind NATs are nodes of a cluster, and the API server reaches into them.

use std::net::SocketAddr;
use std::time::Duration;

use meshd_tests::eventually;
use meshd_tests::k8s::{Cluster, ProxyMode, get};

use crate::bed::{self, LONG, WEB};

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
        let log = cluster.kubectl(&["logs", &pod.name]);
        assert!(log.contains("8080"), "{}: {log}", pod.name);
        let forward = cluster.port_forward(&pod.name, 18080, WEB);
        let (machine, at) = (
            cluster.nodes[0].mesh().machine(),
            SocketAddr::from(([127, 0, 0, 1], 18080)),
        );
        let heard = eventually(
            Duration::from_secs(60),
            &format!("a port of {} is forwarded", pod.name),
            || {
                assert!(forward.is_running(), "{}", forward.log());
                get(machine, at, "/hostname").ok()
            },
        );
        assert_eq!(heard, pod.node);
    }
}
