//! A cluster with pods on every node and services before them, for tests that begin with one.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use meshd_tests::k8s::{Cluster, Parts, Pod, ProxyMode, get};
use meshd_tests::{eventually, poll, skip};

/// For what a cluster does by itself, on a busy computer.
pub const LONG: Duration = Duration::from_secs(180);
/// Tries by which each of three pods is met: all are, but for one run in 10^5.
const OFTEN: u32 = 30;
/// The port of every web pod.
pub const WEB: u16 = 8080;

/// A running cluster and its web pods, one on each node, in the order of the nodes.
pub struct Bed {
    pub cluster: Cluster,
    pub pods: Vec<Pod>,
}

/// Real Kubernetes, or `None` where this computer cannot have it, which is said.
pub fn parts(test: &str) -> Option<Parts> {
    Parts::find().map_err(|why| skip(test, &why)).ok()
}

/// A cluster whose nodes are ready, with DNS and web pods.
pub fn start(parts: &Parts, mode: ProxyMode) -> Bed {
    let cluster = Cluster::start(parts, mode);
    cluster.apply(include_str!("../../k8s/manifests/coredns.yaml"));
    cluster.apply(include_str!("../../k8s/manifests/web.yaml"));
    cluster.wait_for_pods(LONG, "k8s-app=kube-dns", 2);
    let pods = cluster.wait_for_pods(LONG, "app=web", cluster.nodes.len());
    Bed { cluster, pods }
}

/// What a pod answers to `kubectl port-forward`, once it does; `kubectl logs` shows the port on which it serves.
#[track_caller]
pub fn logged_and_forwarded(cluster: &Cluster, pod: &Pod) -> String {
    let log = cluster.kubectl(&["logs", &pod.name]);
    assert!(log.contains("8080"), "{}: {log}", pod.name);
    let forward = cluster.port_forward(&pod.name, 18080, WEB);
    let at = SocketAddr::from(([127, 0, 0, 1], 18080));
    let machine = cluster.nodes[0].mesh().machine();
    let what = format!("a port of {} is forwarded", pod.name);
    eventually(Duration::from_secs(60), &what, || {
        assert!(forward.is_running(), "{}", forward.log());
        get(machine, at, "/hostname").ok()
    })
}

impl Bed {
    /// What a pod hears of a server, once it hears anything.
    #[track_caller]
    pub fn hears(&self, pod: &Pod, to: (&str, u16), request: &str, times: u32) -> BTreeSet<String> {
        let machine = self.cluster.node(&pod.node).mesh().machine();
        let (host, port) = to;
        let mut last = String::new();
        let what = format!("{} on {} reaches {host}:{port}", pod.name, pod.node);
        let heard = poll(LONG, || {
            pod.dial(machine, to, request, times)
                .map_err(|error| last = error)
                .ok()
        });
        heard.unwrap_or_else(|| panic!("{what}: {last}\n{}", self.cluster.description()))
    }

    /// Waits until every web pod has answered what a pod asks a service, in one go of [`OFTEN`] questions: kube-proxy learns
    /// of a pod that has become ready a moment after everybody else.
    #[track_caller]
    pub fn hears_all(&self, pod: &Pod, to: (&str, u16)) {
        let mut last = BTreeSet::new();
        let all = poll(LONG, || {
            last = self.hears(pod, to, "hostname", OFTEN);
            (last == self.names()).then_some(())
        });
        let (node, wanted) = (&pod.node, self.names());
        assert!(
            all.is_some(),
            "{node} -> {to:?}: {last:?} answer, not {wanted:?}\n{}",
            self.cluster.description()
        );
    }

    /// The names of all web pods.
    pub fn names(&self) -> BTreeSet<String> {
        self.pods.iter().map(|pod| pod.name.clone()).collect()
    }
}
