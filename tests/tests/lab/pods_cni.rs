//! The CNI plugin keeps its contract: results and error codes as the specification words them, and nothing is left
//! behind, whoever dies when.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use meshd_tests::mesh::{Node, words};
use meshd_tests::pods::{CNI_NETWORK, INTERFACE, Pod, run_plugin};
use meshd_tests::{Machine, eventually, figure, skip};
use serde_json::{Value, json};

use crate::bed::{self, Bed, NET, SOON};
use crate::pods::give_prefixes;

/// Pods of the storm.
const STORM: usize = 100;
/// Runs of the plugin at a time.
const AT_ONCE: usize = 4;

/// One node, in a network whose pods have prefixes.
fn one_node() -> Bed {
    let bed = bed::together(&["n"]);
    give_prefixes(&bed, "10.42.0.0/16");
    bed
}

/// What is left of pods on a machine: interfaces and routes.
fn leftovers(machine: &Machine) -> String {
    machine.sh(
        "ip -br link | grep mpod || true; ip -4 route show table all proto 110; ip -6 route show table all proto 110",
    )
}

fn leases(node: &Node) -> Option<u64> {
    node.network(NET)?["pods"]["leases"].as_u64()
}

fn collect(pod: &Pod, valid: &[&str]) {
    let valid: Vec<Value> = valid
        .iter()
        .map(|id| json!({"containerID": id, "ifname": INTERFACE}))
        .collect();
    let output = pod.cni("GC", &json!({"cni.dev/valid-attachments": valid}));
    assert!(output.success && output.document.is_null(), "{output:?}");
}

#[test]
fn results_are_of_the_versions_form() {
    let bed = one_node();
    let machine = bed.nodes[0].machine();
    let version = run_plugin(machine, "{}", &[("CNI_COMMAND", "VERSION")]);
    assert_eq!(version.document["supportedVersions"], json!(["1.0.0", "1.1.0"]));
    for (number, version) in ["1.0.0", "1.1.0"].into_iter().enumerate() {
        let pod = Pod::new(machine, &format!("p{number}"));
        let config = json!({"cniVersion": version, "dns": {"nameservers": ["10.43.0.53"]}});
        let output = pod.cni("ADD", &config);
        assert!(output.success, "{output:?}");
        let result = &output.document;
        assert_eq!(result["cniVersion"], version);
        let (host, inside) = (&result["interfaces"][0], &result["interfaces"][1]);
        assert!(
            host["name"].as_str().is_some_and(|name| name.starts_with("mpod")) && host["sandbox"].is_null()
        );
        assert_eq!(
            (&inside["name"], &inside["sandbox"]),
            (&json!(INTERFACE), &json!(pod.path()))
        );
        assert_eq!(
            inside["mtu"].as_u64(),
            (version == "1.1.0").then_some(1408),
            "{result:#}"
        );
        let mac = pod.run(&["cat", "/sys/class/net/eth0/address"]);
        assert_eq!(inside["mac"], mac.trim());
        assert_eq!(result["ips"][0]["interface"], 1);
        assert_eq!(
            result["routes"],
            json!([{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "::/0", "gw": "fe80::1"}])
        );
        assert_eq!(result["dns"], config["dns"]);
        let checked =
            |result: &Value| pod.cni("CHECK", &json!({"cniVersion": version, "prevResult": result}));
        assert!(checked(result).success);
        let mut other = result.clone();
        other["ips"][0]["address"] = json!("10.42.0.99/32");
        assert_eq!(checked(&other).code(), Some(102));
        pod.run(&["ip", "addr", "flush", "dev", INTERFACE, "scope", "global"]);
        assert_eq!(checked(result).code(), Some(102));
        let deleted = pod.cni("DEL", &json!({"cniVersion": version, "prevResult": result}));
        assert!(deleted.success && deleted.document.is_null(), "{deleted:?}");
        let again = pod.cni("DEL", &json!({"cniVersion": version}));
        assert!(again.success, "{again:?}");
        assert_eq!(checked(result).code(), Some(102), "it is gone");
    }
    assert_eq!(leftovers(machine), "");
}

