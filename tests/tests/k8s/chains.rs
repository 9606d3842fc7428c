//! The reference client runs what `meshctl cni install` put down, in a chain with the plugins that follow. No Kubernetes is in it.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use meshd_tests::k8s::{NET, Parts, guide};
use meshd_tests::mesh::{Node, Relay};
use meshd_tests::pods::{CNI_NETWORK, Pod};
use meshd_tests::{Nat, Site, World, eventually, figure};
use serde_json::{Value, json};

use crate::bed;

/// For what takes a moment on a busy computer and has no bar.
const SOON: Duration = Duration::from_secs(20);
/// Where plugins are, on the node.
const PLUGINS: &str = "/run/cni/bin";

/// A node whose pods have a prefix, and the reference client on it. Fields are dropped in this order.
struct Runtime {
    node: Node,
    cnitool: String,
    _relay: Relay,
    site: Site,
    _world: World,
}

impl Runtime {
    fn new(parts: &Parts) -> Self {
        let world = World::new();
        let relay = Relay::start(&world.cloud());
        relay.create_network(NET, "10.77.0.0/16");
        relay.ctl(&guide::words(guide::PODS));
        let site = world.site(Nat::PortRestricted);
        let node = Node::start(&site.machine("n", 2));
        node.join(&relay.token(NET, &[]));
        let [portmap, bandwidth] = ["portmap", "bandwidth"].map(|name| parts.program(name));
        node.machine()
            .sh(&format!("mkdir -p {PLUGINS}; cp {portmap} {bandwidth} {PLUGINS}"));
        Self {
            node,
            cnitool: parts.program("cnitool"),
            _relay: relay,
            site,
            _world: world,
        }
    }

    /// What is left of pods on the machine: leases, interfaces and routes.
    fn leftovers(&self) -> (Option<u64>, String) {
        let leases = self
            .node
            .network(NET)
            .and_then(|net| net["pods"]["leases"].as_u64());
        let look = "ip -br link | grep mpod || true; ip -4 route show table all proto 110; ip -6 route show table all proto 110";
        (leases, self.node.machine().sh(look))
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
    let Some(parts) = bed::parts("the reference client") else {
        return;
    };
    let runtime = Runtime::new(&parts);
    let (node, printer) = (&runtime.node, runtime.site.machine("printer", 9));
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
        let to: SocketAddr = format!("{}:8080", runtime.site.v4(2))
            .parse()
            .expect("an address");
        let dial = || TcpStream::connect_timeout(&to, Duration::from_secs(2)).is_ok();
        eventually(SOON, "the host's port leads to the pod", || {
            printer.inside(dial).then_some(())
        });
        let from = listener.accept().expect("it arrived").1.ip().to_string();
        assert_eq!(from, runtime.site.v4(9), "the source is kept");
        runtime.run("del", &pod, &ports);
        assert_eq!(runtime.leftovers(), (Some(0), String::new()));
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
    let Some(parts) = bed::parts("pods with a limit") else {
        return;
    };
    let runtime = Runtime::new(&parts);
    let node = &runtime.node;
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
        (traces(), runtime.leftovers()),
        (String::new(), (Some(0), String::new()))
    );
}
