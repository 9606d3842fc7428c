//! Pods over the mesh: namespaces on nodes, connected by the CNI plugin, reach one another through NATs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use meshd_tests::pods::{self, Pod};
use meshd_tests::{CLOUD_V4, Machine, Nat, eventually, figure};
use serde_json::json;

use crate::bed::{self, Bed, NET, SOON};

/// Bytes of a TCP stream.
pub const STREAM: u64 = 1 << 20;
/// The address of a service, in every test here.
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 10);

/// Two nodes behind NATs, in a network whose pods have prefixes.
pub fn two_nodes() -> Bed {
    let bed = bed::apart(&[("a", Nat::PortRestricted), ("b", Nat::Symmetric)]);
    give_prefixes(&bed, "10.42.0.0/16");
    bed
}

/// Gives the network's pods prefixes, and waits until each node knows its part.
pub fn give_prefixes(bed: &Bed, pods: &str) {
    let services = ["--service-cidr", "10.43.0.0/16"];
    bed.relay
        .ctl(&[&["network", "pods", NET, "--pod-cidr", pods][..], &services].concat());
    for node in &bed.nodes {
        eventually(SOON, "it has a part of the pods' prefix", || {
            node.network(NET)?["pods"]["cidr"].as_str().map(str::to_owned)
        });
    }
}

