//! Several k3s servers: with etcd of their own, and beside a database.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use meshd_tests::k8s::{K3s, guide};
use meshd_tests::mesh::words;
use meshd_tests::{Nat, Process, figure, poll, skip};

use crate::k3s::{each_listens_on_the_mesh, parts, pods_reach_each_other};

/// For what a cluster does by itself, on a busy computer.
const LONG: Duration = Duration::from_secs(420);
/// Longest time without an API when a server dies: k3s v1.19 cannot be told etcd's timeouts, whose election is 5 s there.
const STANDSTILL: Duration = Duration::from_secs(60);
/// Debian's server (mariadb-server-core).
const MARIADB: &str = "/usr/sbin/mariadbd";

#[test]
#[ignore = "ten minutes"]
fn three_k3s_servers_outlive_one_of_them() {
    let Some(parts) = parts("three servers of k3s") else {
        return;
    };
    let machines = [
        ("n1", Nat::Open),
        ("n2", Nat::Open),
        ("n3", Nat::PortRestricted),
        ("w1", Nat::PortRestricted),
    ];
    let cluster = K3s::start(&parts, &machines);
    cluster.relay.ctl(&guide::words(guide::ENDPOINT));
    let words = cluster.init("n1", &[]);
    cluster.join("n2", &words.server, &[]);
    cluster.join("n3", &words.server, &[]);
    cluster.join("w1", &words.agent, &[]);
    cluster.wait_ready("n2", LONG, &["n1", "n2", "n3", "w1"]);
    pods_reach_each_other(&cluster, "n3", 4);
    each_listens_on_the_mesh(&cluster, &["n1", "n2", "n3", "w1"]);
    let kubeconfig = cluster.ctl("n1", &["k8s", "kubeconfig"]);
    write(&cluster, "w1", "/var/lib/admin.conf", &kubeconfig);
    written(&cluster, "before");
    cluster.cut_off("n1");
    let begin = Instant::now();
    let found = poll(STANDSTILL, || try_write(&cluster, "after").then_some(()));
    let took = begin.elapsed();
    assert!(
        found.is_some(),
        "nothing can be written without n1\n{}",
        cluster.description("n2")
    );
    figure(
        "first write after a k3s server died",
        format!("{:.1} s", took.as_secs_f64()),
        "60 s",
    );
    cluster.wait_ready("n2", LONG, &["n2", "n3", "w1"]);
}

#[test]
#[ignore = "ten minutes"]
fn two_k3s_servers_share_a_database() {
    let Some(parts) = parts("k3s beside a database") else {
        return;
    };
    if !Path::new(MARIADB).exists() {
        return skip("k3s beside a database", "MariaDB is not installed");
    }
    let machines = [
        ("n1", Nat::Open),
        ("n2", Nat::PortRestricted),
        ("w1", Nat::PortRestricted),
        ("db", Nat::Open),
    ];
    let cluster = K3s::start(&parts, &machines);
    let (_database, url) = database(&cluster, "db");
    let two = ["endpoint", "add", "api", "--to", "n1:6443", "--to", "n2:6443"];
    cluster.relay.ctl(&two);
    let datastore = ["--datastore", url.as_str()];
    let words = cluster.init("n1", &datastore);
    cluster.join("n2", &words.server, &datastore);
    cluster.join("w1", &words.agent, &[]);
    cluster.wait_ready("n2", LONG, &["n1", "n2", "w1"]);
    each_listens_on_the_mesh(&cluster, &["n1", "n2", "w1"]);
    let kubeconfig = cluster.ctl("n1", &["k8s", "kubeconfig"]);
    write(&cluster, "w1", "/var/lib/admin.conf", &kubeconfig);
    written(&cluster, "before");
    cluster.cut_off("n1");
    written(&cluster, "after");
    cluster.wait_ready("n2", LONG, &["n2", "w1"]);
}

/// MariaDB on a machine, at its mesh address, and the URL by which k3s reaches it.
fn database(cluster: &K3s, name: &str) -> (Process, String) {
    let node = cluster.node(name);
    let address: IpAddr = node.address();
    let user = "CREATE DATABASE k3s; CREATE USER 'k3s'@'%' IDENTIFIED BY 'secret'; GRANT ALL ON k3s.* TO 'k3s'@'%';\n";
    let made = "mariadb-install-db --no-defaults --user=root --datadir=/var/lib/mysql --auth-root-authentication-method=normal";
    write(cluster, name, "/var/lib/init.sql", &user.replace("; ", ";\n"));
    let made = cluster.on(name, &made.split(' ').collect::<Vec<_>>());
    assert!(made.status.success(), "{}", words(&made));
    let bind = format!("--bind-address={address}");
    let argv = [
        MARIADB,
        "--no-defaults",
        "--user=root",
        "--datadir=/var/lib/mysql",
        "--socket=/run/mysql.sock",
        "--pid-file=/run/mysql.pid",
        "--init-file=/var/lib/init.sql",
        &bind,
    ];
    let server = node.on_host(|host| host.spawn("/usr/sbin", &argv));
    let url = format!("mysql://k3s:secret@tcp({address}:3306)/k3s");
    (server, url)
}

/// By the endpoint, from an agent.
fn try_write(cluster: &K3s, name: &str) -> bool {
    let own = [
        "k3s",
        "kubectl",
        "--kubeconfig",
        "/var/lib/admin.conf",
        "--cache-dir",
        "/var/lib/kubectl",
        "--request-timeout=5s",
    ];
    let written = cluster.on("w1", &[&own[..], &["create", "configmap", name]].concat());
    let said = words(&written);
    written.status.success() || said.contains("already exists")
}

#[track_caller]
fn written(cluster: &K3s, name: &str) {
    let found = poll(STANDSTILL, || try_write(cluster, name).then_some(()));
    assert!(
        found.is_some(),
        "{name}: nothing can be written\n{}",
        cluster.description("n2")
    );
}

fn write(cluster: &K3s, name: &str, path: &str, text: &str) {
    let file = cluster.node(name).mesh().machine().file(path);
    fs::write(file, text).expect("the machine's own file");
}
