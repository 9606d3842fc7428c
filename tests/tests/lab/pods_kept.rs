//! Leases outlive what dies, go with their pods, and nothing is left behind, whoever dies when.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use meshd_tests::mesh::Node;
use meshd_tests::pods::Pod;
use meshd_tests::{Machine, eventually, figure};
use serde_json::json;

use crate::bed::{Bed, NET, SOON};
use crate::pods_cni::{collect, leases, leftovers, one_node};

/// Pods of the storm.
const STORM: usize = 100;
/// Runs of the plugin at a time.
const AT_ONCE: usize = 4;

#[test]
fn leases_outlive_meshd_and_a_lost_cache_and_go_with_their_pods() {
    let bed = one_node();
    let node = &bed.nodes[0];
    let (kept, kept_ips) = Pod::added(node, "kept");
    let (lost, lost_ips) = Pod::added(node, "lost");
    let (third, third_ips) = Pod::added(node, "third");
    node.kill();
    // without meshd a pod can go
    assert!(third.cni("DEL", &json!({})).success);
    third.delete();
    node.start_again();
    assert!(
        kept.pings(lost_ips[0]) && kept.pings(lost_ips[1]),
        "the routes are there"
    );
    assert_eq!(
        leases(node),
        Some(3),
        "the third is taken back when it was away for a minute"
    );
    // the runtime lost its cache: DEL comes without prevResult, for one whose namespace is gone
    lost.delete();
    let deleted = lost.cni_with("DEL", &json!({}), &[("CNI_NETNS", "")]);
    assert!(deleted.success, "{deleted:?}");
    let (_, new_ips) = Pod::added(node, "new");
    for old in [&kept_ips, &lost_ips, &third_ips] {
        assert_ne!(old[0], new_ips[0], "addresses rest");
    }
    collect(&kept, &["kept", "new"]);
    assert_eq!(leases(node), Some(2));
    assert!(kept.pings(new_ips[0]));
    collect(&kept, &[]);
    assert_eq!(leases(node), Some(0));
    assert_eq!(leftovers(node.machine()), "");
}

/// A node that a test can have die at certain points, and whose clock for what is away it can put forward.
fn a_node_with_faults(bed: &Bed) -> Node {
    let machine = bed.sites[0].machine("m", 30);
    let node = Node::start_with(&machine, &[], &[("MESHD_FAULTS", "1")]);
    node.join(&bed.relay.token(NET, &[]));
    eventually(SOON, "it has a part of the pods' prefix", || leases(&node));
    machine.sh("mkdir -p /run/meshd-faults");
    node
}

/// Has meshd look at the kernel's interfaces, each time as if more than a minute had passed.
fn a_minute_passes(machine: &Machine, minutes: &mut u32) {
    *minutes += 2;
    let seconds = *minutes * 60;
    machine.sh(&format!(
        "echo {seconds} > /run/meshd-faults/later; ip link add knock type bridge; ip link del knock"
    ));
}

#[test]
fn meshd_takes_back_by_itself_what_no_runtime_tells() {
    let bed = one_node();
    let node = a_node_with_faults(&bed);
    let machine = node.machine();
    let mut minutes = 0;
    let (kept, kept_ips) = Pod::added(&node, "kept");
    let (pod, ips) = Pod::added(&node, "p");
    a_minute_passes(machine, &mut minutes);
    pod.delete();
    eventually(SOON, "its interface goes with it", || {
        (leftovers(machine).matches(&ips[0].to_string()).count() == 0).then_some(())
    });
    eventually(SOON, "the lease is taken back", || {
        a_minute_passes(machine, &mut minutes);
        (leases(&node)? == 1).then_some(())
    });
    let log = node.with_process(meshd_tests::Process::log);
    assert!(log.contains("a pod's interface is gone"), "{log}");
    assert!(kept.pings(node.ipv4(NET)), "{kept_ips:?} stays");
}