pub fn at(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

/// Pings until the answer comes.
#[track_caller]
pub fn reaches(pod: &Pod, to: IpAddr) {
    eventually(SOON, &format!("{} reaches {to}", pod.name), || {
        pod.pings(to).then_some(())
    });
}

/// Streams until a mebibyte has come, all of it right.
#[track_caller]
fn streams(from: &Pod, pod: &Pod, to: SocketAddr) {
    let flow = from.streams_to(pod, to, 0);
    eventually(SOON, "the stream arrives", || {
        (flow.received() > STREAM).then_some(())
    });
    let report = flow.stop();
    assert!(report.broken.is_none(), "{to}: {report:?}");
}

#[test]
fn pods_on_two_nodes_reach_each_other_through_nats_by_both_ip_versions() {
    let bed = two_nodes();
    let (first, first_ips) = Pod::added(&bed.nodes[0], "first");
    let (second, second_ips) = Pod::added(&bed.nodes[1], "second");
    let (neighbour, neighbour_ips) = Pod::added(&bed.nodes[0], "neighbour");
    assert_eq!((first_ips.len(), second_ips.len()), (2, 2), "IPv4 and IPv6");
    for (from, to) in [
        (&first, &second_ips),
        (&second, &first_ips),
        (&first, &neighbour_ips),
        (&neighbour, &second_ips),
    ] {
        to.iter().for_each(|to| reaches(from, *to));
    }
    for (port, to) in (8000..).zip(&second_ips) {
        streams(&first, &second, at(*to, port));
    }
    for node in &bed.nodes {
        reaches(&first, node.ipv4(NET));
        reaches(&first, node.ipv6(NET));
    }
    assert!(bed.nodes[0].pings(&second_ips[0].to_string()), "nodes reach pods");
    assert!(
        bed.nodes[0].pings6(&second_ips[1].to_string()),
        "nodes reach pods by IPv6"
    );
    assert!(
        !bed.nodes[0].pings("10.42.0.200"),
        "an address that no pod has leads nowhere"
    );
}

/// Whom `to` sees when the pod sends it a datagram.
fn seen_as(pod: &Pod, sink: &UdpSocket, to: SocketAddr) -> IpAddr {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let source = pod.inside(|| UdpSocket::bind(any).expect("a socket"));
    eventually(SOON, &format!("{} is seen at {to}", pod.name), || {
        source.send_to(b"who am I", to).ok()?;
        Some(sink.recv_from(&mut [0; 64]).ok()?.1.ip())
    })
}

fn sink(bind: impl FnOnce() -> UdpSocket) -> UdpSocket {
    let sink = bind();
    sink.set_read_timeout(Some(Duration::from_millis(200)))
        .expect("a positive time");
    sink
}

fn sink_on(machine: &Machine, at: SocketAddr) -> UdpSocket {
    sink(|| machine.inside(|| UdpSocket::bind(at).expect("the address is there")))
}

#[test]
fn pods_keep_their_addresses_inside_the_mesh_and_are_masqueraded_outside() {
    let bed = two_nodes();
    let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
    let printer = bed.sites[0].machine("printer", 9);
    let (first, first_ips) = Pod::added(a, "first");
    let (second, second_ips) = Pod::added(b, "second");
    for (own, to) in first_ips.iter().zip(&second_ips) {
        let to = at(*to, 9000);
        let there = sink(|| second.inside(|| UdpSocket::bind(to).expect("the pod has its address")));
        assert_eq!(seen_as(&first, &there, to), *own, "pod to pod");
    }
    let node = b.at(NET, 9001);
    assert_eq!(
        seen_as(&first, &sink_on(b.machine(), node), node),
        first_ips[0],
        "pod to node"
    );
    let internet = at(CLOUD_V4.parse().expect("an address"), 9002);
    let outside: IpAddr = bed.sites[0].public_v4().parse().expect("an address");
    assert_eq!(
        seen_as(&first, &sink_on(&bed.cloud, internet), internet),
        outside,
        "pod to the internet"
    );
    let lan = at(bed.sites[0].v4(9).parse().expect("an address"), 9003);
    let own_lan: IpAddr = bed.sites[0].v4(2).parse().expect("an address");
    assert_eq!(
        seen_as(&first, &sink_on(&printer, lan), lan),
        own_lan,
        "pod to the node's LAN"
    );
    // a stranger on the LAN with a route to the pods gets no further than the node
    printer.sh(&format!("ip route add 10.42.0.0/16 via {}", bed.sites[0].v4(2)));
    assert!(!printer.succeeds(&["ping", "-c1", "-W1", &first_ips[0].to_string()]));
    assert!(!printer.succeeds(&["ping", "-c1", "-W1", &second_ips[0].to_string()]));
}

/// An IPv4 packet with a UDP datagram; the kernel fills in lengths and checksums.
fn forged(source: Ipv4Addr, to: Ipv4Addr, port: u16) -> Vec<u8> {
    let mut packet = vec![0; 28];
    packet[0] = 0x45;
    packet[8] = 64;
    packet[9] = 17;
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&to.octets());
    packet[20..22].copy_from_slice(&port.to_be_bytes());
    packet[22..24].copy_from_slice(&port.to_be_bytes());
    packet[24..26].copy_from_slice(&8u16.to_be_bytes());
    packet
}

#[test]
fn a_pod_with_raw_sockets_sends_from_its_own_addresses_alone() {
    use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};
    let bed = two_nodes();
    let (liar, liar_ips) = Pod::added(&bed.nodes[0], "liar");
    let (_, other_ips) = Pod::added(&bed.nodes[0], "other");
    let (victim, victim_ips) = Pod::added(&bed.nodes[1], "victim");
    reaches(&liar, victim_ips[0]);
    let v4 = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(ip) => panic!("{ip} is IPv4"),
    };
    let (to, own) = (v4(victim_ips[0]), v4(liar_ips[0]));
    let there = sink(|| victim.inside(|| UdpSocket::bind((to, 9000)).expect("the pod has its address")));
    let raw = liar
        .inside(|| socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW)).expect("a raw socket"));
    let lies = [
        v4(other_ips[0]),
        v4(bed.nodes[0].ipv4(NET)),
        v4(bed.nodes[1].ipv4(NET)),
        Ipv4Addr::new(8, 8, 8, 8),
    ];
    for source in lies.into_iter().chain([own]) {
        let packet = forged(source, to, 9000);
        sendto(&raw, &packet, SendFlags::empty(), &SocketAddr::from((to, 0))).expect("the kernel sends it");
    }
    let (_, from) = eventually(SOON, "the true one arrives", || {
        there.recv_from(&mut [0; 64]).ok()
    });
    assert_eq!(from.ip(), IpAddr::from(own), "and it is the first to arrive");
    // IPv6: another pod's address on the liar's loopback
    liar.run(&[
        "ip",
        "addr",
        "add",
        &format!("{}/128", other_ips[1]),
        "dev",
        "lo",
        "nodad",
    ]);
    let lie = other_ips[1].to_string();
    assert!(liar.pings(victim_ips[1]));
    let pinged = liar.output(&["ping", "-6", "-c1", "-W1", "-I", &lie, &victim_ips[1].to_string()]);
    assert!(!pinged.status.success());
    let dropped = bed.nodes[0].machine().sh("nft list chain inet meshd-0 pods");
    assert!(
        !dropped.contains("packets 0 "),
        "the node dropped them: {dropped}"
    );
}

