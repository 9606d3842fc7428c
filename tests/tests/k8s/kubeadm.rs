//! Clusters that `meshctl k8s` makes with real kubeadm.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use meshd_tests::k8s::{Kubeadm, NET, Parts, kubeadm};
use meshd_tests::mesh::words;
use meshd_tests::{Nat, figure, skip};

use crate::{bed, strangers};

/// For kubeadm's pods to run and nodes to be ready, on a busy computer.
const LONG: Duration = Duration::from_secs(300);
/// Where the backup is.
const BACKUP: &str = "/var/lib/cluster.tar";
/// Where meshctl's files are.
const FOLDER: &str = "/etc/kubernetes/meshd";

/// What such a cluster is made of, or `None` where this computer cannot have it, which is said.
pub fn parts(test: &str) -> Option<Parts> {
    let parts = bed::parts(test)?;
    kubeadm::images().map_err(|why| skip(test, &why)).ok()?;
    Some(parts)
}

#[test]
fn a_cluster_is_made_by_two_commands_again_and_taken_away() {
    let Some(parts) = parts("a cluster by kubeadm") else {
        return;
    };
    let cluster = Kubeadm::start(&parts, &[("n1", Nat::Open), ("w1", Nat::PortRestricted)]);
    what_is_missing_is_said(&cluster);
    cluster.relay.ctl(&["endpoint", "add", "api", "--to", "n1:6443"]);
    a_dry_run_shows_every_file(&cluster);
    let begin = Instant::now();
    let first = cluster.init("n1");
    cluster.join("w1", &first.worker);
    let typed = begin.elapsed();
    cluster.wait_ready("n1", LONG, &["n1", "w1"]);
    figure(
        "a control plane and a worker by kubeadm, until both commands end, and until both nodes are ready",
        format!(
            "{:.0} s, {:.0} s",
            typed.as_secs_f64(),
            begin.elapsed().as_secs_f64()
        ),
        "none",
    );
    again_changes_nothing(&cluster, &first.worker);
    status_tells(&cluster);
    strangers::nothing_is_open_to_strangers(&cluster, &["n1", "w1"]);
    lost_and_restored(&cluster);
    a_worker_is_drained_and_removed(&cluster);
    taken_away(&cluster);
}

/// Nothing leads to the API servers yet.
fn what_is_missing_is_said(cluster: &Kubeadm) {
    let refused = cluster.try_ctl("n1", &["k8s", "init"]);
    let said = words(&refused);
    assert!(!refused.status.success(), "{said}");
    for part in ["meshctl endpoint add api --to n1:6443", "failCgroupV1: false"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!exists(cluster, "n1", FOLDER), "nothing is written");
}

fn a_dry_run_shows_every_file(cluster: &Kubeadm) {
    let shown = cluster.ctl("n1", &["k8s", "init", "--dry-run", "--patch", "/etc/own.yaml"]);
    for part in [
        "controlPlaneEndpoint: 10.77.255.254:7443",
        "# /etc/kubernetes/meshd/kubeadm.yaml (0600)",
        "cgroupDriver: cgroupfs",
        "--bind-address=10.77.",
        "# then: kubeadm init",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!exists(cluster, "n1", FOLDER), "nothing is written");
}

fn again_changes_nothing(cluster: &Kubeadm, old: &str) {
    let second = cluster.init("n1");
    assert_ne!(second.worker, old, "a new word");
    let said = cluster.join("w1", &second.worker);
    assert!(said.contains("w1 is a worker of the cluster"), "{said}");
    cluster.wait_ready("n1", LONG, &["n1", "w1"]);
    let refused = cluster.try_ctl("w1", &Kubeadm::join_words(&second.control_plane));
    let said = words(&refused);
    assert!(
        !refused.status.success() && said.contains("a worker of the cluster"),
        "{said}"
    );
}

