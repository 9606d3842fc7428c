//! A machine on a node's LAN that is in no network: it reaches no mesh address and passes for no peer, and the map is for
//! nodes alone.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use meshd_tests::mesh::Node;
use meshd_tests::{Machine, Nat, Process};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::bed::{self, NET, SOON};

/// How long a stranger waits for what should not come.
const PATIENCE: Duration = Duration::from_millis(400);
/// Where a map is served.
const MAP_PORT: u16 = 7441;

/// Whether a TCP connection from the machine comes about.
fn connects(from: &Machine, to: SocketAddr) -> bool {
    from.inside(|| TcpStream::connect_timeout(&to, PATIENCE).is_ok())
}

/// Whether a datagram from the machine (with this source) arrives at a socket.
fn arrives(from: &Machine, source: IpAddr, at: &UdpSocket, to: SocketAddr) -> bool {
    let sender = from.inside(|| UdpSocket::bind((source, 0)).expect("an own address"));
    sender.send_to(b"let me in", to).expect("a route");
    at.set_read_timeout(Some(PATIENCE)).expect("a time");
    at.recv_from(&mut [0; 64]).is_ok()
}

/// Routes a node's mesh addresses to it by the LAN.
fn route_to(stranger: &Machine, node: &Node, lan: [String; 2]) {
    for (address, via) in [(node.ipv4(NET), &lan[0]), (node.ipv6(NET), &lan[1])] {
        let length = if address.is_ipv4() { 32 } else { 128 };
        stranger.run(&["ip", "route", "add", &format!("{address}/{length}"), "via", via]);
    }
}

#[test]
fn strangers_on_the_lan_reach_no_mesh_address_and_pass_for_no_peer() {
    let mut bed = bed::empty();
    let site = bed.world.dual_site(Nat::PortRestricted);
    bed.add(&site, "a", 2);
    bed.add(&site, "b", 3);
    bed.settle();
    let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
    let stranger = site.machine("stranger", 66);
    route_to(&stranger, a, [site.v4(2), site.v6(2)]);
    for own in [a.ipv4(NET), a.ipv6(NET)] {
        let service = a
            .machine()
            .inside(|| TcpListener::bind((own, 0)).expect("a mesh address"));
        let service = service.local_addr().expect("bound");
        assert!(connects(b.machine(), service), "a peer reaches {service}");
        assert!(!connects(&stranger, service), "a stranger reaches {service}");
    }
    // a service on every address; a peer's address as the source
    let port = 9_999;
    let open = a
        .machine()
        .inside(|| UdpSocket::bind(("0.0.0.0", port)).expect("a port"));
    let ip = |host| site.v4(host).parse::<IpAddr>().expect("an address");
    let on_lan = SocketAddr::new(ip(2), port);
    let own = ip(66);
    assert!(arrives(&stranger, own, &open, on_lan), "the LAN itself works");
    stranger.run(&["ip", "addr", "add", &format!("{}/32", b.ipv4(NET)), "dev", "lo"]);
    assert!(
        !arrives(&stranger, b.ipv4(NET), &open, on_lan),
        "a stranger passes for b"
    );
    assert!(
        arrives(b.machine(), b.ipv4(NET), &open, a.at(NET, port)),
        "b itself is let in"
    );
}

/// A connection to a node's map from this address and port.
fn dial(own: SocketAddr, to: IpAddr) -> std::io::Result<TcpStream> {
    let family = if to.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = socket(family, SocketType::STREAM, None)?;
    bind(&socket, &own)?;
    connect(&socket, &SocketAddr::new(to, MAP_PORT))?;
    Ok(TcpStream::from(socket))
}

/// What comes for `GET /v1/map` to one who asks with this address and port; nothing where it is not let in.
fn map_of(from: &Machine, own: SocketAddr, to: IpAddr) -> Vec<u8> {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = dial(own, to)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.write_all(b"GET /v1/map HTTP/1.1\r\nHost: map\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    from.inside(|| ask().unwrap_or_default())
}

#[test]
fn the_map_is_told_to_nodes_alone() {
    let bed = bed::together(&["a", "b"]);
    let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
    for (map, peer) in [(a.ipv4(NET), b.ipv4(NET)), (a.ipv6(NET), b.ipv6(NET))] {
        let node = map_of(b.machine(), SocketAddr::new(peer, 700), map);
        assert!(
            node.starts_with(b"HTTP/1.1 200") && node.len() > 500,
            "a node asks: {} bytes",
            node.len()
        );
        let user = map_of(b.machine(), SocketAddr::new(peer, 7_000), map);
        assert!(
            user.is_empty(),
            "an unprivileged user on a peer asks: {} bytes",
            user.len()
        );
        let local = map_of(a.machine(), SocketAddr::new(map, 7_000), map);
        assert!(
            local.is_empty(),
            "an unprivileged user on the node itself asks: {} bytes",
            local.len()
        );
    }
}

#[test]
fn who_holds_connections_to_the_map_keeps_nobody_out() {
    let bed = bed::together(&["a", "b", "c"]);
    let (a, b, c) = (&bed.nodes[0], &bed.nodes[1], &bed.nodes[2]);
    let map = a.ipv4(NET);
    let before = a.with_process(Process::open_descriptors);
    let hold = |port| dial(SocketAddr::new(b.ipv4(NET), port), map).expect("the port listens");
    let held: Vec<TcpStream> = b.machine().inside(|| (800..900).map(hold).collect());
    let asked = map_of(c.machine(), SocketAddr::new(c.ipv4(NET), 701), map);
    assert!(asked.starts_with(b"HTTP/1.1 200"), "another node asks");
    let after = a.with_process(Process::open_descriptors);
    assert!(
        after <= before + 10,
        "{before} descriptors, then {after} with {} held",
        held.len()
    );
}
