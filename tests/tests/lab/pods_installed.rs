//! Where a runtime finds the plugin: `meshctl cni install`, and the reference client that runs what it put there.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use meshd_tests::mesh::{Node, words};
use meshd_tests::pods::{CNI_NETWORK, Pod};
use meshd_tests::{eventually, figure, skip};
use serde_json::{Value, json};

use crate::bed::{self, NET, SOON};
use crate::pods::give_prefixes;
use crate::pods_cni::{leases, leftovers, one_node};

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

/// The reference client and plugins that `tests/k8s/build` made; none where they were not built.
fn reference(program: &str) -> Option<String> {
    let parts = std::env::var_os("MESHD_K8S_PARTS")?;
    let path = std::path::Path::new(&parts).join("bin").join(program);
    path.exists().then(|| path.display().to_string())
}

/// The reference client over what `meshctl cni install` put down, with the plugins that follow in the chain.
struct Runtime<'a> {
    node: &'a Node,
    cnitool: String,
}

/// Where plugins are, on the node.
const PLUGINS: &str = "/run/cni/bin";

impl<'a> Runtime<'a> {
    /// `None` where the reference programs were not built, which is said.
    fn on(node: &'a Node, test: &str) -> Option<Self> {
        let found = ["cnitool", "portmap", "bandwidth"].map(reference);
        let [Some(cnitool), Some(portmap), Some(bandwidth)] = found else {
            let why = "MESHD_K8S_PARTS has no cnitool, portmap and bandwidth: ./test --k8s builds them";
            skip(test, why);
            return None;
        };
        node.machine()
            .sh(&format!("mkdir -p {PLUGINS}; cp {portmap} {bandwidth} {PLUGINS}"));
        Some(Self { node, cnitool })
    }

    /// Installs the configuration, of the version if one is given.
    fn install(&self, version: &[&str]) {
        self.node
            .ctl(&[&["cni", "install", "--bin-dir", PLUGINS], version].concat());
    }

    /// Runs a verb for a pod with arguments for the plugins.
    #[track_caller]
    fn run(&self, verb: &str, pod: &Pod, arguments: &Value) -> String {
        let (path, arguments) = (format!("CNI_PATH={PLUGINS}"), format!("CAP_ARGS={arguments}"));
        let set = ["env", &path, "NETCONFPATH=/etc/cni/net.d", &arguments];
        let verb = [&self.cnitool, verb, CNI_NETWORK, &pod.path()];
        self.node.machine().run(&[&set[..], &verb].concat())
    }

    /// ADD; gives the result.
    #[track_caller]
    fn add(&self, pod: &Pod, arguments: &Value) -> Value {
        serde_json::from_str(&self.run("add", pod, arguments)).expect("a result")
    }
}

/// The first address of a result.
fn address(result: &Value) -> IpAddr {
    let address = result["ips"][0]["address"].as_str();
    let address = address.and_then(|ip| ip.split('/').next()?.parse().ok());
    address.expect("an address")
}

#[test]
fn the_reference_client_runs_the_plugin_in_a_chain_with_portmap_and_bandwidth() {
    let bed = one_node();
    let (node, printer) = (&bed.nodes[0], bed.sites[0].machine("printer", 9));
    let test = "the_reference_client_runs_the_plugin_in_a_chain_with_portmap_and_bandwidth";
    let Some(runtime) = Runtime::on(node, test) else {
        return;
    };
    let pod = Pod::new(node, "chained");
    let ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
    for (asked, version) in [
        (&["--cni-version", "1.0.0"][..], "1.0.0"),
        (&["--cni-version", "1.1.0"], "1.1.0"),
        // all of the chain speak it
        (&[], "1.1.0"),
    ] {
        runtime.install(asked);
        let result = runtime.add(&pod, &ports);
        assert_eq!(result["cniVersion"], version);
        let own = SocketAddr::new(address(&result), 80);
        runtime.run("check", &pod, &ports);
        let listener = pod.inside(|| TcpListener::bind(own).expect("the pod has its address"));
        let to: SocketAddr = format!("{}:8080", bed.sites[0].v4(2))
            .parse()
            .expect("an address");
        let dial = || TcpStream::connect_timeout(&to, Duration::from_secs(2)).is_ok();
        eventually(SOON, "the host's port leads to the pod", || {
            printer.inside(dial).then_some(())
        });
        let from = listener.accept().expect("it arrived").1.ip().to_string();
        assert_eq!(from, bed.sites[0].v4(9), "the source is kept");
        runtime.run("del", &pod, &ports);
        assert_eq!(
            (leases(node), leftovers(node.machine())),
            (Some(0), String::new())
        );
    }
}

/// Bytes of a limited stream: three seconds at the limit, less what may come at once.
const LIMITED: u64 = 3_000_000;
/// The limit in bits/s.
const LIMIT: u64 = 8_000_000;
/// What may come at once, in bits.
const BURST: u64 = 800_000;
/// The least time that the stream takes: the kernel's own queues hold less than half a second.
const LEAST: Duration = Duration::from_millis(2_400);

#[test]
fn a_limited_pod_sends_and_receives_no_faster_and_the_limit_goes_with_it() {
    let bed = one_node();
    let node = &bed.nodes[0];
    let test = "a_limited_pod_sends_and_receives_no_faster_and_the_limit_goes_with_it";
    let Some(runtime) = Runtime::on(node, test) else {
        return;
    };
    runtime.install(&[]);
    let traces = || {
        node.machine()
            .sh("ip -br link | grep -e bwp -e ifb || true; tc qdisc | grep tbf || true")
    };
    let (limited, other) = (Pod::new(node, "limited"), Pod::new(node, "other"));
    let limits = json!({"bandwidth": {
        "ingressRate": LIMIT, "ingressBurst": BURST, "egressRate": LIMIT, "egressBurst": BURST
    }});
    let own = address(&runtime.add(&limited, &limits));
    let others = address(&runtime.add(&other, &json!({})));
    for (what, from, to, at) in [
        ("received by", &other, &limited, SocketAddr::new(own, 9000)),
        ("sent by", &limited, &other, SocketAddr::new(others, 9000)),
    ] {
        let begin = Instant::now();
        let flow = from.streams_to(to, at, 0);
        eventually(3 * SOON, "the stream arrives", || {
            (flow.received() > LIMITED).then_some(())
        });
        let took = begin.elapsed();
        let report = flow.stop();
        assert!(report.broken.is_none(), "{report:?}");
        figure(
            &format!("3 MB {what} a pod that is limited to 8 Mbit/s"),
            format!("{:.1} s", took.as_secs_f64()),
            "3 s at least, less a burst",
        );
        assert!(took >= LEAST, "{what}: {took:?}");
    }
    assert!(traces().contains("tbf"), "{}", traces());
    runtime.run("del", &limited, &limits);
    runtime.run("del", &other, &json!({}));
    assert_eq!(
        (traces(), leftovers(node.machine())),
        (String::new(), String::new())
    );
}
