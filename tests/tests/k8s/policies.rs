//! Network policies in a cluster: who is denied, who is allowed, and that probes go on, under both modes of kube-proxy.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use meshd_tests::k8s::{Cluster, NET, Pod, ProxyMode};
use meshd_tests::{figure, keeps};

use crate::bed::{self, Bed, LONG, WEB};

/// The longest that an allowed packet waits.
const WAITS: Duration = Duration::from_secs(1);
/// One try to connect: a packet that was denied is not sent again within it.
const TRY: Duration = Duration::from_millis(200);

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

/// The same by the port's name.
const NAMED: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: named}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{podSelector: {matchExpressions: [{key: app, operator: Exists}]}}]
    ports: [{port: asked}]
";

/// Web pods are reached from every pod's address but one.
fn all_but(address: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: block}}
spec:
  podSelector: {{matchLabels: {{app: web}}}}
  ingress:
  - from: [{{ipBlock: {{cidr: 10.244.0.0/16, except: [{address}/32]}}}}]
"
    )
}

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
    let mut bed = bed::start(&parts, ProxyMode::Nftables);
    bed.cluster.give_credentials();
    policies(&bed);
    outlives_meshd_and_the_api_server(&mut bed);
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
    denied(bed, asking, (&address, WEB));
    for _ in 0..5 {
        let heard = dial(bed, asking, (&service, 80)).unwrap_or_default();
        assert!(
            heard.iter().all(|name| *name == asking.name),
            "by the service itself alone: {heard:?}"
        );
    }
    bed.cluster.apply(ALLOW);
    an_allowed_packet_waits(bed, asking, asked);
    bed.hears(asking, (&service, 80), "hostname", 1);
    bed.cluster.kubectl(&["delete", "networkpolicy", "allow"]);
    bed.cluster.apply(&all_but(&asking.address().to_string()));
    denied(bed, asking, (&address, WEB));
    bed.hears(&bed.pods[0], (&address, WEB), "hostname", 1);
    bed.cluster.kubectl(&["delete", "networkpolicy", "block"]);
    bed.cluster.apply(NAMED);
    bed.hears(asking, (&address, WEB), "hostname", 1);
    bed.cluster.apply(EGRESS);
    wait_for(&bed.cluster, 3);
    denied(bed, asking, (&address, WEB));
    let ready = bed.cluster.wait_for_pods(LONG, "app=web", bed.pods.len());
    assert_eq!(ready.len(), bed.pods.len(), "probes pass");
    bed.cluster.kubectl(&["delete", "networkpolicies", "--all"]);
    bed.hears(asking, (&service, 80), "hostname", 1);
}

/// From the end of `kubectl` until the first connection is made.
fn an_allowed_packet_waits(bed: &Bed, asking: &Pod, asked: &Pod) {
    let begin = Instant::now();
    let at = SocketAddr::new(asked.address(), WEB);
    let inside = asking.namespace(bed.cluster.node(&asking.node).mesh().machine());
    let what = format!("{} may reach {at}", asking.name);
    bed.cluster.wait(LONG, &what, || {
        inside
            .inside(|| TcpStream::connect_timeout(&at, TRY).ok())
            .map(drop)
    });
    let took = begin.elapsed();
    figure(
        "a policy that allows is written: the first connection",
        format!("after {} ms", took.as_millis()),
        "1,000 ms",
    );
    assert!(keeps(took, WAITS), "{took:?}");
}

/// What is denied stays denied, and what is allowed allowed, while meshd is killed and started and while the API server is away.
fn outlives_meshd_and_the_api_server(bed: &mut Bed) {
    let (pods, address) = (bed.pods.clone(), bed.pods[2].address().to_string());
    bed.cluster.apply(&all_but(&pods[1].address().to_string()));
    denied(bed, &pods[1], (&address, WEB));
    let node = bed.cluster.node(&pods[2].node).mesh();
    node.kill();
    assert!(!dials(bed, &pods[1], (&address, WEB)), "while meshd is away");
    let mut others = Vec::new();
    bed.cluster.without_api_server(|cluster| {
        let node = cluster.node(&pods[2].node).mesh();
        node.start_again();
        for (from, allowed) in [(&pods[0], true), (&pods[1], false)] {
            let machine = cluster.node(&from.node).mesh().machine();
            let heard = cluster.wait(LONG, "the mesh carries pods again", || {
                let heard = from.dial(machine, (&address, WEB), "hostname", 1);
                (heard.is_ok() == allowed).then_some(heard.is_ok())
            });
            others.push(heard);
        }
    });
    assert_eq!(others, [true, false], "by what meshd had kept");
    bed.cluster.kubectl(&["delete", "networkpolicies", "--all"]);
    bed.hears(&pods[1], (&address, WEB), "hostname", 1);
}

/// Waits until a pod is denied: the rules follow the news by a moment.
#[track_caller]
fn denied(bed: &Bed, pod: &Pod, to: (&str, u16)) {
    bed.cluster
        .wait(LONG, &format!("{} does not reach {to:?}", pod.name), || {
            (!dials(bed, pod, to)).then_some(())
        });
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
