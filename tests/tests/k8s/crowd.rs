//! A large cluster as meshd sees it: what the API server says of a thousand pods and two hundred policies, and what that costs the
//! process. The pods are objects alone, which no node runs.

use std::fmt::Write as _;
use std::time::Instant;

use meshd_tests::figure;
use meshd_tests::k8s::{Cluster, NET, ProxyMode};
use serde_json::json;

use crate::bed::{self, LONG};

const PODS: u16 = 1000;
const POLICIES: u16 = 200;
/// What the process may grow by, in kB, whatever it was built for: the bar for all of it is 25 MB in an optimised build.
const GROWTH: u64 = 15_000;

#[test]
#[ignore = "some minutes: run by ./test --long"]
fn a_thousand_pods_and_two_hundred_policies_cost_meshd_little() {
    let Some(parts) = bed::parts("a large cluster") else {
        return;
    };
    let bed = bed::start(&parts, ProxyMode::Nftables);
    let node = bed.cluster.node("w1").mesh();
    let resident = || node.with_process(meshd_tests::Process::rss_kib);
    let bare = resident();
    bed.cluster.give_credentials();
    crowd(&bed.cluster);
    let begin = Instant::now();
    for number in 0..POLICIES / 100 {
        let policies: String = (number * 100..(number + 1) * 100).map(policy).collect();
        bed.cluster.apply(&policies);
    }
    bed.cluster.wait(LONG, "everything is known", || {
        let status = node.network(NET)?;
        let (kube, held) = (&status["kube"], &status["pods"]["policy"]);
        let all = held["policies"] == POLICIES && kube["pods"].as_u64()? >= u64::from(PODS);
        (all && held["isolated"] == 1).then_some(())
    });
    figure(
        "200 policies written and known on a node",
        format!("{} s", begin.elapsed().as_secs()),
        "none",
    );
    let full = resident();
    figure(
        "meshd on a node of a cluster with 1,000 pods and 200 policies: memory",
        format!("{full} kB, {bare} kB without credentials"),
        "25 MB, of an optimised build",
    );
    assert!(full - bare.min(full) < GROWTH, "{bare} kB -> {full} kB");
}

/// Pods that no scheduler looks at, with addresses that their status gives.
fn crowd(cluster: &Cluster) {
    let (mut pods, mut statuses) = (String::new(), String::new());
    for number in 0..PODS {
        let app = format!("app-{}", number % 50);
        let _ = write!(
            pods,
            "---
apiVersion: v1
kind: Pod
metadata: {{name: crowd-{number}, labels: {{app: {app}, tier: backend, pod-template-hash: 7c5ddbdf54}}}}
spec:
  schedulerName: nobody
  automountServiceAccountToken: false
  containers: [{{name: one, image: none, ports: [{{name: http, containerPort: 8080}}]}}]
"
        );
        let [high, low] = number.to_be_bytes();
        let ips = [
            format!("10.244.{}.{low}", 100 + high),
            format!("fd00:10:244:64::{number:x}"),
        ];
        let status = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("crowd-{number}"), "namespace": "default"},
            "status": {"phase": "Pending", "podIP": ips[0], "podIPs": ips.each_ref().map(|ip| json!({"ip": ip}))}
        });
        let _ = write!(statuses, "---\n{status}\n");
    }
    cluster.apply(&pods);
    cluster.apply_as(&statuses, &["--server-side", "--subresource=status"]);
}

/// It selects every pod of the namespace, and names pods, a port, a range and a name.
fn policy(number: u16) -> String {
    let (one, other) = (number % 50, (number + 1) % 50);
    format!(
        "---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: crowd-{number}}}
spec:
  podSelector: {{}}
  ingress:
  - from:
    - podSelector: {{matchLabels: {{app: app-{one}}}}}
    - namespaceSelector: {{}}
      podSelector: {{matchLabels: {{app: app-{other}}}}}
    ports: [{{port: 80}}, {{port: {}, endPort: {}}}, {{port: http}}]
",
        9000 + number,
        9100 + number
    )
}
