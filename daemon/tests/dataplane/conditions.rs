//! Under conditions that are not the usual ones: small paths, slow links, IPv6 below, a device that goes.

use std::net::SocketAddr;
use std::thread;

use meshd::dataplane::{ControlEvent, Sockets};
use meshd_core::packet::DropReason;
use meshd_core::path::{Endpoint, Path};
use meshd_net::tun::Tun;
use meshd_net::udp::{UdpConfig, UdpSocket};

use crate::support::{Node, OpenTun, bind, introduced, pair, strangers_with, stream};

#[test]
fn a_peer_with_a_smaller_path_gets_smaller_packets_and_senders_are_told() {
    let Some((one, two)) = pair(2) else { return };
    for (from, to) in [(&one, &two), (&two, &one)] {
        let path = Path {
            primary: Some(Endpoint::direct(to.underlay)),
            duplicate: None,
            max_packet: Some(1280),
        };
        from.plane.follow(to.id, path);
    }
    for (address, header) in [(two.v4, 28), (two.v6, 48)] {
        assert_eq!(one.ping(address, 1, "1"), 1);
        let ping = |size: u16| {
            one.namespace
                .output(&format!("ping -n -c 1 -W 5 -M do -s {} {address}", size - header))
        };
        let (success, text) = ping(1280);
        assert!(success, "{text}");
        let (success, text) = ping(1281);
        assert!(!success && text.contains("1280"), "told the size: {text}");
        stream(&one, &two, address, 4 << 20);
        stream(
            &two,
            &one,
            if address.is_ipv4() { one.v4 } else { one.v6 },
            4 << 20,
        );
    }
    assert_eq!(
        one.plane.drops().get(DropReason::TooBig),
        2,
        "TCP was never too big"
    );
}

#[test]
fn a_slow_link_holds_up_the_sender_and_loses_nothing_of_ours() {
    let Some((one, two)) = pair(1) else { return };
    if !one
        .namespace
        .output("tc qdisc add dev wan root tbf rate 60mbit burst 64k limit 4m")
        .0
    {
        return eprintln!("skipped: no tc or no tbf here");
    }
    let config = UdpConfig {
        send_buffer: 100_000,
        ..UdpConfig::new(([0, 0, 0, 0], 4444).into())
    };
    let narrow = one.namespace.inside(|| UdpSocket::bind(&config).unwrap());
    one.plane.replace_sockets(Sockets {
        v4: Some(narrow),
        v6: None,
    });
    let moved = SocketAddr::new(one.underlay.ip(), 4444);
    two.plane.set_path(one.id, Some(Endpoint::direct(moved)), None);
    thread::scope(|scope| {
        let pings = scope.spawn(|| two.ping(one.v4, 20, "0.05"));
        stream(&one, &two, two.v4, 16 << 20);
        assert_eq!(pings.join().unwrap(), 20, "the other direction goes on");
    });
    assert_eq!(one.plane.drops().get(DropReason::SendFailed), 0);
}

fn over_ipv6(node: &Node, number: u8) -> SocketAddr {
    node.namespace
        .sh(&format!("ip addr add fd00:1::{number}/64 dev wan nodad"));
    let socket = bind(&node.namespace, "[::]:51820".parse().unwrap());
    node.plane.replace_sockets(Sockets {
        v4: None,
        v6: Some(socket),
    });
    format!("[fd00:1::{number}]:51820").parse().unwrap()
}

#[test]
fn ipv6_carries_as_ipv4_does() {
    let Some((one, two)) = pair(2) else { return };
    let (at_one, at_two) = (over_ipv6(&one, 1), over_ipv6(&two, 2));
    one.plane.set_path(two.id, Some(Endpoint::direct(at_two)), None);
    two.plane.set_path(one.id, Some(Endpoint::direct(at_one)), None);
    assert_eq!(one.ping(two.v4, 1, "1"), 1);
    stream(&one, &two, two.v6, 8 << 20);
    assert_eq!(one.stats().last_rx_from, Some(Endpoint::direct(at_two)));
}

#[test]
fn a_deleted_device_is_told_once() {
    let Some((mut one, _two)) = pair(2) else { return };
    one.namespace.sh("ip link del mesh0");
    one.hears(|event| *event == ControlEvent::TunGone);
    assert!(one.events.try_recv().is_err());
    one.plane.shutdown();
}

#[test]
fn without_a_virtio_net_header_everything_arrives_all_the_same() {
    let (plain, whole): (OpenTun, OpenTun) = (Tun::open_plain, Tun::open);
    for open in [[plain, plain], [plain, whole]] {
        let Some(strangers) = strangers_with(2, open) else {
            return;
        };
        let (one, two) = introduced(strangers);
        stream(&one, &two, two.v4, 4 << 20);
        stream(&two, &one, one.v6, 4 << 20);
        for node in [&one, &two] {
            assert_eq!(node.plane.drops().get(DropReason::TunWriteFailed), 0);
        }
    }
}