/// What kube-proxy would do for one service with one endpoint on a node: the address translated, and the sender where it is not a
/// pod, or is the endpoint itself.
fn serve(node: &Machine, endpoint: IpAddr) {
    node.sh(&format!(
        "nft add table ip proxy
         nft add chain ip proxy pre '{{ type nat hook prerouting priority dstnat; }}'
         nft add rule ip proxy pre ip daddr {SERVICE} tcp dport 80 dnat to {endpoint}:8080
         nft add chain ip proxy post '{{ type nat hook postrouting priority srcnat; }}'
         nft add rule ip proxy post ip saddr {endpoint} ip daddr {endpoint} masquerade
         nft add rule ip proxy post ct status dnat ip saddr != 10.42.0.0/16 masquerade"
    ));
}

#[test]
fn services_lead_to_pods_on_other_nodes_back_to_the_pod_itself_and_for_machines_outside() {
    let mut bed = bed::apart(&[("a", Nat::PortRestricted), ("b", Nat::PortRestricted)]);
    let home = bed.world.site(Nat::PortRestricted);
    bed.add(&home, "laptop", 2);
    bed.settle();
    give_prefixes(&bed, "10.42.0.0/16");
    let (first, _) = Pod::added(&bed.nodes[0], "first");
    let (second, second_ips) = Pod::added(&bed.nodes[1], "second");
    for node in &bed.nodes[..2] {
        serve(node.machine(), second_ips[0]);
    }
    let listener = second
        .inside(|| std::net::TcpListener::bind(at(second_ips[0], 8080)).expect("the pod has its address"));
    let service = at(SERVICE.into(), 80);
    let connects = |what: &str, connect: &dyn Fn() -> bool| {
        eventually(SOON, what, || connect().then_some(()));
        listener.accept().expect("it arrived").1.ip()
    };
    let dial = || std::net::TcpStream::connect_timeout(&service, Duration::from_secs(2)).is_ok();
    let from = connects("a pod on another node connects", &|| first.inside(dial));
    assert!(
        from.to_string().starts_with("10.42."),
        "the source is kept: {from}"
    );
    connects("the pod connects to itself", &|| second.inside(dial));
    bed.relay
        .ctl(&["gateway", "add", "a", "--range", "10.43.0.0/16", "--no-nat"]);
    let laptop = bed.nodes[2].machine();
    connects(
        "a machine outside the cluster connects through a gateway",
        &|| laptop.inside(dial),
    );
}

