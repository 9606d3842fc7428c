//! The packet threads allocate nothing: while packets go through two data planes in both directions, over real TUN devices, no
//! thread of this whole process does. Direct, by a relay, and to and from a pod behind a node. It is the only test of its
//! program, since nobody else may allocate.

#[allow(dead_code, reason = "shared with the other tests of the data plane")]
#[path = "dataplane/support.rs"]
mod support;

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use meshd::dataplane::PeerConfig;
use meshd_core::path::Endpoint;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};
use support::{Namespace, Node, SOON, introduced, strangers};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes both ways before anything is counted, until every buffer was used and every retry is over.
const WARM: usize = 2 << 20;
/// Bytes both ways while everything is counted: at least 6,000 packets each way.
const COUNTED: usize = 8 << 20;
const CHUNK: usize = 16_384;

/// A connection between two namespaces.
fn connect(from: &Namespace, to: &Namespace, address: IpAddr) -> (TcpStream, TcpStream) {
    let listener = to.inside(|| TcpListener::bind((address, 0)).unwrap());
    let target = listener.local_addr().unwrap();
    let one = from.inside(|| TcpStream::connect_timeout(&target, SOON).unwrap());
    let (two, _) = listener.accept().unwrap();
    for stream in [&one, &two] {
        stream.set_read_timeout(Some(SOON)).unwrap();
    }
    (one, two)
}

/// Sends and receives `bytes` on both ends at once.
fn exchange(ends: &mut (TcpStream, TcpStream), chunks: [&mut [u8]; 2], bytes: usize) {
    let [out, back] = chunks;
    for _ in 0..bytes / CHUNK {
        // a chunk fits the sockets, so that neither write waits for its reader
        ends.0.write_all(out).unwrap();
        ends.1.write_all(out).unwrap();
        ends.1.read_exact(back).unwrap();
        ends.0.read_exact(back).unwrap();
    }
}

/// What the process allocates while packets go between the two.
fn allocations(from: &Namespace, to: &Namespace, address: IpAddr) -> Stats {
    let mut ends = connect(from, to, address);
    let (mut out, mut back) = (vec![7; CHUNK], vec![0; CHUNK]);
    exchange(&mut ends, [&mut out, &mut back], WARM);
    let region = Region::new(ALLOCATOR);
    exchange(&mut ends, [&mut out, &mut back], COUNTED);
    region.change()
}

fn packets(nodes: [&Node; 2]) -> u64 {
    nodes
        .iter()
        .map(|node| node.stats().tx_packets + node.stats().rx_packets)
        .sum()
}

#[track_caller]
fn assert_none(nodes: [&Node; 2], what: &str, from: &Namespace, to: (&Namespace, IpAddr)) {
    let before = packets(nodes);
    let stats = allocations(from, to.0, to.1);
    let moved = packets(nodes) - before;
    assert!(moved > 10_000, "{what}: only {moved} packets were moved");
    assert_eq!(
        (stats.allocations, stats.reallocations),
        (0, 0),
        "{what}: {stats:?} for {moved} packets"
    );
}

/// A namespace behind `node` with this address, as a pod is.
fn pod(node: &Node, address: &str, gateway: &str) -> Option<Namespace> {
    let pod = Namespace::new()?;
    let pid = pod.pid();
    for line in [
        format!("ip link add name pod0 type veth peer name eth0 netns {pid}"),
        format!("ip addr add {gateway}/32 dev pod0"),
        "ip link set pod0 up".to_owned(),
        format!("ip route add {address}/32 dev pod0"),
        "sysctl -qw net.ipv4.ip_forward=1".to_owned(),
    ] {
        node.namespace.sh(&line);
    }
    for line in [
        format!("ip addr add {address}/32 dev eth0"),
        "ip link set eth0 mtu 1408 up".to_owned(),
        format!("ip route add {gateway} dev eth0"),
        format!("ip route add default via {gateway}"),
    ] {
        pod.sh(&line);
    }
    Some(pod)
}

/// The session ids under which each of the two reaches the other.
const SESSIONS: [u64; 2] = [0x1111, 0x2222];

/// Forwards data frames between two nodes as a relay does, without allocating.
fn relay(socket: &UdpSocket, nodes: [SocketAddr; 2], stop: &AtomicBool) {
    let mut frame = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut frame) else {
            continue;
        };
        let sender = usize::from(from == nodes[1]);
        frame[4..12].copy_from_slice(&SESSIONS[1 - sender].to_le_bytes());
        let _ = socket.send_to(&frame[..length], nodes[1 - sender]);
    }
}

fn by_relay(one: &Node, two: &Node) {
    let socket = one
        .namespace
        .inside(|| UdpSocket::bind("192.0.2.1:3478").unwrap());
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let (address, stop) = (socket.local_addr().unwrap(), AtomicBool::new(false));
    for (node, other, session) in [(one, two, SESSIONS[0]), (two, one, SESSIONS[1])] {
        node.plane.set_relays(vec![address]);
        let way = Endpoint::Relay {
            relay: address,
            session,
        };
        node.plane.set_path(other.id, Some(way), None);
    }
    let ends = [one.underlay, two.underlay];
    thread::scope(|scope| {
        scope.spawn(|| relay(&socket, ends, &stop));
        // from a relay to a direct path and back packets move with the next session
        one.plane.rebuild(two.id);
        two.plane.rebuild(one.id);
        assert!(one.ping(two.v4, 5, "0.2") > 0);
        assert_none([one, two], "by a relay", &one.namespace, (&two.namespace, two.v4));
        assert!(two.stats().last_rx_from.is_some_and(|from| from.is_relay()));
        stop.store(true, Ordering::Relaxed);
    });
}

/// That what is counted here is what other threads allocate too.
fn assert_all_threads_count() {
    let region = Region::new(ALLOCATOR);
    let thread = thread::spawn(|| std::hint::black_box(vec![7; 100]));
    thread.join().unwrap();
    assert!(region.change().allocations > 1);
}

#[test]
fn a_packet_allocates_nothing_direct_relayed_and_from_a_pod() {
    assert_all_threads_count();
    for threads in [1, 2] {
        let Some((one, two)) = strangers(threads).map(introduced) else {
            return;
        };
        let nodes = [&one, &two];
        assert_none(nodes, "direct, IPv4", &one.namespace, (&two.namespace, two.v4));
        assert_none(nodes, "direct, IPv6", &one.namespace, (&two.namespace, two.v6));
        let (address, gateway) = ("10.88.0.5", "10.88.0.1");
        let Some(pod) = pod(&one, address, gateway) else {
            return;
        };
        let mut with_pods: PeerConfig = one.as_peer();
        with_pods
            .allowed_ips
            .push("10.88.0.0/24".parse().expect("a prefix"));
        two.plane.set_peers(vec![with_pods]);
        two.plane
            .set_path(one.id, Some(Endpoint::direct(one.underlay)), None);
        two.namespace.sh("ip route add 10.88.0.0/24 dev mesh0");
        assert_none(nodes, "from a pod", &pod, (&two.namespace, two.v4));
        by_relay(&one, &two);
    }
}
