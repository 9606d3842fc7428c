//! Debian's BIRD beside meshd: a node mesh as Calico makes it, and a top-of-rack router that learns the mesh's routes by BGP.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use meshd_tests::beside::{Bird, bridged_pod, line, words};
use meshd_tests::mesh::Node;
use meshd_tests::pods::Pod;
use meshd_tests::{Machine, Nat, eventually, figure, keeps, skip, timed};

use crate::bed::{self, Bed, NET, SOON};

/// The cluster's autonomous system.
const AS: u32 = 64512;
/// The rack's.
const RACK_AS: u32 = 65001;
/// A server of the rack's.
const SERVER: &str = "172.20.0.5";
/// From the end of a border node's sessions to the first packet by the other one.
const FAILOVER: Duration = Duration::from_secs(3);

/// What every node's configuration begins with: pods' blocks are devices' (the bridge), what comes by BGP goes to the kernel, and
/// each peer is reached as the page says.
fn begin(node: &Node, nodes: &[Node]) -> String {
    let of_page = line("protocol static mesh");
    let route = &of_page[of_page.find("route").unwrap_or(0)..of_page.len() - 1];
    let others = nodes.iter().filter(|other| other.name() != node.name());
    let routes: String = others
        .map(|other| route.replace("PEER4", &other.ipv4(NET).to_string()))
        .collect();
    format!(
        "router id {}; log stderr all; debug protocols {{ states, events }}; protocol device {{ }} \
         protocol direct pods {{ ipv4; interface \"cni0\"; }} \
         {} \
         protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; }}\n",
        node.ipv4(NET),
        of_page.replace(route, &routes)
    )
}

/// A session inside the cluster, from one node to another.
fn inside(configuration: &mut String, own: &Node, other: &Node) {
    let _ = writeln!(
        configuration,
        "protocol bgp {} {{ local {} as {AS}; neighbor {} as {AS}; multihop; connect retry time 1; connect delay time 1; \
         error wait time 1, 2; ipv4 {{ import all; export where source ~ [RTS_DEVICE, RTS_BGP]; next hop self; }}; }}",
        other.name(),
        own.ipv4(NET),
        other.ipv4(NET)
    );
}

/// A session between a node and the rack's router; `whose` is the speaker's own.
fn outside(
    configuration: &mut String,
    name: &str,
    (own, own_as): (&str, u32),
    (other, other_as): (&str, u32),
) {
    let _ = writeln!(
        configuration,
        "protocol bgp {name} {{ local {own} as {own_as}; neighbor {other} as {other_as}; direct; connect retry time 1; \
         connect delay time 1; error wait time 1, 2; ipv4 {{ import all; export where source ~ [RTS_DEVICE, RTS_STATIC, RTS_BGP]; next hop self; }}; }}"
    );
}

/// Starts BIRD on every node, each with a session to every other, and `more` in its configuration.
fn node_mesh(nodes: &[Node], more: impl Fn(&Node, &mut String)) -> Vec<Bird> {
    let start = |node: &Node| {
        let mut configuration = begin(node, nodes);
        for other in nodes.iter().filter(|other| other.name() != node.name()) {
            inside(&mut configuration, node, other);
        }
        more(node, &mut configuration);
        Bird::start(node, &configuration)
    };
    nodes.iter().map(start).collect()
}

fn pods(bed: &Bed) -> Vec<(Pod, IpAddr)> {
    let mtu = 1408;
    (1..)
        .zip(&bed.nodes)
        .map(|(n, node)| bridged_pod(node, &format!("10.244.{n}"), mtu))
        .collect()
}

#[track_caller]
fn all_talk(pods: &[(Pod, IpAddr)]) {
    for (from, own) in pods {
        for (_, to) in pods.iter().filter(|(_, to)| to != own) {
            eventually(SOON, &format!("{own} reaches {to}"), || {
                from.pings(*to).then_some(())
            });
        }
    }
}

#[test]
fn a_full_mesh_of_bgp_sessions_between_nodes_carries_pods_as_calico_does() {
    let test = "a_full_mesh_of_bgp_sessions_between_nodes_carries_pods_as_calico_does";
    if !Bird::is_there() {
        return skip(test, "Debian's bird2 is not installed");
    }
    let bed = bed::apart(&[
        ("a", Nat::Open),
        ("b", Nat::PortRestricted),
        ("c", Nat::Symmetric),
    ]);
    bed.relay.ctl(&words("cloud$ meshctl node grant --all"));
    let pods = pods(&bed);
    let birds = node_mesh(&bed.nodes, |_, _| {});
    all_talk(&pods);

    // a session ends: its routes go, and the pods behind them send for nobody
    birds[1].stop();
    let (a, _) = &pods[0];
    eventually(SOON, "the pod on b is out of reach", || {
        (!a.pings(pods[1].1)).then_some(())
    });
    let routes = bed.nodes[0].machine().run(&["ip", "route"]);
    assert!(!routes.contains("10.244.2.0/24"), "{routes}");
    assert!(a.pings(pods[2].1), "the pod on c is where it was");
    drop(birds);
}