/// The same by the computer's own clock.
#[test]
#[ignore = "long: waits until an absent interface's lease is taken back"]
fn meshd_takes_back_after_a_minute_what_no_runtime_tells() {
    let bed = one_node();
    let node = &bed.nodes[0];
    let (pod, _) = Pod::added(node, "p");
    pod.delete();
    eventually(SOON, "its interface goes with it", || {
        leftovers(node.machine()).is_empty().then_some(())
    });
    assert_eq!(leases(node), Some(1));
    eventually(Duration::from_secs(80), "the lease is taken back", || {
        (leases(node)? == 0).then_some(())
    });
}

#[test]
fn whoever_is_killed_at_whichever_step_nothing_is_left_after_a_collection() {
    let bed = one_node();
    let node = a_node_with_faults(&bed);
    let machine = node.machine();
    let spare = Pod::new(&node, "spare");
    let mut number = 0;
    let mut pod = || {
        number += 1;
        Pod::new(&node, &format!("p{number}"))
    };
    let clean = |what: &str| {
        collect(&spare, &[]);
        assert_eq!(leftovers(machine), "", "{what}");
        assert_eq!(leases(&node), Some(0), "{what}");
    };
    for point in ["lease", "veth", "inside", "cable", "ready"] {
        let pod = pod();
        let died = pod.cni_with("ADD", &json!({}), &[("MESH_CNI_FAULT", point)]);
        assert!(
            !died.success && died.document.is_null(),
            "it died at {point}: {died:?}"
        );
        clean(&format!("the plugin died at {point} of ADD"));
        assert!(pod.cni("ADD", &json!({})).success, "ADD works after {point}");
        assert!(pod.cni("DEL", &json!({})).success);
    }
    let deleted = pod();
    assert!(deleted.cni("ADD", &json!({})).success);
    assert!(
        !deleted
            .cni_with("DEL", &json!({}), &[("MESH_CNI_FAULT", "deleted")])
            .success
    );
    clean("the plugin died in DEL");
    for (point, command) in [
        ("save", "ADD"),
        ("leased", "ADD"),
        ("ready", "ADD"),
        ("routed", "ADD"),
        ("deleted", "DEL"),
        ("save", "DEL"),
        ("collected", "GC"),
    ] {
        let pod = pod();
        let what = format!("meshd died at {point} of {command}");
        if command != "ADD" {
            assert!(pod.cni("ADD", &json!({})).success, "{what}");
        }
        machine.sh(&format!("touch /run/meshd-faults/{point}"));
        let output = pod.cni(command, &json!({"cni.dev/valid-attachments": []}));
        let wanted = (command != "DEL").then_some(11);
        assert_eq!(output.code(), wanted, "{what}: {output:?}");
        machine.sh(&format!("rm /run/meshd-faults/{point}"));
        node.start_again();
        eventually(SOON, "meshd is back", || leases(&node));
        clean(&what);
    }
}

#[test]
fn a_hundred_pods_come_and_go_twice_and_nothing_leaks() {
    let bed = one_node();
    let node = &bed.nodes[0];
    let pods: Vec<Pod> = (0..STORM)
        .map(|number| Pod::new(node, &format!("s{number}")))
        .collect();
    for round in 1..=2 {
        let times = storm(&pods, "ADD");
        assert_eq!(leases(node), Some(STORM as u64));
        let ninety_ninth = times[(times.len() * 99).div_ceil(100) - 1];
        let median = times[times.len() / 2];
        figure(
            &format!("ADD in a storm of {STORM} pods, {AT_ONCE} at a time, debug build, round {round}"),
            format!(
                "median {} ms, 99th percentile {} ms",
                median.as_millis(),
                ninety_ninth.as_millis()
            ),
            "150 ms",
        );
        storm(&pods, "DEL");
        assert_eq!(leases(node), Some(0));
        assert_eq!(leftovers(node.machine()), "");
    }
}

/// Runs a command for every pod, some at a time; the times in ascending order.
fn storm(pods: &[Pod], command: &str) -> Vec<Duration> {
    let (queue, times) = (Mutex::new(pods.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("not poisoned").next();
                    let Some(pod) = next else { return };
                    let start = Instant::now();
                    let output = pod.cni(command, &json!({}));
                    assert!(output.success, "{command} of {}: {output:?}", pod.name);
                    times.lock().expect("not poisoned").push(start.elapsed());
                }
            });
        }
    });
    let mut times = times.into_inner().expect("not poisoned");
    times.sort();
    times
}
