//! Where a runtime finds the plugin: `meshctl cni install`.

use meshd_tests::eventually;
use meshd_tests::mesh::words;
use meshd_tests::pods::{CNI_NETWORK, Pod};
use serde_json::{Value, json};

use crate::bed::{self, NET, SOON};
use crate::pods::give_prefixes;
use crate::pods_cni::{leftovers, one_node};

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

/// Without pods leaving takes the configuration away; with pods it is refused, or takes them with it.
#[test]
fn leaving_with_pods_is_refused_and_forced_leaves_no_route_behind() {
    let bed = one_node();
    let node = &bed.nodes[0];
    let conflist = "/etc/cni/net.d/10-mesh.conflist";
    let install = ["cni", "install", "--bin-dir", "/run/cni/bin"];
    node.ctl(&install);
    let (pod, ips) = Pod::added(node, "p");
    let refused = words(&node.try_ctl(&["leave", NET]));
    assert!(
        refused.contains(&format!("{} of p", ips[0])) && refused.contains("--force"),
        "{refused}"
    );
    assert!(
        node.network(NET).is_some() && pod.pings(node.ipv4(NET)),
        "it is still in"
    );
    node.ctl(&["leave", NET, "--force"]);
    assert_eq!(
        leftovers(node.machine()),
        "",
        "no interface and no route of a pod"
    );
    assert!(
        node.machine().read(conflist).contains("mesh-cni"),
        "the runtime needs it to take the pod down"
    );
    assert!(pod.cni("DEL", &json!({})).success);
    assert_eq!(pod.cni("ADD", &json!({})).code(), Some(11), "later, or never");
    assert_eq!(pod.cni("STATUS", &json!({})).code(), Some(50));

    node.join(&bed.relay.token(NET, &[]));
    node.ctl(&install);
    node.ctl(&["leave", NET]);
    assert_eq!(node.machine().read(conflist), "", "no kubelet takes it for ready");

    node.join(&bed.relay.token(NET, &[]));
    node.ctl(&install);
    let own = node.network(NET).expect("joined")["hostname"].clone();
    bed.relay.ctl(&["node", "remove", own.as_str().expect("a name")]);
    eventually(SOON, "an admin's removal takes the configuration away", || {
        node.machine().read(conflist).is_empty().then_some(())
    });
}

#[test]
fn while_the_network_is_down_no_pod_is_added_and_clean_takes_their_interfaces_away() {
    let bed = bed::together(&["n", "m"]);
    give_prefixes(&bed, "10.42.0.0/16");
    let (node, none) = (&bed.nodes[0], json!({}));
    let (pod, _) = Pod::added(node, "p");
    let (gone, _) = Pod::added(node, "gone");
    let other = bed.nodes[1].ipv4(NET);
    eventually(SOON, "the pod reaches the other node", || {
        pod.pings(other).then_some(())
    });
    node.ctl(&["down"]);
    let codes = ["STATUS", "ADD", "DEL"].map(|command| gone.cni(command, &none).code());
    assert_eq!(codes, [Some(50), Some(11), None]);
    node.ctl(&["up"]);
    eventually(SOON, "the pod reaches the other node again", || {
        pod.pings(other).then_some(())
    });
    assert!(gone.cni("STATUS", &none).success);
    node.ctl(&["clean"]);
    assert_eq!(leftovers(node.machine()), "");
}
