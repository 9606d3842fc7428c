//! All control planes are lost with their disks, and the cluster comes back from a file.

use std::fs;
use std::time::{Duration, Instant};

use meshd_tests::k8s::Kubeadm;
use meshd_tests::mesh::words;
use meshd_tests::{Nat, figure};

use crate::kubeadm::parts;

/// For what a cluster does by itself, on a busy computer.
const LONG: Duration = Duration::from_secs(420);
/// The control planes.
const CONTROL_PLANES: [&str; 3] = ["n1", "n2", "n3"];
/// Where the backup is.
const BACKUP: &str = "/var/lib/cluster.tar";
/// What goes with a control plane's disk.
const LOSE: &str = "systemctl stop kubelet; rm -rf /var/lib/etcd /etc/kubernetes/pki /etc/kubernetes/manifests /etc/kubernetes/*.conf";

#[test]
#[ignore = "a quarter of an hour"]
fn three_control_planes_are_lost_and_the_cluster_comes_back_from_its_backup() {
    let Some(parts) = parts("three control planes lost") else {
        return;
    };
    let machines = [
        ("n1", Nat::Open),
        ("n2", Nat::Open),
        ("n3", Nat::PortRestricted),
        ("w1", Nat::PortRestricted),
    ];
    let cluster = Kubeadm::start(&parts, &machines);
    let to: Vec<String> = CONTROL_PLANES.map(|name| format!("{name}:6443")).to_vec();
    cluster.relay.ctl(&[
        "endpoint", "add", "api", "--to", &to[0], "--to", &to[1], "--to", &to[2],
    ]);
    let first = cluster.init("n1");
    cluster.join("n2", &first.control_plane);
    cluster.join("n3", &first.control_plane);
    cluster.join("w1", &first.worker);
    cluster.wait_ready("n1", LONG, &["n1", "n2", "n3", "w1"]);
    let kept = ["create", "configmap", "kept", "--from-literal=said=before"];
    assert!(cluster.try_kubectl("n2", &kept).status.success());
    cluster.ctl("n2", &["k8s", "backup", BACKUP]);
    let after = ["create", "configmap", "after", "--from-literal=said=after"];
    assert!(cluster.try_kubectl("n2", &after).status.success());

    // elsewhere than on the machines that are lost
    let file = |name: &str| cluster.node(name).mesh().machine().file(BACKUP);
    let backup = fs::read(file("n2")).expect("it was written");
    fs::remove_file(file("n2")).expect("it is there");
    for name in CONTROL_PLANES {
        cluster.on(name, &["sh", "-c", LOSE]);
    }
    for name in CONTROL_PLANES {
        cluster.ctl(name, &["k8s", "reset", "--yes"]);
    }
    let begin = Instant::now();
    // on another one than it was made on
    fs::write(file("n3"), backup).expect("the machine's own file");
    let said = cluster.ctl("n3", &Kubeadm::restore_words(BACKUP));
    let said: serde_json::Value =
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let word = said["control_plane"].as_str().expect("a word").to_owned();
    // the worker by itself; the others are not heard of any more
    cluster.wait_ready("n3", LONG, &["n3", "w1"]);
    figure(
        "a cluster from its backup, until one control plane and its worker are ready",
        format!("{:.0} s", begin.elapsed().as_secs_f64()),
        "none",
    );
    for name in ["n1", "n2"] {
        cluster.join(name, &word);
    }
    cluster.wait_ready("n3", LONG, &["n1", "n2", "n3", "w1"]);
    for name in CONTROL_PLANES {
        let kept = cluster
            .get(name, &["configmap", "kept"])
            .expect("it was in the backup");
        assert_eq!(kept["data"]["said"], "before", "{name}");
        let after = cluster.try_kubectl(name, &["get", "configmap", "after"]);
        assert!(words(&after).contains("NotFound"), "{}", words(&after));
    }
}