#[test]
fn each_error_has_its_code() {
    let bed = bed::together(&["n"]);
    let node = &bed.nodes[0];
    let pod = Pod::new(node, "p");
    let none = json!({});
    assert_eq!(pod.cni("ADD", &none).code(), Some(11), "no prefix yet");
    assert_eq!(pod.cni("STATUS", &none).code(), Some(50));
    // the smallest part: 14 addresses
    bed.relay.ctl(&[
        "network",
        "pods",
        NET,
        "--pod-cidr",
        "10.42.0.0/20",
        "--pod-prefix",
        "28",
        "--pod-cidr6",
        "none",
    ]);
    eventually(SOON, "it can add pods", || {
        pod.cni("STATUS", &none).success.then_some(())
    });
    for (command, config, variables, wanted) in [
        ("FOO", json!({}), vec![], 4),
        ("", json!({}), vec![], 4),
        ("ADD", json!({}), vec![("CNI_CONTAINERID", "")], 4),
        ("ADD", json!({}), vec![("CNI_CONTAINERID", "../x")], 4),
        ("ADD", json!({}), vec![("CNI_IFNAME", "")], 4),
        ("ADD", json!({}), vec![("CNI_IFNAME", "sixteen-letters-")], 4),
        ("ADD", json!({}), vec![("CNI_IFNAME", "lo")], 4),
        ("ADD", json!({}), vec![("CNI_NETNS", "")], 4),
        ("ADD", json!({}), vec![("CNI_NETNS", "/proc/self/ns/net")], 4),
        ("ADD", json!({}), vec![("CNI_NETNS", "/run/netns/nobody")], 3),
        ("ADD", json!({"cniVersion": "0.4.0"}), vec![], 1),
        ("ADD", json!({"cniVersion": null}), vec![], 1),
        ("ADD", json!({"ipam": {"type": "host-local"}}), vec![], 2),
        ("ADD", json!({"name": null}), vec![], 7),
        ("ADD", json!({"name": ["mesh"]}), vec![], 6),
        ("ADD", json!({"network": "nowhere"}), vec![], 11),
        ("CHECK", json!({}), vec![], 7),
        ("GC", json!({}), vec![], 7),
        ("GC", json!({"cniVersion": "1.0.0"}), vec![], 1),
        ("STATUS", json!({"cniVersion": "1.0.0"}), vec![], 1),
    ] {
        let output = pod.cni_with(command, &config, &variables);
        let known = ["1.0.0", "1.1.0"]
            .map(Value::from)
            .contains(&output.document["cniVersion"]);
        assert!(
            known && !output.success,
            "{command} {config} {variables:?}: {output:?}"
        );
        assert_eq!(
            output.code(),
            Some(wanted),
            "{command} {config} {variables:?}: {output:?}"
        );
        assert!(output.document["msg"].as_str().is_some_and(|msg| msg.len() > 10));
    }
    let garbled = run_plugin(node.machine(), "{", &[("CNI_COMMAND", "ADD")]);
    assert_eq!(garbled.code(), Some(6));
    assert_eq!(leftovers(node.machine()), "", "what failed left nothing");
    assert_eq!(leases(node), Some(0));
    // one of them rests: the ADD whose interface could not be made had it
    for number in 0..13 {
        Pod::added(node, &format!("full{number}"));
    }
    let full = pod.cni("ADD", &none);
    assert_eq!(full.code(), Some(100), "{full:?}");
    assert!(
        full.document["msg"]
            .as_str()
            .is_some_and(|msg| msg.contains("/28 has no free address: 13 are leased"))
    );
    assert_eq!(pod.cni("STATUS", &none).code(), Some(50));
    collect(&pod, &[]);
    assert_eq!(
        pod.cni("ADD", &none).code(),
        Some(100),
        "addresses rest for a minute"
    );
    node.stop();
    for (command, wanted) in [("ADD", Some(11)), ("STATUS", Some(50)), ("DEL", None)] {
        assert_eq!(
            pod.cni(command, &none).code(),
            wanted,
            "{command} while meshd is away"
        );
    }
}

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

