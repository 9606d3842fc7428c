//! A hundred pods on one node come and go, twice, and nothing stays behind.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use meshd_tests::k8s::{Cluster, NET, ProxyMode, Worker};
use meshd_tests::{eventually_or_last, figure};

use crate::bed;

/// Pods of a storm.
const PODS: usize = 100;
/// For so many pods to come or go, on a busy computer.
const PATIENCE: Duration = Duration::from_secs(600);

/// For what the last pods leave to be taken away.
const SETTLE: Duration = Duration::from_secs(60);

/// What the pods of a node leave on it: interfaces, routes, addresses that are leased, rules.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    leases: u64,
    interfaces: BTreeSet<String>,
    routes: BTreeSet<String>,
    rules: BTreeSet<String>,
}

#[test]
#[ignore = "some minutes: run by ./test --long"]
fn a_hundred_pods_start_and_end_in_a_storm_and_leave_nothing() {
    let Some(parts) = bed::parts("a storm of pods") else {
        return;
    };
    let cluster = Cluster::start(&parts, ProxyMode::Nftables);
    let node = cluster.node("w1");
    // the first pod of a node brings rules that stay
    storm(&cluster, 1);
    let clean = |now: &Traces| now.leases == 0 && !now.interfaces.iter().any(|name| name.contains("mpod"));
    let before = eventually_or_last(SETTLE, || traces(node), clean);
    assert!(clean(&before), "{before:?}");
    for round in 1..=2 {
        let begin = Instant::now();
        storm(&cluster, PODS);
        let took = begin.elapsed().as_secs();
        figure(
            &format!("storm {round}: {PODS} pods ready on one node and gone"),
            format!("{took} s"),
            "none",
        );
        let after = eventually_or_last(SETTLE, || traces(node), |now| *now == before);
        assert_eq!(after, before, "after storm {round}");
    }
}

/// Pods come, are ready, and are deleted all at once.
fn storm(cluster: &Cluster, count: usize) {
    cluster.apply(&manifest(count));
    cluster.wait_for_pods(PATIENCE, "app=storm", count);
    cluster.kubectl(&[
        "delete",
        "pods",
        "--selector",
        "app=storm",
        "--wait=false",
        "--grace-period=1",
    ]);
    cluster.wait(PATIENCE, "the pods are gone", || {
        let left = cluster.get(&["pods", "--selector", "app=storm"])?;
        left["items"].as_array()?.is_empty().then_some(())
    });
}

fn manifest(count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        let _ = write!(
            text,
            "---
apiVersion: v1
kind: Pod
metadata: {{name: storm-{number}, labels: {{app: storm}}}}
spec:
  nodeName: w1
  terminationGracePeriodSeconds: 1
  containers:
  - {{name: storm, image: registry.k8s.io/pause:3.10, imagePullPolicy: Never}}
"
        );
    }
    text
}

/// Seen on the node's machine; counters of rules left out.
fn traces(node: &Worker) -> Traces {
    let machine = node.mesh().machine();
    let lines = |command: &str| machine.sh(command).lines().map(str::to_owned).collect();
    let network = node.mesh().network(NET).unwrap_or_default();
    Traces {
        leases: network["pods"]["leases"].as_u64().unwrap_or(u64::MAX),
        interfaces: lines("ip -o link | cut -d: -f2"),
        routes: lines("ip route show table all; ip -6 route show table all"),
        rules: lines("nft -s list ruleset | grep -v counter || true"),
    }
}
