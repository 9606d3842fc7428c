//! Pods on any node reach pods and services on every other, through NATs and the relay.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use meshd_tests::eventually;
use meshd_tests::k8s::{Cluster, Pod, ProxyMode, get};

use crate::bed::{self, Bed, LONG, WEB};
use crate::{kinds, nodes};

#[test]
fn pods_reach_pods_and_services_by_nftables_and_by_iptables() {
    let Some(parts) = bed::parts("pods and services") else {
        return;
    };
    let bed = bed::start(&parts, ProxyMode::Nftables);
    nodes::nodes_have_their_mesh_addresses(&bed);
    pods_reach_pods(&bed);
    nodes::pods_of_the_hosts_network_are_reached(&bed);
    services_answer(&bed);
    let ported = kinds::start(&bed);
    many_kinds(&bed, &ported);
    kinds::a_container_without_kubernetes_is_on_the_mesh(&bed);
    assert!(rules(&bed.cluster, "nft list tables").contains("kube-proxy"));
    names_are_known(&bed);
    kubectl_reaches_into_pods(&bed);
    for node in &bed.cluster.nodes {
        node.set_proxy_mode(ProxyMode::Iptables);
    }
    eventually(LONG, "kube-proxy writes rules of iptables instead", || {
        let (old, new) = (
            rules(&bed.cluster, "nft list tables"),
            rules(&bed.cluster, "iptables-save -t nat"),
        );
        (!old.contains("table ip kube-proxy") && new.contains("KUBE-SVC")).then_some(())
    });
    services_answer(&bed);
    many_kinds(&bed, &ported);
    nodes::a_node_is_as_ready_as_its_mesh(&bed);
}

fn many_kinds(bed: &Bed, ported: &Pod) {
    kinds::a_port_of_the_node_leads_to_its_pod(bed, ported);
    kinds::a_pod_reaches_itself_through_its_own_service(bed, ported);
    kinds::services_have_both_ip_versions(bed);
}

/// What a command says of the rules on the last node.
fn rules(cluster: &Cluster, command: &str) -> String {
    cluster.nodes[2].mesh().machine().sh(command)
}

/// Every pod to every pod, by every address, and each sees the other's own address.
fn pods_reach_pods(bed: &Bed) {
    for from in &bed.pods {
        for to in &bed.pods {
            for address in &to.addresses {
                let heard = bed.hears(from, (&address.to_string(), WEB), "hostname", 1);
                assert_eq!(heard, BTreeSet::from([to.name.clone()]), "{from:?} -> {address}");
            }
            let heard = bed.hears(from, (&to.address().to_string(), WEB), "clientip", 1);
            let source = heard
                .iter()
                .next()
                .and_then(|text| text.parse::<SocketAddr>().ok());
            assert_eq!(
                source.map(|source| source.ip()),
                Some(from.address()),
                "{from:?} -> {to:?}: {heard:?}"
            );
        }
    }
}

/// By its address inside, by every node's port, from every pod and every node; all of its pods answer.
fn services_answer(bed: &Bed) {
    let service = cluster_ip(&bed.cluster, "web");
    for pod in &bed.pods {
        bed.hears_all(pod, (&service, 80));
        for node in &bed.cluster.nodes {
            let address = node.address().to_string();
            bed.hears_all(pod, (&address, 30080));
        }
    }
    for from in &bed.cluster.nodes {
        for to in &bed.cluster.nodes {
            let at = SocketAddr::new(to.address(), 30080);
            let what = format!("{} reaches the port of {}", from.name(), to.name());
            let heard = eventually(LONG, &what, || get(from.mesh().machine(), at, "/hostname").ok());
            assert!(bed.names().contains(&heard), "{what}: {heard}");
        }
    }
    a_local_service_keeps_the_address(bed);
}

/// With `externalTrafficPolicy: Local` the node's own pod answers, and sees who asks.
fn a_local_service_keeps_the_address(bed: &Bed) {
    let (asking, asked) = (&bed.cluster.nodes[1], &bed.pods[2]);
    let at = SocketAddr::new(bed.cluster.node(&asked.node).address(), 30081);
    let ask = |path: &str| {
        eventually(LONG, &format!("{at}{path} answers"), || {
            get(asking.mesh().machine(), at, path).ok()
        })
    };
    assert_eq!(ask("/hostname"), asked.name);
    let source: SocketAddr = ask("/clientip").parse().expect("an address and a port");
    assert_eq!(source.ip(), asking.address());
}

fn names_are_known(bed: &Bed) {
    for pod in &bed.pods {
        for name in ["web", "web.default.svc.cluster.local"] {
            bed.hears_all(pod, (name, 80));
        }
        let said = bed.cluster.kubectl(&[
            "exec",
            &pod.name,
            "--",
            "nslookup",
            "each.default.svc.cluster.local",
        ]);
        let told: BTreeSet<IpAddr> = said
            .lines()
            .filter_map(|line| line.strip_prefix("Address: ")?.trim().parse().ok())
            .collect();
        let all: BTreeSet<IpAddr> = bed.pods.iter().map(Pod::address).collect();
        assert_eq!(told, all, "{said}");
    }
}

fn kubectl_reaches_into_pods(bed: &Bed) {
    for pod in &bed.pods {
        assert_eq!(
            bed.cluster.kubectl(&["exec", &pod.name, "--", "hostname"]).trim(),
            pod.name
        );
        assert_eq!(bed::logged_and_forwarded(&bed.cluster, pod), pod.name);
    }
}

fn cluster_ip(cluster: &Cluster, name: &str) -> String {
    let object = cluster.get(&["service", name]).expect("the service is there");
    object["spec"]["clusterIP"]
        .as_str()
        .expect("it has an address")
        .to_owned()
}