fn status_tells(cluster: &Kubeadm) {
    let said = cluster.ctl("n1", &["k8s", "status"]);
    for part in ["n1 is a control-plane", "10.77.255.254:7443", "n1:6443", "w1"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let kubeconfig = cluster.ctl("n1", &["k8s", "kubeconfig"]);
    assert!(
        kubeconfig.contains("server: https://10.77.255.254:7443"),
        "{kubeconfig}"
    );
    // it is right on every machine of the mesh
    let file = cluster.node("w1").mesh().machine().file("/var/lib/admin.conf");
    fs::write(file, kubeconfig).expect("the machine's own file");
    let asked = cluster.on(
        "w1",
        &["kubectl", "--kubeconfig", "/var/lib/admin.conf", "get", "nodes"],
    );
    assert!(asked.status.success(), "{}", words(&asked));
}

/// The only control plane is lost with its disk, and the cluster comes back from a file, its worker by itself.
fn lost_and_restored(cluster: &Kubeadm) {
    let kept = ["create", "configmap", "kept", "--from-literal=said=before"];
    let made = cluster.try_kubectl("n1", &kept);
    assert!(made.status.success(), "{}", words(&made));
    let refused = cluster.try_ctl("w1", &["k8s", "backup", BACKUP]);
    assert!(
        words(&refused).contains("no control plane"),
        "{}",
        words(&refused)
    );
    let said = cluster.ctl("n1", &["k8s", "backup", BACKUP]);
    assert!(said.contains("not encrypted"), "{said}");
    let file = cluster.node("n1").mesh().machine().file(BACKUP);
    let mode = fs::metadata(file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let restore = Kubeadm::restore_words(BACKUP);
    let refused = cluster.try_ctl("n1", &restore);
    assert!(words(&refused).contains("k8s reset --yes"), "{}", words(&refused));

    cluster.ctl("n1", &["k8s", "reset", "--yes"]);
    assert!(
        !exists(cluster, "n1", "/var/lib/etcd/member"),
        "the data are lost"
    );
    cluster.interrupted("n1", &restore, Duration::from_secs(4));
    let begin = Instant::now();
    cluster.ctl("n1", &restore);
    cluster.wait_ready("n1", LONG, &["n1", "w1"]);
    figure(
        "a cluster from its backup, until both nodes are ready",
        format!("{:.0} s", begin.elapsed().as_secs_f64()),
        "none",
    );
    let kept = cluster
        .get("n1", &["configmap", "kept"])
        .expect("it was in the backup");
    assert_eq!(kept["data"]["said"], "before");
    let again = cluster.try_kubectl("n1", &["create", "configmap", "new"]);
    assert!(again.status.success(), "{}", words(&again));
    for path in ["/etc/kubernetes/meshd/backup", "/etc/kubernetes/pki/etcd/ca.key"] {
        assert_eq!(exists(cluster, "n1", path), path.ends_with("key"), "{path}");
    }
}

/// By the relay's admin socket, as if it were forwarded to the control plane.
fn a_worker_is_drained_and_removed(cluster: &Kubeadm) {
    let socket = cluster
        .cloud
        .file("/run/meshrelay/admin.sock")
        .display()
        .to_string();
    let remove = ["--relay-socket", &socket, "node", "remove", "w1", "--drain"];
    let said = cluster.ctl("n1", &remove);
    assert!(said.contains("it was drained"), "{said}");
    let gone = cluster.try_kubectl("n1", &["get", "node", "w1"]);
    assert!(words(&gone).contains("NotFound"), "{}", words(&gone));
    let shown = cluster.relay.try_ctl(&["node", "show", "w1"]);
    assert!(!shown.status.success(), "it is in no more: {}", words(&shown));
}

fn taken_away(cluster: &Kubeadm) {
    for name in ["w1", "n1"] {
        let said = cluster.ctl(name, &["k8s", "reset", "--yes"]);
        // a kubelet may not take its own object away
        assert_eq!(said.contains("kubectl delete node w1"), name == "w1", "{said}");
        let rules = cluster.on(
            name,
            &["sh", "-c", "iptables-save; ip6tables-save; nft list tables"],
        );
        let rules = words(&rules);
        assert!(
            !rules.contains("KUBE-SERVICES") && !rules.contains("kube-proxy"),
            "{name}: {rules}"
        );
        for path in [
            FOLDER,
            "/etc/kubernetes/admin.conf",
            "/etc/kubernetes/kubelet.conf",
            "/etc/kubernetes/manifests/etcd.yaml",
            "/etc/cni/net.d/10-mesh.conflist",
            "/var/lib/kubelet/config.yaml",
        ] {
            assert!(!exists(cluster, name, path), "{path} is left on {name}");
        }
        // w1 is in no mesh any more
        if name == "w1" {
            continue;
        }
        let pods =
            cluster.node(name).mesh().network(NET).expect("it is in the mesh")["pods"]["leases"].clone();
        assert_eq!(pods, 0, "{name}");
    }
}

fn exists(cluster: &Kubeadm, name: &str, path: &str) -> bool {
    cluster.node(name).mesh().machine().file(path).exists()
}
