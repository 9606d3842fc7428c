//! The demonstration behind `./demo --k8s`: a cluster of real Kubernetes on three networks, on this computer.
//!
//! Every line with a `$` is what a person types, and is what runs here. `--once` ends after the last step; otherwise the
//! cluster stays until Ctrl-C.

use std::process::ExitCode;
use std::time::Duration;

use meshd_tests::k8s::{Cluster, Parts, ProxyMode};

/// How long each step may take, on a small and busy computer.
const PATIENCE: Duration = Duration::from_secs(180);

fn main() -> ExitCode {
    let once = std::env::args().any(|argument| argument == "--once");
    match Parts::find() {
        Ok(parts) => show(&parts, once),
        Err(why) => {
            eprintln!("error: there is no cluster here: {why}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn show(parts: &Parts, once: bool) {
    step(
        "a cloud host, and three machines: cp is public, w1 behind a port-restricted NAT, w2 behind a symmetric one",
    );
    println!(
        "  joined by token; meshd is the network, Kubernetes {} runs on it",
        parts.version()
    );
    let cluster = Cluster::start(parts, ProxyMode::Nftables);
    println!("w1$ meshctl status");
    print!("{}", cluster.node("w1").mesh().ctl(&["status"]));

    step("DNS and a pod on each node, with a service before them");
    cluster.apply(include_str!("../../k8s/manifests/coredns.yaml"));
    cluster.apply(include_str!("../../k8s/manifests/web.yaml"));
    cluster.wait_for_pods(PATIENCE, "k8s-app=kube-dns", 2);
    let pods = cluster.wait_for_pods(PATIENCE, "app=web", cluster.nodes.len());
    kubectl(&cluster, &["get", "nodes", "-o", "wide"]);
    kubectl(&cluster, &["get", "pods", "-A", "-o", "wide"]);

    step("a pod on w1 asks the service; pods on every node answer, the one on w2 through the relay");
    let service = cluster.kubectl(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]);
    let asked = format!("for n in 1 2 3 4 5 6 7 8; do wget -qO- http://{service}/hostname; echo; done");
    kubectl(&cluster, &["exec", &pods[1].name, "--", "sh", "-c", &asked]);

    step("power off and on for w2");
    cluster.reboot("w2");
    let back = cluster.wait(PATIENCE, "the pod of w2 answers again", || {
        let pod = cluster.pods("app=web").into_iter().find(|pod| pod.node == "w2")?;
        let machine = cluster.node("w1").mesh().machine();
        let from = cluster.pods("app=web").into_iter().find(|pod| pod.node == "w1")?;
        let answer = from.dial(machine, (&pod.address().to_string(), 8080), "hostname", 1);
        answer.is_ok().then_some(pod)
    });
    println!("  {} at {} answers again", back.name, back.address());
    if once {
        println!("\nall of it works; taking everything away again");
        return;
    }
    println!(
        "\nCtrl-C ends it. Enter one of the machines with: sudo nsenter --net --mount --uts --target {}",
        cluster.nodes[0].mesh().machine().pid()
    );
    loop {
        std::thread::park();
    }
}

fn kubectl(cluster: &Cluster, arguments: &[&str]) {
    println!("cp$ kubectl {}", arguments.join(" "));
    for line in cluster.kubectl(arguments).lines() {
        println!("    {line}");
    }
}

fn step(what: &str) {
    println!("\n== {what}");
}
