//! What is too large for a path: TCP does not stand still, nothing vanishes without a word.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use meshd_tests::mesh::{Node, Relay};
use meshd_tests::{Nat, TcpFlow, World, eventually, figure, keeps};

use crate::bed::{self, Bed, CIDR, NET, SOON};

/// The longest time in which a transfer may stand still.
const STALL: Duration = Duration::from_secs(2);
const A_WHILE: Duration = Duration::from_secs(2);

fn mtu(node: &Node, peer: &str) -> Option<u64> {
    node.peer(NET, peer)?["path"]["mtu"].as_u64()
}

/// Waits until each node knows what the path to the other carries, which is one of `sizes`.
fn wait_for_mtu(nodes: &[Node], sizes: std::ops::RangeInclusive<u64>) -> u64 {
    let measured = |node: &Node, peer: &Node| {
        eventually(SOON, "the path's MTU is measured", || {
            // only what is in use is measured
            node.reaches(peer.name(), SOON);
            mtu(node, peer.name()).filter(|mtu| sizes.contains(mtu))
        })
    };
    measured(&nodes[1], &nodes[0]).min(measured(&nodes[0], &nodes[1]))
}

/// TCP both ways over IPv4 and IPv6 at once, through uplinks of 1,400 bytes.
fn transfers(nat: Nat, kind: &str, silent: bool) {
    let bed = bed::apart(&[("a", nat), ("b", nat)]);
    for site in &bed.sites {
        site.narrow_uplink(bed.world.internet(), 1400, silent);
    }
    bed.wait_for_paths(kind);
    let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
    let flows: Vec<TcpFlow> = [
        (a, b, b.at(NET, 9001)),
        (b, a, a.at(NET, 9002)),
        (a, b, SocketAddr::new(b.ipv6(NET), 9003)),
        (b, a, SocketAddr::new(a.ipv6(NET), 9004)),
    ]
    .into_iter()
    .map(|(from, to, address)| TcpFlow::start(from, to, address, 0))
    .collect();
    thread::sleep(A_WHILE * 2);
    let reports: Vec<_> = flows.into_iter().map(TcpFlow::stop).collect();
    let longest = reports.iter().map(|report| report.longest_stall).max();
    let longest = longest.unwrap_or_default();
    let icmp = if silent { "without ICMP" } else { "with ICMP" };
    figure(
        &format!("TCP through a WAN MTU of 1400 {icmp}, {kind}, longest stall of four transfers"),
        format!("{} ms", longest.as_millis()),
        "2,000 ms",
    );
    for report in &reports {
        assert_eq!(report.broken, None, "{report:?}");
        assert!(report.bytes > 500_000, "{reports:?}");
    }
    assert!(keeps(longest, STALL), "{reports:?}");
    let found = wait_for_mtu(&bed.nodes, 1384..=1400);
    figure(&format!("MTU found, {kind}"), found, "1384 to 1400");
}

#[test]
fn tcp_through_a_narrow_uplink_that_says_so_does_not_stall() {
    transfers(Nat::PortRestricted, "direct", false);
}

#[test]
fn tcp_through_a_narrow_uplink_that_says_nothing_does_not_stall() {
    transfers(Nat::PortRestricted, "direct", true);
}

#[test]
fn tcp_through_a_relay_and_a_narrow_uplink_that_says_nothing_does_not_stall() {
    transfers(Nat::Symmetric, "relay", true);
}

#[test]
fn a_path_that_becomes_narrow_under_tcp_and_says_nothing_is_a_short_stall() {
    let bed = stalls_shortly(
        "path MTU from 1500 to 1300 under TCP, without ICMP, longest stall",
        |bed| {
            for site in &bed.sites {
                site.narrow_uplink(bed.world.internet(), 1300, true);
            }
        },
    );
    let a = &bed.nodes[0];
    assert_eq!(
        a.path_kind(NET, "b"),
        "direct",
        "small packets get through as ever"
    );
}

/// What is no TCP: a sender that forbids fragments is told the size, the packets of one that does not are fragmented.
#[test]
fn datagrams_too_large_for_a_narrow_path_are_answered_or_fragmented() {
    let bed = bed::apart(&[("a", Nat::PortRestricted), ("b", Nat::PortRestricted)]);
    for site in &bed.sites {
        site.narrow_uplink(bed.world.internet(), 1400, true);
    }
    bed.wait_for_paths("direct");
    let found = wait_for_mtu(&bed.nodes, 1384..=1400);
    let largest = (found - 28 - 32) / 16 * 16;
    let a = bed.nodes[0].machine();
    let (v4, v6) = (bed.nodes[1].ipv4(NET), bed.nodes[1].ipv6(NET));
    let ping = |size: u64, rest: &[&str]| {
        let size = size.to_string();
        let output = a.output(&[&["ping", "-n", "-c", "1", "-W", "5", "-s", &size], rest].concat());
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    };
    for (to, header) in [(v4.to_string(), 28), (v6.to_string(), 48)] {
        let (arrived, text) = ping(largest - header, &["-M", "do", &to]);
        assert!(arrived, "{text}");
        let (arrived, text) = ping(largest - header + 1, &["-M", "do", &to]);
        assert!(!arrived && text.contains(&largest.to_string()), "{text}");
        let own = if header == 28 {
            bed.nodes[0].ipv4(NET).to_string()
        } else {
            bed.nodes[0].ipv6(NET).to_string()
        };
        assert!(
            text.contains(&format!("From {own}")),
            "a router answers by its own name: {text}"
        );
    }
    let (arrived, text) = ping(3_000, &["-M", "dont", &v4.to_string()]);
    assert!(arrived, "fragments of the interface's size are cut again: {text}");
}

