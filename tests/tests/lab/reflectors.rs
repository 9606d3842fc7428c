//! Who lies about addresses, or sends too much, gains nothing by it; and what a node tells of its own addresses is sound.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use meshd_core::stun;
use meshd_tests::mesh::{Node, Relay};
use meshd_tests::{Machine, Nat, UdpFlow, World, eventually, figure, hostile};

use crate::bed::{self, CIDR, NET, SOON};

/// How long nodes talk while the victim counts.
const WATCHED: Duration = Duration::from_secs(15);
/// Datagrams that a node may send a minute to an address that never answered, by discovery and by netcheck.
const ALLOWED: u64 = 8 + 2;

/// Threads on sockets of the lab that end with this.
pub struct Workers(Arc<AtomicBool>, Vec<JoinHandle<()>>);

impl Workers {
    pub fn new() -> Self {
        Self(Arc::default(), Vec::new())
    }

    /// Calls `each` with every datagram that comes to `at` on `machine`.
    pub fn serve(
        &mut self,
        machine: &Machine,
        at: SocketAddr,
        mut each: impl FnMut(&UdpSocket, &[u8], SocketAddr) + Send + 'static,
    ) {
        let socket = machine.inside(|| UdpSocket::bind(at).expect("the machine's address"));
        let patience = socket.set_read_timeout(Some(Duration::from_millis(100)));
        patience.expect("a positive time");
        let stop = Arc::clone(&self.0);
        self.1.push(thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    each(&socket, &buffer[..length], from);
                }
            }
        }));
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        for worker in self.1.drain(..) {
            let _ = worker.join();
        }
    }
}

/// A relay and the network, for nodes that know two addresses of it: the second is the liar's.
pub fn relay_with_a_liar(cloud: &Machine) -> Relay {
    let public = ["--public-addr", "203.0.113.1", "--public-addr", "203.0.113.2"];
    let listen = ["--listen-udp", "203.0.113.1:3478", "203.0.113.1:3479"];
    let relay = Relay::start_with(cloud, &[&public[..], &listen].concat());
    relay.create_network(NET, CIDR);
    relay
}

/// Has the cloud host's second address tell everybody who asks that he is seen at `victim`.
pub fn lying_stun_server(workers: &mut Workers, cloud: &Machine, victim: SocketAddr) {
    for port in [3478, 3479] {
        let at = SocketAddr::from(([203, 0, 113, 2], port));
        workers.serve(cloud, at, move |socket, request, from| {
            if let Some(lie) = stun::binding_answer(request, victim) {
                let _ = socket.send_to(&lie, from);
            }
        });
    }
}

#[test]
fn a_stun_server_that_lies_turns_no_node_into_a_reflector_and_is_named() {
    const NODES: u64 = 4;
    let world = World::new();
    let cloud = world.cloud();
    let victim_site = world.site(Nat::Open);
    let victim = victim_site.machine("victim", 2);
    let target: SocketAddr = format!("{}:5353", victim_site.v4(2)).parse().expect("an address");
    let mut workers = Workers::new();
    let (count, bytes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (counted, largest) = (Arc::clone(&count), Arc::clone(&bytes));
    workers.serve(&victim, target, move |_, datagram, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        largest.fetch_max(datagram.len() as u64, Ordering::Relaxed);
    });
    lying_stun_server(&mut workers, &cloud, target);
    let relay = relay_with_a_liar(&cloud);
    let nodes: Vec<Node> = (0..NODES)
        .map(|number| {
            let node = Node::start(&world.site(Nat::Symmetric).machine(&format!("n{number}"), 2));
            node.join(&relay.token(NET, &[]));
            node
        })
        .collect();
    let end = Instant::now() + WATCHED;
    while Instant::now() < end {
        for node in &nodes {
            for peer in nodes.iter().filter(|peer| peer.name() != node.name()) {
                let _ = node.pings(peer.name());
            }
        }
    }
    nodes[0].reaches("n1", SOON);
    let warned = eventually(SOON, "netcheck names the lie", || {
        let page = nodes[0].ctl(&["netcheck"]);
        page.contains("the relays disagree on this node's address")
            .then_some(page)
    });
    println!("{warned}");
    let (count, bytes) = (count.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed));
    figure(
        "datagrams at the victim of a lying STUN server, 4 nodes, 15 s",
        count,
        NODES * ALLOWED,
    );
    assert!(count <= NODES * ALLOWED, "{count} datagrams reached the victim");
    assert!(bytes <= 128, "the largest had {bytes} bytes");
}

