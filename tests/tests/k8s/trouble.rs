//! What breaks on the mesh heals under running pods, and what a node had comes back with it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use meshd_tests::k8s::{Conversation, Pod, ProxyMode, guide};
use meshd_tests::mesh::{Node, words};
use meshd_tests::{eventually, figure, keeps};

use crate::bed::{self, Bed, LONG, WEB};

/// Longest pause of pods' traffic when meshd is killed and started.
const RESTART: Duration = Duration::from_secs(1);
/// Longest pause when the relay between two nodes is killed and started at once.
const RELAY: Duration = Duration::from_secs(10);

#[test]
fn pods_outlive_meshd_and_the_relay_and_a_node_comes_back_with_its_pods() {
    let Some(parts) = bed::parts("trouble under pods") else {
        return;
    };
    let mut bed = bed::start(&parts, ProxyMode::Nftables);
    // w1 and w2 have no other path than the relay
    let restarts: [(&str, fn(&Node)); 2] = [
        (
            "meshd killed and started under a pod's TCP connection",
            Node::kill,
        ),
        (
            "meshd stopped and started under a pod's TCP connection",
            Node::stop,
        ),
    ];
    for (what, end) in restarts {
        restart_under_traffic(&bed, what, RESTART, || {
            let node = bed.cluster.node("w1").mesh();
            end(node);
            node.start_again();
        });
    }
    restart_under_traffic(
        &bed,
        "meshrelay killed and started under a relayed one",
        RELAY,
        || {
            bed.cluster.relay.kill();
            bed.cluster.relay.start_again();
        },
    );
    reboot_a_node(&mut bed);
    a_drained_node_leaves(&bed);
}

fn restart_under_traffic(bed: &Bed, what: &str, bar: Duration, trouble: impl FnOnce()) {
    let [from, to] = [1, 2].map(|number| &bed.pods[number]);
    let before = bed.pods.clone();
    let talk = Conversation::start(from, SocketAddr::new(to.address(), WEB)).expect("the pods are connected");
    let goes_on = |why: &str| {
        let seen = talk.answers();
        eventually(LONG, why, || (talk.answers() > seen + 20).then_some(()));
    };
    goes_on("the pods talk");
    trouble();
    goes_on("the pods talk again");
    let longest = talk
        .stop()
        .unwrap_or_else(|error| panic!("{what}: the connection broke: {error}"));
    figure(
        what,
        format!("{} ms of silence", longest.as_millis()),
        format!("{} ms", bar.as_millis()),
    );
    assert!(keeps(longest, bar), "{what}: {longest:?}");
    let names = |pods: &[Pod]| pods.iter().map(|pod| pod.name.clone()).collect::<Vec<_>>();
    assert_eq!(
        names(&before),
        names(&bed.cluster.pods("app=web")),
        "the same pods"
    );
}

/// Its pods run again, and are reached by the others.
fn reboot_a_node(bed: &mut Bed) {
    bed.cluster.reboot("w2");
    bed.pods[2] = back(bed, 1, "w2");
    services_answer(bed);
}

/// As docs/kubernetes.md says it: nothing of its pods stays on it, and the others go on without it.
fn a_drained_node_leaves(bed: &Bed) {
    bed.cluster.kubectl(&guide::words(guide::DRAIN));
    let node = bed.cluster.node("w2").mesh();
    let leave = guide::words(guide::LEAVE);
    let unforced: Vec<&str> = leave.iter().copied().filter(|word| *word != "--force").collect();
    let refused = words(&node.try_ctl(&unforced));
    let named = bed.pods[2].address().to_string();
    assert!(
        refused.contains(&named) && refused.contains("--force"),
        "{refused}"
    );
    node.ctl(&leave);
    let left = node.machine().sh("ip -o link; ip route show table all");
    assert!(!left.contains("mpod") && !left.contains("meshd"), "{left}");
    bed.cluster.kubectl(&guide::words(guide::DELETE));
    let service = ("web", 80);
    let others: BTreeSet<String> = bed.pods[..2].iter().map(|pod| pod.name.clone()).collect();
    bed.cluster.wait(LONG, "the service is its other pods", || {
        let machine = bed.cluster.node("w1").mesh().machine();
        let heard = bed.pods[1].dial(machine, service, "hostname", 30).ok()?;
        (heard == others).then_some(())
    });
}

fn services_answer(bed: &Bed) {
    for pod in &bed.pods {
        bed.hears_all(pod, ("web", 80));
    }
}

/// The pod that runs on `node` now, once the pod with the number `from` reaches it.
fn back(bed: &Bed, from: usize, node: &str) -> Pod {
    bed.cluster
        .wait(LONG, &format!("the pod of {node} is reached"), || {
            let pods = bed.cluster.pods("app=web");
            let pod = pods.iter().find(|pod| pod.node == node)?;
            let from = pods.iter().find(|pod| pod.node == bed.pods[from].node)?;
            heard(bed, from, pod).then(|| pod.clone())
        })
}

fn heard(bed: &Bed, from: &Pod, to: &Pod) -> bool {
    let machine = bed.cluster.node(&from.node).mesh().machine();
    let said = from.dial(machine, (&to.address().to_string(), WEB), "hostname", 1);
    said.is_ok_and(|names| names.contains(&to.name))
}
