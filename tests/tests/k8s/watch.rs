//! meshd watches the API server: through NATs, with credentials that allow nothing else, and over the server's death.

use std::fs;
use std::path::Path;

use meshd_tests::k8s::{Cluster, KUBECONFIG, NET, ProxyMode, Worker};
use meshd_tests::mesh::words;
use serde_json::Value;

use crate::bed::{self, LONG};

/// A namespace with a policy, and a pod that no node takes.
const MANIFEST: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: red}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress]}
---
apiVersion: v1
kind: Pod
metadata: {name: waits, namespace: shop, labels: {app: web}}
spec:
  nodeSelector: {none: such}
  containers: [{name: one, image: none}]
";

/// What is recorded besides: a pod with everything that counts and a secret that must not be kept, and a policy with every form.
const RECORDED: &str = include_str!("../../k8s/manifests/recorded.yaml");

#[test]
fn meshd_watches_the_api_server_with_the_least_credentials_and_keeps_what_it_knew() {
    let Some(parts) = bed::parts("watches of the API server") else {
        return;
    };
    let mut cluster = Cluster::start(&parts, ProxyMode::Nftables);
    wrong_credentials_are_refused_in_a_sentence(&cluster);
    cluster.give_credentials();
    every_node_knows_itself(&cluster);
    credentials_allow_nothing_else(&cluster);
    cluster.apply(MANIFEST);
    let known = [("policies", 1), ("pods", 1)];
    let wait_for = |cluster: &Cluster, wanted: [(&str, u64); 2]| {
        for node in &cluster.nodes {
            cluster.wait(LONG, &format!("{} knows {wanted:?}", node.name()), || {
                let kube = kube(node)?;
                wanted
                    .iter()
                    .all(|(what, count)| kube[what] == *count)
                    .then_some(())
            });
        }
    };
    wait_for(&cluster, known);
    if let Some(folder) = std::env::var_os("MESHD_K8S_RECORD") {
        record(&cluster, Path::new(&folder));
    }
    cluster.without_api_server(|cluster| {
        for node in &cluster.nodes {
            let kube = cluster.wait(
                LONG,
                &format!("{} says that the server is away", node.name()),
                || kube(node).filter(|kube| kube["connected"] == false),
            );
            let said = kube["state"].as_str().unwrap_or_default();
            assert!(said.contains("does not answer"), "{said}");
            assert_eq!(
                (&kube["policies"], &kube["pods"]),
                (&1.into(), &1.into()),
                "{kube}"
            );
        }
    });
    cluster.kubectl(&["delete", "namespace", "shop", "--wait=false"]);
    wait_for(&cluster, [("policies", 0), ("pods", 0)]);
    cluster.nodes[2].mesh().ctl(&["cni", "uninstall", "--force"]);
    assert_eq!(kube(&cluster.nodes[2]), None);
}

/// What the API server answers to what meshd asks, with meshd's own credentials, as files: what the examples of
/// the daemon's unit tests (daemon/src/kube/examples), which are written by hand, can be held against.
fn record(cluster: &Cluster, folder: &Path) {
    cluster.apply(RECORDED);
    let name = "recorded-0";
    cluster.wait(LONG, "the recorded pod runs", || {
        let pod = cluster.get(&["--namespace=shop", "pod", name])?;
        (pod["status"]["phase"] == "Running").then_some(())
    });
    for (file, path) in [
        (
            "pods",
            "/api/v1/namespaces/shop/pods?fieldSelector=status.phase%3DRunning",
        ),
        ("namespaces", "/api/v1/namespaces"),
        ("nodes", "/api/v1/nodes"),
        (
            "networkpolicies",
            "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies",
        ),
    ] {
        let answer = cluster.kubectl(&["--kubeconfig", KUBECONFIG, "get", "--raw", path]);
        fs::write(folder.join(file).with_extension("json"), answer).expect("the folder is there");
    }
    cluster.kubectl(&[
        "--namespace=shop",
        "delete",
        "statefulset/recorded",
        "networkpolicy/api",
    ]);
}

fn kube(node: &Worker) -> Option<Value> {
    Some(node.mesh().network(NET)?["kube"].clone()).filter(|kube| !kube.is_null())
}

fn every_node_knows_itself(cluster: &Cluster) {
    for node in &cluster.nodes {
        cluster.wait(LONG, &format!("{} knows which node it is", node.name()), || {
            (kube(node)?["node"] == node.name()).then_some(())
        });
    }
}

fn wrong_credentials_are_refused_in_a_sentence(cluster: &Cluster) {
    let node = &cluster.nodes[1];
    let refused = |user: &str| {
        let file = node.mesh().machine().file(KUBECONFIG);
        fs::write(file, cluster.kubeconfig(user)).expect("the machine's own file");
        let output = node
            .mesh()
            .try_ctl(&["cni", "credentials", "--kubeconfig", KUBECONFIG]);
        assert!(!output.status.success(), "{user} was taken");
        words(&output)
    };
    let said = refused("token: nobody");
    assert!(said.contains("does not know these credentials (401)"), "{said}");
    let said = refused("exec: {apiVersion: client.authentication.k8s.io/v1, command: sh}");
    assert!(said.contains("meshd runs none"), "{said}");
    // the default account of a namespace may read nothing
    let token = cluster.wait(LONG, "there is a default account", || {
        let output = cluster.try_kubectl(&["create", "token", "default"]);
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    });
    let said = refused(&format!("token: {}", token.trim()));
    assert!(
        said.contains("may not list namespaces, watch namespaces"),
        "{said}"
    );
    assert_eq!(kube(node), None, "nothing was kept");
}

/// As the API server says itself. Who it is, and what everybody may read, is not counted.
fn credentials_allow_nothing_else(cluster: &Cluster) {
    let listed = cluster.kubectl(&[
        "--as",
        "system:serviceaccount:kube-system:meshd",
        "auth",
        "can-i",
        "--list",
    ]);
    let resources = listed
        .lines()
        .filter(|line| !line.contains("selfsubject") && line.contains("[]"));
    let mut resources: Vec<&str> = resources.filter(|line| !line.starts_with(' ')).collect();
    resources.sort_unstable();
    let allowed: Vec<Vec<&str>> = resources
        .iter()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let read = |what| vec![what, "[]", "[]", "[get", "list", "watch]"];
    let wanted = ["namespaces", "networkpolicies.networking.k8s.io", "nodes", "pods"];
    assert_eq!(allowed, wanted.map(read), "{listed}");
}
