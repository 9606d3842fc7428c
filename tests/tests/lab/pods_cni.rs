//! The CNI plugin keeps its contract: results and error codes as the specification words them.

use meshd_tests::mesh::Node;
use meshd_tests::pods::{CniOutput, INTERFACE, Pod, run_plugin};
use meshd_tests::{Machine, eventually, figure, keeps};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

use crate::bed::{self, Bed, NET, SOON};
use crate::pods::give_prefixes;

/// Times that the plugin is started to see how quick it is.
const TRIES: u32 = 40;
/// Most time from its start to its answer.
const ANSWER: Duration = Duration::from_millis(20);

/// One node, in a network whose pods have prefixes.
pub fn one_node() -> Bed {
    let bed = bed::together(&["n"]);
    give_prefixes(&bed, "10.42.0.0/16");
    bed
}

/// What is left of pods on a machine: interfaces and routes.
pub fn leftovers(machine: &Machine) -> String {
    machine.sh(
        "ip -br link | grep mpod || true; ip -4 route show table all proto 110; ip -6 route show table all proto 110",
    )
}

pub fn leases(node: &Node) -> Option<u64> {
    node.network(NET)?["pods"]["leases"].as_u64()
}

pub fn collect(pod: &Pod, valid: &[&str]) {
    let valid: Vec<Value> = valid
        .iter()
        .map(|id| json!({"containerID": id, "ifname": INTERFACE}))
        .collect();
    let output = pod.cni("GC", &json!({"cni.dev/valid-attachments": valid}));
    assert!(output.success && output.document.is_null(), "{output:?}");
}

#[test]
fn the_plugin_answers_within_twenty_milliseconds_of_its_start() {
    let bed = one_node();
    let machine = bed.nodes[0].machine();
    let pod = Pod::new(machine, "asks");
    let version = || run_plugin(machine, "{}", &[("CNI_COMMAND", "VERSION")]);
    let status = || pod.cni("STATUS", &json!({"cniVersion": "1.1.0"}));
    let commands: [(&str, &dyn Fn() -> CniOutput); 2] = [("VERSION", &version), ("STATUS", &status)];
    for (command, run) in commands {
        // the least of many: what a busy computer adds is none of the plugin's
        let tries = (0..TRIES).map(|_| {
            let begin = Instant::now();
            let output = run();
            assert!(output.success, "{output:?}");
            begin.elapsed()
        });
        let took = tries.min().unwrap_or_default();
        figure(
            &format!("from the CNI plugin's start to its answer to {command}, least of {TRIES}"),
            format!("{:.1} ms", took.as_secs_f64() * 1e3),
            "20 ms",
        );
        assert!(keeps(took, ANSWER), "{command}: {took:?}");
    }
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
fn what_the_kernel_refuses_what_cannot_be_read_and_what_is_ambiguous_have_codes_of_their_own() {
    let bed = one_node();
    let node = &bed.nodes[0];
    let pod = Pod::new(node, "p");
    let none = json!({});
    // a socket cannot be opened like a file; a file can, and is no namespace
    for (path, wanted) in [("/run/meshd/meshd.sock", 5), ("/etc/hosts", 101)] {
        let output = pod.cni_with("ADD", &none, &[("CNI_NETNS", path)]);
        assert_eq!(output.code(), Some(wanted), "{path}: {output:?}");
    }
    assert_eq!(
        (leftovers(node.machine()), leases(node)),
        (String::new(), Some(0)),
        "nothing is left of it"
    );
    bed.relay.create_network("second", "10.78.0.0/16");
    bed.relay
        .ctl(&["network", "pods", "second", "--pod-cidr", "10.52.0.0/16"]);
    node.join(&bed.relay.token("second", &[]));
    eventually(SOON, "two networks have pods here", || {
        node.network("second")?["pods"]["cidr"].as_str().map(drop)
    });
    let output = pod.cni("ADD", &none);
    assert_eq!(output.code(), Some(103), "{output:?}");
    let both = |text: &str| text.contains(NET) && text.contains("second");
    assert!(output.document["msg"].as_str().is_some_and(both), "{output:?}");
    for (network, prefix) in [(NET, "10.42.0.0/16"), ("second", "10.52.0.0/16")] {
        let named = json!({"network": network});
        let output = pod.cni("ADD", &named);
        assert!(
            output.success && meshd_tests::pods::within(output.ips()[0], prefix),
            "{output:?}"
        );
        assert!(pod.cni("DEL", &named).success);
    }
}
