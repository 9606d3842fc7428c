//! The demonstration behind `./demo --k8s`: a cluster of real Kubernetes whose nodes are all behind NATs, on this computer.
//!
//! Every line with a `$` is what a person types, and is what runs here. `--once` ends after the last step; otherwise the
//! cluster stays until Ctrl-C.

use std::process::ExitCode;

use meshd_tests::k8s::{Cluster, Parts, Show};

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
    let mut show = Show::start(parts, |what| println!("\n== {what}"));
    println!("w1$ meshctl status");
    print!("{}", show.cluster.node("w1").mesh().ctl(&["status"]));
    kubectl(&show.cluster, &["get", "nodes", "-o", "wide"]);
    kubectl(&show.cluster, &["get", "pods", "-A", "-o", "wide"]);
    show.pods_answer();
    show.outside_answers();
    println!("laptop$ meshctl status");
    print!("{}", show.laptop.ctl(&["status"]));
    show.gateway_dies();
    show.power_cut();
    kubectl(&show.cluster, &["get", "pods", "-A", "-o", "wide"]);
    table(&show);
    if once {
        println!("\nall of it works; taking everything away again");
        return;
    }
    println!(
        "\nCtrl-C ends it. Enter one of the machines with: sudo nsenter --net --mount --uts --target {}",
        show.cluster.nodes[0].mesh().machine().pid()
    );
    loop {
        std::thread::park();
    }
}

fn table(show: &Show) {
    let width = show.outcomes.iter().map(|shown| shown.what.chars().count()).max();
    let width = width.unwrap_or_default();
    println!("\n{:width$}  seconds", "what worked");
    for shown in &show.outcomes {
        println!("{:width$}  {:7.1}", shown.what, shown.took.as_secs_f64());
    }
}

fn kubectl(cluster: &Cluster, arguments: &[&str]) {
    println!("cp$ kubectl {}", arguments.join(" "));
    for line in cluster.kubectl(arguments).lines() {
        println!("    {line}");
    }
}
