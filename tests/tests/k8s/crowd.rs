//! A large cluster as meshd sees it: what the API server says of a thousand pods and two hundred policies, and what that costs the
//! process. The pods and their nodes are objects alone, which nobody runs.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use meshd_tests::k8s::{Cluster, NET, ProxyMode, Worker};
use meshd_tests::{figure, poll};
use serde_json::json;

use crate::bed::{self, LONG};

const PODS: u16 = 1000;
const POLICIES: u16 = 200;
/// Nodes that have the pods.
const NODES: u16 = 30;
/// What all of that may cost the process, in KiB of its own memory.
const GROWTH: u64 = 6 * 1024;
/// Resident memory that it may have then, in KiB, where it was built as it is shipped.
const RESIDENT: u64 = 20 * 1024;
/// Time to give back what a change needed.
const SOON: Duration = Duration::from_secs(30);

#[test]
#[ignore = "some minutes: run by ./test --long"]
fn a_thousand_pods_and_two_hundred_policies_cost_meshd_little() {
    let Some(parts) = bed::parts("a large cluster") else {
        return;
    };
    let cluster = Cluster::start(&parts, ProxyMode::Nftables);
    cluster.apply(include_str!("../../k8s/manifests/lone.yaml"));
    cluster.wait_for_pods(LONG, "app=lone", 1);
    let node = cluster.node("w2");
    let bare = Memory::settled(node, 0);
    cluster.give_credentials();
    crowd(&cluster);
    cluster.wait(LONG, "pods are known", || {
        let known = node.mesh().network(NET)?["kube"]["pods"].as_u64()?;
        (known > u64::from(PODS)).then_some(())
    });
    let pods = Memory::settled(node, 0);
    let begin = Instant::now();
    let policies: String = (0..POLICIES).map(policy).collect();
    cluster.apply_as(&policies, &["--server-side"]);
    cluster.wait(
        LONG,
        "everything is known, and the rules are the kernel's",
        || all_is_known(node).then_some(()),
    );
    figure(
        "200 policies written and in force on a node, beside 1,000 pods",
        format!("{} s", begin.elapsed().as_secs()),
        "none",
    );
    let optimised = std::env::var_os("MESHD_LAB_BIN").is_some_and(|folder| {
        let folder = std::path::PathBuf::from(folder);
        folder.ends_with("release")
    });
    let full = Memory::settled(node, bare.own + GROWTH);
    let kind = if optimised { "release build" } else { "debug build" };
    figure(
        "memory of meshd on a node of a cluster with 1,000 pods and 200 policies",
        format!("{full}; {pods} without policies, {bare} without credentials ({kind})"),
        "6,144 KiB more of its own; 20,480 KiB in all, in a release build",
    );
    assert!(full.own <= bare.own + GROWTH, "{bare} -> {full}");
    assert!(!optimised || full.resident <= RESIDENT, "{full}");
}

/// Memory of a process in KiB.
struct Memory {
    resident: u64,
    own: u64,
    peak: u64,
}

impl Memory {
    /// When meshd's own is within `own`, or [`SOON`] is over.
    fn settled(node: &Worker, own: u64) -> Self {
        let mut last = Self::of(node);
        poll(SOON, || {
            last = Self::of(node);
            (last.own <= own).then_some(())
        });
        last
    }

    fn of(node: &Worker) -> Self {
        node.mesh().with_process(|process| Self {
            resident: process.rss_kib(),
            own: process.own_kib(),
            peak: process.peak_rss_kib(),
        })
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { resident, own, peak } = self;
        write!(f, "{resident} KiB resident, {own} its own, at most {peak}")
    }
}

fn all_is_known(node: &Worker) -> bool {
    let Some(status) = node.mesh().network(NET) else {
        return false;
    };
    let (kube, held) = (&status["kube"], &status["pods"]["policy"]);
    let pods = kube["pods"].as_u64().unwrap_or_default() > u64::from(PODS);
    if !pods || held["policies"] != POLICIES || held["isolated"] != 1 {
        return false;
    }
    let rules = node.mesh().machine().run(&["nft", "list", "ruleset"]);
    (0..POLICIES).all(|number| rules.contains(&format!("\"default/crowd-{number}\"")))
}

/// Nodes without a kubelet, and running pods on them with addresses that their status gives.
fn crowd(cluster: &Cluster) {
    let (mut objects, mut statuses) = (String::new(), String::new());
    for number in 0..NODES {
        let _ = write!(
            objects,
            "---\n{{apiVersion: v1, kind: Node, metadata: {{name: far-{number}}}}}\n"
        );
    }
    for number in 0..PODS {
        let (app, node) = (number % 50, number % NODES);
        let _ = write!(
            objects,
            "---
apiVersion: v1
kind: Pod
metadata: {{name: crowd-{number}, labels: {{app: app-{app}, tier: backend, pod-template-hash: 7c5ddbdf54}}}}
spec:
  nodeName: far-{node}
  automountServiceAccountToken: false
  tolerations: [{{operator: Exists}}]
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
            "status": {"phase": "Running", "podIP": ips[0], "podIPs": ips.each_ref().map(|ip| json!({"ip": ip}))}
        });
        let _ = write!(statuses, "---\n{status}\n");
    }
    cluster.apply_as(&objects, &["--server-side"]);
    cluster.apply_as(
        &statuses,
        &["--server-side", "--force-conflicts", "--subresource=status"],
    );
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
