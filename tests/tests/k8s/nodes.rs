//! Machines behind NATs are nodes of a cluster: they register under their mesh addresses, and the API server reaches into them.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use meshd_tests::k8s::{NET, Worker};
use serde_json::Value;

use crate::bed::{self, Bed, LONG, WEB};

/// Every node is ready under its mesh addresses.
pub fn nodes_have_their_mesh_addresses(bed: &Bed) {
    for node in &bed.cluster.nodes {
        let addresses = [node.address(), node.mesh().ipv6(NET)].map(|ip| ip.to_string());
        let what = format!("{} is ready as {addresses:?}", node.name());
        bed.cluster.wait(LONG, &what, || {
            let object = bed.cluster.get(&["node", node.name()])?;
            let has = |list: &str, kind: &str, key: &str, value: &str| {
                let entries = object["status"][list].as_array().into_iter().flatten();
                entries
                    .into_iter()
                    .any(|one| one["type"] == kind && one[key] == value)
            };
            let known = |ip: &String| has("addresses", "InternalIP", "address", ip);
            (addresses.iter().all(known) && has("conditions", "Ready", "status", "True")).then_some(())
        });
    }
}

/// Pods in the network of each node have its address, are logged, entered and forwarded to; pods that reach them are seen under
/// their own addresses.
pub fn pods_of_the_hosts_network_are_reached(bed: &Bed) {
    bed.cluster.apply(include_str!("../../k8s/manifests/hosts.yaml"));
    let hosts = bed
        .cluster
        .wait_for_pods(LONG, "app=host", bed.cluster.nodes.len());
    for host in &hosts {
        assert_eq!(host.address(), bed.cluster.node(&host.node).address());
        let said = ["exec", &host.name, "--", "sh", "-c", "echo $NODE"];
        assert_eq!(bed.cluster.kubectl(&said).trim(), host.node);
        for from in &bed.pods {
            let to = host.address().to_string();
            let heard = bed.hears(from, (&to, WEB), "clientip", 1);
            let seen: BTreeSet<String> = heard
                .iter()
                .filter_map(|text| Some(text.parse::<SocketAddr>().ok()?.ip().to_string()))
                .collect();
            assert_eq!(
                seen,
                BTreeSet::from([from.address().to_string()]),
                "{} -> {}",
                from.name,
                host.node
            );
        }
    }
    assert_eq!(bed::logged_and_forwarded(&bed.cluster, &hosts[2]), hosts[2].node);
}

/// What a node says of its readiness, and why.
fn readiness(bed: &Bed, node: &Worker) -> Option<(String, String)> {
    let object = bed.cluster.get(&["node", node.name()])?;
    let conditions = object["status"]["conditions"].as_array()?;
    let ready = conditions.iter().find(|one| one["type"] == "Ready")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some((text(&ready["status"]), text(&ready["message"])))
}

/// Without its meshd a node is not ready, and is again with it.
pub fn a_node_is_as_ready_as_its_mesh(bed: &Bed) {
    // the one that reaches the API server without meshd: it runs there
    let node = bed.cluster.node("cp");
    node.mesh().kill();
    bed.cluster
        .wait(LONG, "cp is not ready, and says that meshd is away", || {
            let (status, why) = readiness(bed, node)?;
            (status == "False" && why.contains("meshd")).then_some(())
        });
    node.mesh().start_again();
    bed.cluster.wait(LONG, "cp is ready again", || {
        (readiness(bed, node)?.0 == "True").then_some(())
    });
}