/// A rack: its router, and a server behind that.
struct Rack {
    router: Machine,
}

impl Rack {
    /// The server is a namespace of the router's.
    fn new(router: Machine) -> Self {
        router.sh(&format!(
            "echo 1 > /proc/sys/net/ipv4/ip_forward; ip netns add server; ip link add rack type veth peer name eth0 netns server; \
             ip addr add 172.20.0.1/24 dev rack; ip link set dev rack up; ip -n server link set dev lo up; \
             ip -n server addr add {SERVER}/24 dev eth0; ip -n server link set dev eth0 up; \
             ip -n server route add default via 172.20.0.1"
        ));
        Self { router }
    }

    fn server_pings(&self, to: IpAddr) -> bool {
        let to = to.to_string();
        self.router.succeeds(&[
            "ip", "netns", "exec", "server", "ping", "-n", "-q", "-c1", "-W1", &to,
        ])
    }
}

#[test]
fn a_rack_learns_the_meshs_routes_by_bgp_and_a_second_border_node_takes_over() {
    let test = "a_rack_learns_the_meshs_routes_by_bgp_and_a_second_border_node_takes_over";
    if !Bird::is_there() {
        return skip(test, "Debian's bird2 is not installed");
    }
    let mut bed = bed::empty();
    let office = bed.world.site(Nat::PortRestricted);
    bed.add(&office, "border1", 2);
    bed.add(&office, "border2", 3);
    let rack = Rack::new(office.machine("tor", 9));
    let home = bed.world.site(Nat::Symmetric);
    bed.add(&home, "far", 2);
    let lans = [office.v4(2), office.v4(3)];
    let tor = office.v4(9);
    bed.sites.extend([office, home]);
    bed.settle();
    bed.relay.ctl(&words("cloud$ meshctl node grant --all"));
    for border in ["border1", "border2"] {
        bed.relay
            .ctl(&words(&format!("cloud$ meshctl node grant {border}")));
    }
    let pods = pods(&bed);

    let mut configuration = String::from(
        "router id 172.20.0.1; log stderr all; debug protocols { states, events }; protocol device { } protocol direct rack { ipv4; interface \"rack\"; } \
         protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }\n",
    );
    for (n, lan) in (1..).zip(&lans) {
        outside(
            &mut configuration,
            &format!("border{n}"),
            (&tor, RACK_AS),
            (lan, AS),
        );
    }
    let _router = Bird::start(&rack.router, &configuration);
    let birds = node_mesh(&bed.nodes, |node, configuration| {
        let lan = match node.name() {
            "border1" => &lans[0],
            "border2" => &lans[1],
            _ => return,
        };
        outside(configuration, "tor", (lan, AS), (&tor, RACK_AS));
    });
    all_talk(&pods);
    let far = &bed.nodes[2];
    for target in [pods[2].1, far.ipv4(NET)] {
        eventually(SOON, &format!("the server reaches {target}"), || {
            rack.server_pings(target).then_some(())
        });
    }
    let server: IpAddr = SERVER.parse().expect("an address");
    eventually(SOON, "a pod behind the far node reaches the server", || {
        pods[2].0.pings(server).then_some(())
    });

    // the border node in use loses its sessions; the kernel keeps its routes, as after a crash
    birds[0].kill();
    let second = bed.nodes[1].ipv4(NET).to_string();
    let by_second = || {
        far.machine()
            .run(&["ip", "route", "get", SERVER])
            .contains(&second)
    };
    let (_, took) = timed(SOON, "the other border node carries it", || {
        (by_second() && pods[2].0.pings(server) && rack.server_pings(pods[2].1)).then_some(())
    });
    figure(
        "BGP beside the mesh: a border node's sessions end, until both ways work again",
        format!("{} ms", took.as_millis()),
        "3 s",
    );
    assert!(keeps(took, FAILOVER), "{took:?}");
    birds[1].stop();
    eventually(SOON, "without a border node the server is out of reach", || {
        (!pods[2].0.pings(server)).then_some(())
    });
}
