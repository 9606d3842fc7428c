//! What a runtime gets wrong, or somebody who plays one: junk for a configuration, names that are paths, namespaces that are none
//! or that two containers share, one container added many times at once. Pods that run are never touched by it.

use std::fs;
use std::thread;

use meshd_tests::Machine;
use meshd_tests::mesh::{Node, program, words};
use meshd_tests::pods::{INTERFACE, Pod};
use serde_json::{Value, json};

use crate::bed::NET;
use crate::pods_cni::{leases, leftovers, one_node};

/// What no configuration looks like, and the code that says so.
fn junk() -> Vec<(&'static str, Vec<u8>, u64)> {
    let deep = "[".repeat(200_000);
    let wide = format!(
        r#"{{"cniVersion": "1.1.0", "name": "mesh", "type": "mesh-cni", "x": "{}"}}"#,
        "a".repeat(8 << 20)
    );
    let long = format!(
        r#"{{"cniVersion": "1.1.0", "name": "{}", "type": "mesh-cni"}}"#,
        "a".repeat(1 << 20)
    );
    vec![
        ("nothing", Vec::new(), 6),
        ("null", b"null".to_vec(), 6),
        ("a list", b"[]".to_vec(), 6),
        ("a number", b"1e999".to_vec(), 6),
        ("half of it", br#"{"cniVersion": "1.1.0", "name""#.to_vec(), 6),
        ("no UTF-8", vec![0xff, 0xfe, 0x00, b'{'], 5),
        ("very deep", deep.into_bytes(), 6),
        ("very large", wide.into_bytes(), 6),
        ("a very long name", long.into_bytes(), 7),
        (
            "a name that is a path",
            br#"{"cniVersion": "1.1.0", "name": "../../etc", "type": "mesh-cni"}"#.to_vec(),
            7,
        ),
        (
            "a socket that is none",
            br#"{"cniVersion": "1.1.0", "name": "mesh", "type": "mesh-cni", "socket": "/etc/passwd"}"#
                .to_vec(),
            11,
        ),
    ]
}

/// Runs ADD with these bytes for a configuration: the code of the error that it must end with.
fn code(machine: &Machine, pod: &Pod, bytes: &[u8]) -> Option<u64> {
    fs::write(machine.file("/run/junk"), bytes).expect("the machine's own folder");
    let script = format!(
        "CNI_COMMAND=ADD CNI_CONTAINERID=junk CNI_NETNS={} CNI_IFNAME={INTERFACE} CNI_PATH=/opt {} < /run/junk",
        pod.path(),
        program("mesh-cni")
    );
    let output = machine.output(&["sh", "-c", &script]);
    assert!(!output.status.success(), "{}", words(&output));
    let document: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", words(&output)));
    document["code"].as_u64()
}

#[test]
fn junk_for_a_configuration_ends_with_a_code_and_leaves_nothing() {
    let bed = one_node();
    let node = &bed.nodes[0];
    let pod = Pod::new(node, "junk");
    for (what, bytes, wanted) in junk() {
        assert_eq!(code(node.machine(), &pod, &bytes), Some(wanted), "{what}");
    }
    for container in ["../../../etc/cron.d/x", "a/b", "-x", ".", "a b", "é"] {
        let output = pod.cni_with("ADD", &json!({}), &[("CNI_CONTAINERID", container)]);
        assert_eq!(output.code(), Some(4), "{container}: {output:?}");
    }
    for interface in ["../eth0", "a:b", "a b", ".."] {
        let output = pod.cni_with("ADD", &json!({}), &[("CNI_IFNAME", interface)]);
        assert_eq!(output.code(), Some(4), "{interface}: {output:?}");
    }
    for path in ["/proc/self/ns/mnt", "/run/netns", "/dev/null", "/dev/zero"] {
        let output = pod.cni_with("ADD", &json!({}), &[("CNI_NETNS", path)]);
        assert_eq!(output.code(), Some(101), "{path}: {output:?}");
    }
    is_clean(node);
    Pod::added(node, "after");
}

fn is_clean(node: &Node) {
    assert_eq!(
        (leftovers(node.machine()), leases(node)),
        (String::new(), Some(0))
    );
}

/// The pod of the first container keeps its interface, whatever becomes of the second one.
#[test]
fn of_two_containers_with_one_namespace_the_first_keeps_its_network() {
    let bed = one_node();
    let node = &bed.nodes[0];
    let (first, ips) = Pod::added(node, "first");
    let other = [("CNI_CONTAINERID", "second")];
    let refused = first.cni_with("ADD", &json!({}), &other);
    assert_eq!(refused.code(), Some(4), "{refused:?}");
    let reaches = || first.pings(node.ipv4(NET));
    assert!(reaches(), "{ips:?} stays");
    // a runtime takes down what it could not bring up, and maybe with another's result
    let deleted = first.cni_with("DEL", &json!({}), &other);
    assert!(deleted.success && reaches(), "{deleted:?}");
    node.stop();
    let deleted = first.cni_with("DEL", &json!({}), &other);
    assert!(deleted.success, "{deleted:?}");
    node.start_again();
    assert!(
        first.run(&["ip", "link"]).contains(INTERFACE),
        "nor while meshd is away"
    );
    assert_eq!(leases(node), Some(1));
    assert!(first.cni("DEL", &json!({})).success);
    is_clean(node);
}

/// What was there before in the namespace is somebody else's.
#[test]
fn an_interface_of_another_plugin_stays() {
    let bed = one_node();
    let node = &bed.nodes[0];
    let pod = Pod::new(node, "theirs");
    pod.run(&["ip", "link", "add", INTERFACE, "type", "bridge"]);
    assert_eq!(pod.cni("ADD", &json!({})).code(), Some(4));
    assert!(pod.cni("DEL", &json!({})).success);
    assert!(pod.run(&["ip", "link"]).contains(INTERFACE));
    is_clean(node);
}

/// However many runs there are at once, there is one lease, and one cable that works, once they have ended.
#[test]
fn one_container_added_many_times_at_once_has_one_lease() {
    let bed = one_node();
    let node = &bed.nodes[0];
    let pod = Pod::new(node, "many");
    let outcomes: Vec<_> = thread::scope(|scope| {
        let runs: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| pod.cni("ADD", &json!({}))))
            .collect();
        runs.into_iter()
            .map(|run| run.join().expect("the plugin runs"))
            .collect()
    });
    assert!(leases(node) <= Some(1), "{outcomes:?}");
    // the runtime's next try
    let last = pod.cni("ADD", &json!({}));
    assert!(last.success, "{last:?}");
    assert!(pod.pings(node.ipv4(NET)), "{outcomes:?}");
    assert_eq!(leases(node), Some(1));
    assert!(pod.cni("DEL", &json!({})).success);
    is_clean(node);
}
