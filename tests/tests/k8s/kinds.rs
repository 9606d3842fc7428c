//! Ports of hosts, a service that leads a pod to itself, services of both IP versions, and a container without Kubernetes.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use meshd_tests::eventually;
use meshd_tests::k8s::{NET, Pod, get};

use crate::bed::{Bed, LONG, WEB};

/// The port of its node that leads to a pod.
const HOST_PORT: u16 = 8888;

/// Makes what is asked here.
pub fn start(bed: &Bed) -> Pod {
    bed.cluster.apply(include_str!("../../k8s/manifests/kinds.yaml"));
    let pods = bed.cluster.wait_for_pods(LONG, "app=ported", 1);
    pods.into_iter().next().expect("one pod")
}

/// From other nodes, which it sees under their own addresses, and from pods.
pub fn a_port_of_the_node_leads_to_its_pod(bed: &Bed, ported: &Pod) {
    let own = bed.cluster.node(&ported.node).address();
    let at = SocketAddr::new(own, HOST_PORT);
    for node in bed.cluster.nodes.iter().filter(|node| node.name() != ported.node) {
        let ask = |path: &str| {
            let what = format!("{} reaches {at}{path}", node.name());
            eventually(LONG, &what, || get(node.mesh().machine(), at, path).ok())
        };
        assert_eq!(ask("/hostname"), ported.name);
        let source: SocketAddr = ask("/clientip").parse().expect("an address and a port");
        assert_eq!(source.ip(), node.address());
    }
    for pod in &bed.pods {
        let heard = bed.hears(pod, (&own.to_string(), HOST_PORT), "hostname", 1);
        assert_eq!(heard, BTreeSet::from([ported.name.clone()]), "from {}", pod.name);
    }
}

/// The only pod of a service reaches itself by the service's address.
pub fn a_pod_reaches_itself_through_its_own_service(bed: &Bed, ported: &Pod) {
    for address in addresses(bed, "own") {
        let heard = bed.hears(ported, (&address.to_string(), 80), "hostname", 1);
        assert_eq!(heard, BTreeSet::from([ported.name.clone()]), "{address}");
    }
}

/// A service with an address of each IP version is answered by all of its pods at both.
pub fn services_have_both_ip_versions(bed: &Bed) {
    let addresses = addresses(bed, "dual");
    assert_eq!(
        addresses.iter().map(IpAddr::is_ipv6).collect::<Vec<_>>(),
        [false, true]
    );
    for pod in &bed.pods {
        for address in &addresses {
            bed.hears_all(pod, (&address.to_string(), 80));
        }
    }
}

fn addresses(bed: &Bed, service: &str) -> Vec<IpAddr> {
    let object = bed
        .cluster
        .get(&["service", service])
        .expect("the service is there");
    let addresses = object["spec"]["clusterIPs"].as_array().expect("a list");
    addresses
        .iter()
        .filter_map(|address| address.as_str()?.parse().ok())
        .collect()
}

/// containerd alone runs a container on the mesh; its address is free again when it has ended.
pub fn a_container_without_kubernetes_is_on_the_mesh(bed: &Bed) {
    let (node, asked) = (bed.cluster.node("w1"), &bed.pods[2]);
    let leases = || {
        node.mesh()
            .network(NET)
            .and_then(|net| net["pods"]["leases"].as_u64())
    };
    let before = leases();
    let script = format!("wget -qO- http://{}:{WEB}/clientip", asked.address());
    let said = node.container("alone", &script);
    let seen: SocketAddr = said.trim().parse().expect("an address and a port");
    let part = node.mesh().network(NET).expect("joined")["pods"]["cidr"].clone();
    let part = part.as_str().expect("it has a part");
    assert!(meshd_tests::pods::within(seen.ip(), part), "{seen} in {part}");
    assert_eq!(leases(), before, "its address is free again");
}
