//! Kubernetes allots nodes' prefixes of pods' addresses, and the mesh routes what its control plane tells.

use std::collections::BTreeSet;

use meshd_tests::k8s::{Cluster, NET, Plan, ProxyMode};

use crate::bed::{self, Bed, LONG, WEB};

#[test]
fn what_the_controller_manager_allots_is_what_the_mesh_routes() {
    let Some(parts) = bed::parts("prefixes from Kubernetes") else {
        return;
    };
    let cluster = Cluster::start_as(&parts, ProxyMode::Nftables, Plan::ALLOTTED);
    let mut all = BTreeSet::new();
    for node in &cluster.nodes {
        let held = cluster.wait(
            LONG,
            &format!("{} has what Kubernetes gave it", node.name()),
            || {
                let given = cluster.get(&["node", node.name()])?["spec"]["podCIDR"].clone();
                let held = node.mesh().network(NET)?["pods"]["cidr"].clone();
                (held == given && held.is_string()).then_some(held)
            },
        );
        all.insert(held.to_string());
    }
    assert_eq!(all.len(), 3, "{all:?}");
    let pods_of_the_mesh = [
        "network",
        "pods",
        NET,
        "--pod-cidr",
        "10.244.0.0/16",
        "--pod-cidr6",
        "none",
        "--authority",
        "mesh",
    ];
    let refused = cluster.relay.try_ctl(&pods_of_the_mesh);
    let said = meshd_tests::mesh::words(&refused);
    assert!(
        !refused.status.success() && said.contains("chosen before the first one"),
        "{said}"
    );
    cluster.apply(include_str!("../../k8s/manifests/web.yaml"));
    let pods = cluster.wait_for_pods(LONG, "app=web", cluster.nodes.len());
    let bed = Bed { cluster, pods };
    let (from, to) = (&bed.pods[1], &bed.pods[2]);
    let heard = bed.hears(from, (&to.address().to_string(), WEB), "hostname", 1);
    assert_eq!(heard, BTreeSet::from([to.name.clone()]));
}
