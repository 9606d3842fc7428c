//! Clusters that `meshctl k8s --flavor k3s` makes with real k3s.

use std::collections::BTreeSet;
use std::time::Duration;

use meshd_tests::k8s::{K3s, NET, Parts, Pod, guide};
use meshd_tests::mesh::words;
use meshd_tests::{Nat, poll, skip};

use crate::bed;

/// For k3s to come up and nodes to be ready, on a busy computer.
const LONG: Duration = Duration::from_secs(300);
/// Tries by which each of a few pods is met.
const OFTEN: u32 = 30;

/// What such a cluster is made of, or `None` where this computer cannot have it, which is said.
pub fn parts(test: &str) -> Option<Parts> {
    let parts = bed::parts(test)?;
    parts.with_k3s().map_err(|why| skip(test, &why)).ok()
}

#[test]
#[ignore = "five minutes"]
fn k3s_is_made_by_two_commands_and_its_pods_reach_each_other_through_a_nat() {
    let Some(parts) = parts("a cluster by k3s") else {
        return;
    };
    let cluster = K3s::start(&parts, &[("n1", Nat::Open), ("w1", Nat::PortRestricted)]);
    cluster.relay.ctl(&["endpoint", "add", "api", "--to", "n1:6443"]);
    a_dry_run_shows_every_file(&cluster);
    let first = cluster.init("n1", &[]);
    cluster.join("w1", &first.agent, &[]);
    cluster.wait_ready("n1", LONG, &["n1", "w1"]);
    pods_reach_each_other(&cluster, "n1", 2);
    each_listens_on_the_mesh(&cluster, &["n1", "w1"]);
    again_changes_nothing(&cluster, &first.agent);
    status_tells(&cluster);
    taken_away(&cluster, &["w1", "n1"]);
}

fn a_dry_run_shows_every_file(cluster: &K3s) {
    let init = guide::words(guide::K3S_INIT);
    let shown = cluster.ctl(
        "n1",
        &[&init[..], &["--dry-run", "--patch", "/etc/own.yaml"]].concat(),
    );
    for part in [
        "# /etc/rancher/k3s/config.yaml (0600)",
        "flannel-backend: none",
        "bind-address: \"10.77.",
        "conntrack-min=0",
        "# /etc/systemd/system/k3s.service (0644)",
        "# then: systemctl restart --no-block k3s",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(
        !exists(cluster, "n1", "/etc/rancher/k3s/config.yaml"),
        "nothing is written"
    );
}

/// By their own addresses' service, whichever node the pod that answers is on.
pub fn pods_reach_each_other(cluster: &K3s, server: &str, count: usize) {
    cluster.apply(server, include_str!("../../k8s/manifests/web.yaml"));
    let pods = cluster.wait_for_pods(server, LONG, "app=web", count);
    let names: BTreeSet<String> = pods.iter().map(|pod| pod.name.clone()).collect();
    let service = cluster.get(server, &["service", "web"]).expect("it was applied");
    let service = service["spec"]["clusterIP"]
        .as_str()
        .expect("it has an address")
        .to_owned();
    for pod in &pods {
        hears_all(cluster, server, pod, &service, &names);
    }
}

fn hears_all(cluster: &K3s, server: &str, pod: &Pod, service: &str, names: &BTreeSet<String>) {
    let machine = cluster.node(&pod.node).mesh().machine();
    let mut last = String::new();
    let all = poll(LONG, || {
        let heard = pod.dial(machine, (service, 80), "hostname", OFTEN);
        last = format!("{heard:?}");
        (heard.ok()? == *names).then_some(())
    });
    assert!(
        all.is_some(),
        "{} on {} hears not all of {names:?} at {service}: {last}\n{}",
        pod.name,
        pod.node,
        cluster.description(server)
    );
}

/// Whatever listens on TCP on a node does so on loopback, or on an address of the mesh.
pub fn each_listens_on_the_mesh(cluster: &K3s, names: &[&str]) {
    for name in names {
        let said = cluster.on(name, &["ss", "-Hltnp"]);
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let local = |line: &str| line.split_whitespace().nth(3).map(str::to_owned);
        let fits = |at: &String| {
            let starts = ["127.", "[::1]", "10.77.", "[fd"];
            starts.iter().any(|start| at.starts_with(start))
        };
        let wide: Vec<String> = said.lines().filter_map(local).filter(|at| !fits(at)).collect();
        assert!(wide.is_empty(), "{name} listens on {wide:?}\n{said}");
        assert!(said.contains(":10250 "), "{name}: {said}");
    }
}

fn again_changes_nothing(cluster: &K3s, old: &str) {
    let second = cluster.init("n1", &[]);
    let said = cluster.join("w1", old, &[]);
    assert!(said.contains("w1 is a worker of the cluster"), "{said}");
    cluster.wait_ready("n1", LONG, &["n1", "w1"]);
    let refused = cluster.try_ctl("w1", &["k8s", "join", &second.server]);
    let said = words(&refused);
    assert!(
        !refused.status.success() && said.contains("a worker of the cluster"),
        "{said}"
    );
}

fn status_tells(cluster: &K3s) {
    let said = cluster.ctl("n1", &["k8s", "status"]);
    for part in [
        "n1 is a control-plane",
        "10.77.255.254:7443",
        "n1:6443",
        "w1",
        "ready",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let kubeconfig = cluster.ctl("n1", &["k8s", "kubeconfig"]);
    assert!(
        kubeconfig.contains("server: https://10.77.255.254:7443"),
        "{kubeconfig}"
    );
    // it is right on every machine of the mesh
    let file = cluster.node("w1").mesh().machine().file("/var/lib/admin.conf");
    std::fs::write(file, kubeconfig).expect("the machine's own file");
    let asked = [
        "k3s",
        "kubectl",
        "--kubeconfig",
        "/var/lib/admin.conf",
        "get",
        "--raw",
        "/api/v1/nodes/w1",
    ];
    let asked = cluster.on("w1", &asked);
    assert!(asked.status.success(), "{}", words(&asked));
}

fn taken_away(cluster: &K3s, names: &[&str]) {
    for name in names {
        cluster.ctl(name, &["k8s", "reset", "--yes"]);
        for path in [
            "/etc/kubernetes/meshd",
            "/etc/rancher/k3s",
            "/etc/systemd/system/k3s.service",
            "/etc/systemd/system/k3s-agent.service",
            "/etc/cni/net.d/10-mesh.conflist",
            "/var/lib/opt/cni/bin/loopback",
            "/var/lib/rancher/k3s/server",
            "/var/lib/rancher/k3s/agent",
        ] {
            assert!(!exists(cluster, name, path), "{path} is left on {name}");
        }
        let mesh = cluster.node(name).mesh().network(NET).expect("it is in the mesh");
        assert_eq!(mesh["pods"]["leases"], 0, "{name}");
    }
}

fn exists(cluster: &K3s, name: &str, path: &str) -> bool {
    std::fs::symlink_metadata(cluster.node(name).mesh().machine().file(path)).is_ok()
}