#[test]
fn a_flood_of_discovery_messages_is_named_and_costs_others_nothing() {
    let bed = bed::together(&["a", "b"]);
    bed.wait_for_paths("direct");
    let [a, b] = &bed.nodes[..] else {
        unreachable!("two nodes")
    };
    let port = a.network(NET).expect("joined")["listen_port"]
        .as_u64()
        .expect("a port");
    let to: SocketAddr = format!("{}:{port}", bed.sites[0].v4(2))
        .parse()
        .expect("an address");
    let mallory = bed.sites[0].machine("mallory", 66);
    let flow = UdpFlow::start(b, a, a.at(NET, 9000), 200);
    let socket = mallory.inside(|| UdpSocket::bind("0.0.0.0:0").expect("a socket"));
    let mut noise = hostile::Noise::new(7);
    let named = eventually(SOON, "the flood is named", || {
        for _ in 0..2_000 {
            let _ = socket.send_to(&noise.datagram(b"msh\x01"), to);
        }
        let page = a.ctl(&["status"]);
        page.contains("floods this node").then_some(page)
    });
    assert!(named.contains(&bed.sites[0].v4(66)), "{named}");
    assert!(a.ctl(&["netcheck"]).contains("floods this node"));
    let flow = flow.stop();
    assert!(flow.lost() * 100 <= flow.sent, "{flow:?}");
}

#[test]
fn addresses_of_pods_bridges_containers_and_other_meshes_are_told_to_nobody() {
    let mut bed = bed::empty();
    let site = bed.world.site(Nat::PortRestricted);
    let machine = site.machine("a", 2);
    for (name, address) in [
        ("docker0", "172.17.0.1/16"),
        ("br-5f2c9d", "172.18.0.1/16"),
        ("cni0", "10.244.1.1/24"),
    ] {
        machine.sh(&format!(
            "ip link add name {name} type bridge; ip addr add {address} dev {name}; ip link set dev {name} up; \
             ip link add name p-{name} type veth peer name veth-{name}; ip link set dev veth-{name} master {name} up; ip link set dev p-{name} up"
        ));
    }
    for (name, address) in [
        ("flannel.1", "10.244.1.0/32"),
        ("vethab12cd", "10.244.1.9/32"),
        ("cali0123", "10.244.1.10/32"),
        ("wg0", "10.9.0.2/24"),
        ("tailscale0", "100.100.1.2/32"),
    ] {
        machine.sh(&format!(
            "ip link add name {name} type veth peer name x-{name}; ip addr add {address} dev {name}; \
             ip link set dev {name} up; ip link set dev x-{name} up"
        ));
    }
    let node = Node::start(&machine);
    node.join(&bed.relay.token(NET, &[]));
    bed.nodes.push(node);
    let told = eventually(SOON, "the node's outside address is told", || {
        let shown = bed.relay.json(&["node", "show", "a"]);
        let told: Vec<String> = shown["candidates"]
            .as_array()?
            .iter()
            .map(ToString::to_string)
            .collect();
        told.iter()
            .any(|candidate| candidate.contains(&site.public_v4()))
            .then_some(told)
    });
    let own = [site.v4(2), site.public_v4()];
    for candidate in &told {
        assert!(
            own.iter().any(|own| candidate.contains(&format!("{own}:"))),
            "{candidate} of {told:?}"
        );
    }
    assert_eq!(told.len(), 2, "{told:?}");
    bed.sites.push(site);
}