/// Every IPv6 link has to carry 1,280 bytes (RFC 8200 section 5).
#[test]
fn ipv6_datagrams_of_1280_bytes_pass_a_path_that_has_no_room_for_them() {
    let bed = bed::apart(&[("a", Nat::PortRestricted), ("b", Nat::PortRestricted)]);
    for site in &bed.sites {
        site.narrow_uplink(bed.world.internet(), 1300, true);
    }
    bed.wait_for_paths("direct");
    wait_for_mtu(&bed.nodes, 1284..=1300);
    for (from, to) in [(0, 1), (1, 0)] {
        let to = bed.nodes[to].ipv6(NET).to_string();
        for size in ["1192", "1232"] {
            let ping = ["ping", "-n", "-c", "1", "-W", "5", "-s", size, &to];
            let output = bed.nodes[from].machine().output(&ping);
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stdout)
            );
        }
    }
}

/// Two nodes whose direct path becomes narrow under TCP: the stream stalls for a short time at most.
#[track_caller]
fn stalls_shortly(what: &str, narrow: impl FnOnce(&Bed)) -> Bed {
    let bed = bed::apart(&[("a", Nat::PortRestricted), ("b", Nat::PortRestricted)]);
    bed.wait_for_paths("direct");
    wait_for_mtu(&bed.nodes, 1468..=1468);
    let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
    let stream = TcpFlow::start(a, b, b.at(NET, 9001), 200_000);
    thread::sleep(A_WHILE);
    narrow(&bed);
    thread::sleep(A_WHILE * 2);
    let report = stream.stop();
    figure(
        what,
        format!("{} ms", report.longest_stall.as_millis()),
        "2,000 ms",
    );
    assert_eq!(report.broken, None, "{report:?}");
    assert!(keeps(report.longest_stall, STALL), "{report:?}");
    bed
}

/// The kernel refuses what is larger than the link of its own machine takes (EMSGSIZE), and no router drops anything.
#[test]
fn a_link_of_the_machine_that_becomes_narrow_under_tcp_is_a_short_stall() {
    let bed = stalls_shortly(
        "MTU of the machine's own link from 1500 to 1300 under TCP, longest stall",
        |bed| {
            let narrow = ["ip", "link", "set", "dev", "eth0", "mtu", "1300"];
            drop(bed.nodes[0].machine().run(&narrow));
        },
    );
    let a = &bed.nodes[0];
    assert!(mtu(a, "b").is_some_and(|mtu| mtu <= 1300));
    let drops = a
        .network(NET)
        .map(|network| network["drops"].clone())
        .unwrap_or_default();
    assert!(
        drops["too_big"].as_u64() > Some(0),
        "the kernel refused some: {drops}"
    );
}

#[test]
fn a_network_of_jumbo_packets_uses_them_where_the_path_takes_them() {
    let world = World::new();
    let cloud = world.cloud();
    let relay = Relay::start(&cloud);
    relay.ctl(&["network", "create", NET, "--cidr", CIDR, "--mtu", "8912"]);
    let site = world.site(Nat::PortRestricted);
    let mut bed = bed::with_relay(world, cloud, relay);
    for (name, number) in [("a", 2), ("b", 3)] {
        bed.add(&site, name, number);
    }
    site.router().sh(
        "for port in $(ip -o link show master lan | cut -d: -f2 | cut -d@ -f1); do ip link set dev $port mtu 9000; done; \
         ip link set dev lan mtu 9000",
    );
    for node in &bed.nodes {
        node.machine()
            .run(&["ip", "link", "set", "dev", "eth0", "mtu", "9000"]);
    }
    bed.sites.push(site);
    bed.settle();
    bed.wait_for_paths("direct");
    let found = wait_for_mtu(&bed.nodes, 8972..=8972);
    figure("MTU found on a LAN of 9000, network of 8912", found, 8972);
    let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
    let stream = TcpFlow::start(a, b, b.at(NET, 9001), 0);
    thread::sleep(A_WHILE);
    let report = stream.stop();
    assert_eq!(report.broken, None, "{report:?}");
    assert!(keeps(report.longest_stall, STALL), "{report:?}");
    let to = b.ipv4(NET).to_string();
    a.machine()
        .run(&["ping", "-n", "-c", "1", "-W", "5", "-M", "do", "-s", "8884", &to]);
}