#[test]
#[ignore = "long: waits until an absent interface's lease is taken back"]
fn meshd_takes_back_by_itself_what_no_runtime_tells() {
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
    let machine = bed.sites[0].machine("m", 30);
    let node = Node::start_with(&machine, &[], &[("MESHD_FAULTS", "1")]);
    node.join(&bed.relay.token(NET, &[]));
    eventually(SOON, "it has a part of the pods' prefix", || leases(&node));
    let spare = Pod::new(&node, "spare");
    machine.sh("mkdir -p /run/meshd-faults");
    let mut number = 0;
    let mut pod = || {
        number += 1;
        Pod::new(&node, &format!("p{number}"))
    };
    let clean = |what: &str| {
        collect(&spare, &[]);
        assert_eq!(leftovers(&machine), "", "{what}");
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

#[test]
fn the_configuration_appears_when_the_node_is_ready_and_goes_when_no_pod_is_left() {
    let bed = bed::together(&["n"]);
    let node = &bed.nodes[0];
    let places = ["--bin-dir", "/run/cni/bin", "--conf-dir", "/etc/cni/net.d"];
    let conflist = "/etc/cni/net.d/10-mesh.conflist";
    let early = node.try_ctl(&[&["cni", "install", "--wait", "0"][..], &places].concat());
    assert!(
        !early.status.success() && words(&early).contains("not ready for pods"),
        "{}",
        words(&early)
    );
    assert_eq!(
        node.machine().read(conflist),
        "",
        "nothing that the kubelet would believe"
    );
    give_prefixes(&bed, "10.42.0.0/16");
    let said = node.ctl(&[&["cni", "install"][..], &places].concat());
    assert!(said.contains("portmap is not in /run/cni/bin"), "{said}");
    node.machine()
        .sh("touch /run/cni/bin/portmap /run/cni/bin/bandwidth");
    node.ctl(&[&["cni", "install"][..], &places].concat());
    let written: Value = serde_json::from_str(&node.machine().read(conflist)).expect("JSON");
    assert_eq!(
        (&written["name"], &written["cniVersion"]),
        (&json!(CNI_NETWORK), &json!("1.0.0"))
    );
    let kinds: Vec<&Value> = written["plugins"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|plugin| &plugin["type"])
        .collect();
    assert_eq!(kinds, ["mesh-cni", "portmap", "bandwidth"]);
    assert!(node.machine().succeeds(&["test", "-x", "/run/cni/bin/mesh-cni"]));
    let (pod, _) = Pod::added(node, "p");
    let refused = node.try_ctl(&[&["cni", "uninstall"][..], &places].concat());
    assert!(
        words(&refused).contains("1 pod interface(s)"),
        "{}",
        words(&refused)
    );
    assert!(pod.cni("DEL", &json!({})).success);
    node.ctl(&[&["cni", "uninstall"][..], &places].concat());
    assert_eq!(node.machine().read(conflist), "");
    assert!(!node.machine().succeeds(&["test", "-e", "/run/cni/bin/mesh-cni"]));
}

/// The reference client and plugins that `tests/k8s/build` made; none where they were not built.
fn reference(program: &str) -> Option<String> {
    let parts = std::env::var_os("MESHD_K8S_PARTS")?;
    let path = std::path::Path::new(&parts).join("bin").join(program);
    path.exists().then(|| path.display().to_string())
}

#[test]
fn the_reference_client_runs_the_plugin_in_a_chain_with_portmap_and_bandwidth() {
    let found = ["cnitool", "portmap", "bandwidth"].map(reference);
    let [Some(cnitool), Some(portmap), Some(bandwidth)] = found else {
        let why = "MESHD_K8S_PARTS has no cnitool, portmap and bandwidth: ./test --k8s builds them";
        return skip(
            "the_reference_client_runs_the_plugin_in_a_chain_with_portmap_and_bandwidth",
            why,
        );
    };
    let bed = one_node();
    let (node, printer) = (&bed.nodes[0], bed.sites[0].machine("printer", 9));
    let machine = node.machine();
    machine.sh(&format!(
        "mkdir -p /run/cni/bin; cp {portmap} {bandwidth} /run/cni/bin"
    ));
    let pod = Pod::new(node, "chained");
    let ports =
        json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}).to_string();
    for version in ["1.0.0", "1.1.0"] {
        node.ctl(&[
            "cni",
            "install",
            "--bin-dir",
            "/run/cni/bin",
            "--cni-version",
            version,
        ]);
        let run = |verb: &str| {
            let set = ["env", "CNI_PATH=/run/cni/bin", "NETCONFPATH=/etc/cni/net.d"];
            let arguments = format!("CAP_ARGS={ports}");
            let path = pod.path();
            machine.run(&[&set[..], &[&arguments, &cnitool, verb, CNI_NETWORK, &path]].concat())
        };
        let result: Value = serde_json::from_str(&run("add")).expect("a result");
        assert_eq!(result["cniVersion"], version);
        let ip = result["ips"][0]["address"]
            .as_str()
            .and_then(|ip| ip.split('/').next())
            .expect("an address")
            .to_owned();
        run("check");
        let listener =
            pod.inside(|| std::net::TcpListener::bind(format!("{ip}:80")).expect("the pod has its address"));
        let to: std::net::SocketAddr = format!("{}:8080", bed.sites[0].v4(2))
            .parse()
            .expect("an address");
        let dial = || std::net::TcpStream::connect_timeout(&to, Duration::from_secs(2)).is_ok();
        eventually(SOON, "the host's port leads to the pod", || {
            printer.inside(dial).then_some(())
        });
        let from = listener.accept().expect("it arrived").1.ip().to_string();
        assert_eq!(from, bed.sites[0].v4(9), "the source is kept");
        run("del");
        assert_eq!((leases(node), leftovers(machine)), (Some(0), String::new()));
    }
}