#[test]
fn a_lan_inside_the_pods_prefix_keeps_its_own_route_and_status_names_both() {
    let bed = bed::apart(&[("a", Nat::PortRestricted), ("b", Nat::PortRestricted)]);
    let printer = bed.sites[0].machine("printer", 9);
    give_prefixes(&bed, "192.168.0.0/16");
    let (first, first_ips) = Pod::added(&bed.nodes[0], "first");
    let (_, second_ips) = Pod::added(&bed.nodes[1], "second");
    assert!(first_ips[0].to_string().starts_with("192.168."));
    reaches(&first, second_ips[0]);
    let lan: IpAddr = bed.sites[0].v4(9).parse().expect("an address");
    reaches(&first, lan);
    assert!(bed.nodes[0].pings(&lan.to_string()), "the LAN stays the LAN");
    assert!(printer.succeeds(&["ping", "-c1", "-W1", &bed.sites[0].v4(2)]));
    let warnings = bed.nodes[0].network(NET).expect("joined")["warnings"].clone();
    let naming = |w: &&serde_json::Value| {
        w.as_str()
            .is_some_and(|w| w.contains("192.168.0.0/16") && w.contains(&bed.sites[0].v4(0)))
    };
    assert_eq!(
        warnings.as_array().map(|all| all.iter().filter(naming).count()),
        Some(1),
        "{warnings:#}"
    );
}

#[test]
fn super_packets_leave_a_pod_uncut() {
    let bed = two_nodes();
    let (first, _) = Pod::added(&bed.nodes[0], "first");
    let (second, second_ips) = Pod::added(&bed.nodes[1], "second");
    reaches(&first, second_ips[0]);
    let count = |node: &Machine| {
        node.sh("nft add table inet count
             nft add chain inet count out '{ type filter hook postrouting priority 300; }'
             nft add rule inet count out oifname meshd0 meta l4proto tcp counter
             nft add chain inet count in '{ type filter hook postrouting priority 301; }'
             nft add rule inet count in oifname 'mpod*' meta l4proto tcp counter");
    };
    let read = |node: &Machine, chain: &str| -> (u64, u64) {
        let text = node.sh(&format!("nft list chain inet count {chain}"));
        let after = |word: &str| {
            let rest = text.split_once(word).map(|(_, rest)| rest).unwrap_or_default();
            rest.split_whitespace()
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0)
        };
        (after("packets "), after("bytes "))
    };
    for node in &bed.nodes {
        count(node.machine());
    }
    streams(&first, &second, at(second_ips[0], 9000));
    let (out, outside) = read(bed.nodes[0].machine(), "out");
    let (inside, came) = read(bed.nodes[1].machine(), "in");
    let (leaving, arriving) = (outside / out.max(1), came / inside.max(1));
    let segments = outside / 1368;
    figure(
        "super-packets from a pod into the tunnel",
        format!("{out} for {segments} segments, {leaving} B each"),
        "uncut",
    );
    figure(
        "super-packets from the tunnel to a pod",
        format!("{inside} of {arriving} B each"),
        "coalesced",
    );
    assert!(leaving > 4 * 1408, "{out} packets, {outside} bytes");
}

#[test]
fn the_root_key_elsewhere_signs_each_nodes_part() {
    let bed = bed::empty();
    let key = ["--admin-key-file", "/run/lab.key"];
    let create = [
        "network",
        "create",
        "lab",
        "--cidr",
        "10.88.0.0/16",
        "--pod-cidr",
        "10.44.0.0/16",
    ];
    bed.relay.ctl(&[&key[..], &create].concat());
    let site = bed.world.site(Nat::PortRestricted);
    let node = meshd_tests::mesh::Node::start(&site.machine("n", 2));
    node.join(
        &bed.relay
            .ctl(&[&key[..], &["token", "create", "--network", "lab"]].concat())
            .trim()
            .to_owned(),
    );
    let part = || node.network("lab")?["pods"]["cidr"].as_str().map(str::to_owned);
    assert_eq!(part(), None, "nobody but the key's holder can give it one");
    let status = Pod::new(&node, "p").cni("STATUS", &json!({}));
    assert_eq!(status.code(), Some(50), "{status:?}");
    bed.relay.ctl(&[&key[..], &["network", "pods", "lab"]].concat());
    let part = eventually(SOON, "it has its part", part);
    assert_eq!(part, "10.44.0.0/24");
    let (_, ips) = Pod::added(&node, "q");
    assert!(pods::within(ips[0], &part), "{ips:?}");
}
