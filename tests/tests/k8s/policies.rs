//! Network policies in a cluster: who is denied, who is allowed, and that probes go on, under both modes of kube-proxy.

use std::collections::BTreeSet;

use meshd_tests::k8s::{Cluster, NET, Pod, ProxyMode};

use crate::bed::{self, Bed, LONG, WEB};

/// Nobody reaches web pods.
const DENY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}
";

/// Web pods reach each other.
const ALLOW: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [web]}]}}]
    ports: [{port: 8000, endPort: 8090}]
";

/// Web pods reach nothing but DNS.
const EGRESS: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: egress}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress: [{ports: [{port: 53, protocol: UDP}]}]
";

#[test]
fn network_policies_hold_under_nftables_and_under_iptables() {
    let Some(parts) = bed::parts("network policies") else {
        return;
    };
    let bed = bed::start(&parts, ProxyMode::Nftables);
    bed.cluster.give_credentials();
    policies(&bed);
    for node in &bed.cluster.nodes {
        node.set_proxy_mode(ProxyMode::Iptables);
    }
    policies(&bed);
}

fn policies(bed: &Bed) {
    let service = bed
        .cluster
        .get(&["service", "web"])
        .expect("the service is there");
    let service = service["spec"]["clusterIP"]
        .as_str()
        .expect("an address")
        .to_owned();
    let (asking, asked) = (&bed.pods[1], &bed.pods[2]);
    let address = asked.address().to_string();
    bed.hears(asking, (&service, 80), "hostname", 1);
    bed.cluster.apply(DENY);
    wait_for(&bed.cluster, 1);
    bed.cluster.wait(LONG, "it is denied by its address", || {
        (!dials(bed, asking, (&address, WEB))).then_some(())
    });
    for _ in 0..5 {
        let heard = dial(bed, asking, (&service, 80)).unwrap_or_default();
        assert!(
            heard.iter().all(|name| *name == asking.name),
            "by the service itself alone: {heard:?}"
        );
    }
    bed.cluster.apply(ALLOW);
    bed.hears(asking, (&address, WEB), "hostname", 1);
    bed.hears(asking, (&service, 80), "hostname", 1);
    bed.cluster.apply(EGRESS);
    wait_for(&bed.cluster, 3);
    // the rules follow the news by a moment
    bed.cluster.wait(LONG, "it is denied where it leaves", || {
        (!dials(bed, asking, (&address, WEB))).then_some(())
    });
    let ready = bed.cluster.wait_for_pods(LONG, "app=web", bed.pods.len());
    assert_eq!(ready.len(), bed.pods.len(), "probes pass");
    bed.cluster.kubectl(&["delete", "networkpolicies", "--all"]);
    bed.hears(asking, (&service, 80), "hostname", 1);
}

/// Waits until every node knows so many policies, and has isolated its web pod.
fn wait_for(cluster: &Cluster, policies: u64) {
    for node in &cluster.nodes {
        cluster.wait(LONG, &format!("{} isolates its pod", node.name()), || {
            let status = node.mesh().network(NET)?;
            let held = &status["pods"]["policy"];
            let is = held["policies"] == policies && held["isolated"] == 1;
            is.then_some(())
        });
    }
}

fn dials(bed: &Bed, pod: &Pod, to: (&str, u16)) -> bool {
    dial(bed, pod, to).is_some_and(|heard| !heard.is_empty())
}

fn dial(bed: &Bed, pod: &Pod, to: (&str, u16)) -> Option<BTreeSet<String>> {
    let machine = bed.cluster.node(&pod.node).mesh().machine();
    pod.dial(machine, to, "hostname", 1).ok()
}
