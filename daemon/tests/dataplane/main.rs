//! The data plane alone, over real TUN devices in network namespaces. Where those are not to be had, these tests say so
//! and pass.

mod conditions;
mod flood;
mod relayed;
mod support;

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use meshd::dataplane::{ControlEvent, Sockets};
use meshd_core::packet::DropReason;
use meshd_core::path::Endpoint;
use support::{Namespace, bind, pair, strangers, stream, udp};

/// Bytes of a stream in a quick test; MESHD_STREAM_MB makes it longer.
fn stream_bytes() -> u64 {
    let megabytes = std::env::var("MESHD_STREAM_MB")
        .ok()
        .and_then(|text| text.parse().ok());
    megabytes.unwrap_or(32u64) << 20
}

#[test]
fn the_first_packet_starts_a_handshake_and_is_not_lost() {
    let Some((mut one, mut two)) = pair(2) else { return };
    assert_eq!(one.ping(two.v4, 1, "1"), 1);
    assert_eq!(one.ping(two.v6, 1, "1"), 1);
    for (node, other) in [(&mut one, two.id), (&mut two, one_id())] {
        node.hears(|event| matches!(event, ControlEvent::Handshake { node, .. } if *node == other));
        let stats = node.stats();
        assert_eq!((stats.tx_packets, stats.rx_packets), (2, 2));
        assert!(stats.last_handshake.is_some() && stats.handshake_pending_since.is_none());
    }
    assert_eq!(one.stats().last_rx_from, Some(Endpoint::direct(two.underlay)));
    let (sent, received) = (one.stats().tx_bytes, two.stats().rx_bytes);
    assert_eq!(sent, received, "everything that was sent was authentic");
}

fn one_id() -> meshd_core::id::NodeId {
    meshd_core::id::NodeId::from_bytes([1; 16])
}

#[test]
fn a_stream_arrives_byte_for_byte_both_ways_and_over_both_ip_versions() {
    for threads in [1, 2] {
        let Some((one, two)) = pair(threads) else { return };
        let bytes = stream_bytes();
        thread::scope(|scope| {
            scope.spawn(|| stream(&one, &two, two.v4, bytes));
            scope.spawn(|| stream(&two, &one, one.v6, bytes));
        });
        for node in [&one, &two] {
            let lost = node.plane.drops();
            assert_eq!(
                lost.get(DropReason::Authentication) + lost.get(DropReason::Replay),
                0
            );
        }
    }
}

#[test]
fn datagrams_of_all_sizes_arrive_once_and_in_order() {
    let Some((one, two)) = pair(2) else { return };
    for (from, to) in [(one.v4, two.v4), (one.v6, two.v6)] {
        let (sender, receiver) = (udp(&one, from), udp(&two, to));
        let target = receiver.local_addr().unwrap();
        // up to three fragments inside the tunnel
        for length in (0..200).chain((1300..1400).step_by(7)).chain([2000, 4000]) {
            let sent: Vec<u8> = (0..length).map(|at| (at ^ length) as u8).collect();
            sender.send_to(&sent, target).unwrap();
            let mut got = vec![0; 5000];
            let count = receiver.recv(&mut got).unwrap();
            assert_eq!(&got[..count], &sent[..]);
        }
        receiver.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert!(receiver.recv(&mut [0; 100]).is_err(), "nothing twice");
    }
}

#[test]
fn a_removed_peer_gets_no_packet_through_and_comes_back_when_added() {
    let Some((one, two)) = pair(2) else { return };
    let (sender, receiver) = (udp(&one, one.v4), udp(&two, two.v4));
    let target = receiver.local_addr().unwrap();
    sender.send_to(b"first", target).unwrap();
    receiver.recv(&mut [0; 10]).unwrap();
    thread::scope(|scope| {
        let flood = scope.spawn(|| (0..20_000).for_each(|_| drop(sender.send_to(b"flood", target))));
        two.plane.set_peers(Vec::new());
        // what was written before the call returned
        receiver.set_nonblocking(true).unwrap();
        while receiver.recv(&mut [0; 10]).is_ok() {}
        flood.join().unwrap();
        assert!(receiver.recv(&mut [0; 10]).is_err());
    });
    assert!(two.plane.drops().get(DropReason::NoSession) > 0);
    two.plane.set_peers(vec![one.as_peer()]);
    one.plane.initiate(two.id);
    // until the handshake is through, packets go by the session that the other side no longer has
    assert!(one.ping(two.v4, 10, "0.2") > 0);
}

#[test]
fn only_allowed_sources_pass() {
    let Some((one, two)) = pair(2) else { return };
    assert_eq!(one.ping(two.v4, 1, "1"), 1);
    one.namespace.sh("ip addr add 10.77.0.99/32 dev mesh0");
    let sender = udp(&one, IpAddr::from([10, 77, 0, 99]));
    let receiver = udp(&two, two.v4);
    sender
        .send_to(b"spoofed", receiver.local_addr().unwrap())
        .unwrap();
    udp(&one, one.v4)
        .send_to(b"own", receiver.local_addr().unwrap())
        .unwrap();
    let mut got = [0; 100];
    let count = receiver.recv(&mut got).unwrap();
    assert_eq!(&got[..count], b"own");
    assert_eq!(two.plane.drops().get(DropReason::SourceNotAllowed), 1);
}

#[test]
fn without_a_path_the_control_side_hears_of_it_and_the_packet_waits() {
    let Some((mut one, two)) = strangers(2) else {
        return;
    };
    one.plane.set_peers(vec![two.as_peer()]);
    two.plane.set_peers(vec![one.as_peer()]);
    let receiver = udp(&two, two.v4);
    udp(&one, one.v4)
        .send_to(b"early", receiver.local_addr().unwrap())
        .unwrap();
    one.hears(|event| matches!(event, ControlEvent::Demand { node } if *node == two.id));
    one.plane
        .set_path(two.id, Some(Endpoint::direct(two.underlay)), None);
    let mut got = [0; 100];
    assert_eq!(receiver.recv(&mut got).unwrap(), 5);
}

#[test]
fn new_sockets_are_used_and_the_peer_is_told_to_have_roamed() {
    let Some((one, mut two)) = pair(2) else { return };
    assert_eq!(one.ping(two.v4, 1, "1"), 1);
    let moved = bind(&one.namespace, ([192, 0, 2, 1], 4444).into());
    let (old, new) = (one.underlay, moved.local_addr());
    one.plane.replace_sockets(Sockets {
        v4: Some(moved),
        v6: None,
    });
    // a mesh peer's path does not follow by itself: the answer goes to the old port, which nobody has any more
    let sender = udp(&one, one.v4);
    sender
        .send_to(b"moved", udp(&two, two.v4).local_addr().unwrap())
        .unwrap();
    two.hears(|event| matches!(event, ControlEvent::RoamedTo { from, .. } if *from == Endpoint::direct(old)));
    two.hears(|event| matches!(event, ControlEvent::RoamedTo { from, .. } if *from == Endpoint::direct(new)));
    two.plane.set_path(one.id, Some(Endpoint::direct(new)), None);
    assert_eq!(one.ping(two.v4, 1, "1"), 1);
}

#[test]
fn a_roaming_peer_is_followed() {
    let Some((one, two)) = pair(1) else { return };
    two.plane.set_peers(vec![meshd::dataplane::PeerConfig {
        roaming: true,
        ..one.as_peer()
    }]);
    assert_eq!(one.ping(two.v4, 1, "1"), 1);
    let moved = bind(&one.namespace, ([192, 0, 2, 1], 4444).into());
    one.plane.replace_sockets(Sockets {
        v4: Some(moved),
        v6: None,
    });
    assert_eq!(one.ping(two.v4, 3, "0.2"), 3);
}

#[test]
fn duplicates_on_a_second_way_do_no_harm() {
    let Some((one, two)) = pair(2) else { return };
    one.namespace.sh("ip addr add 192.0.2.11/24 dev wan");
    two.namespace.sh("ip addr add 192.0.2.12/24 dev wan");
    let second = Endpoint::direct(([192, 0, 2, 12], 51820).into());
    one.plane
        .set_path(two.id, Some(Endpoint::direct(two.underlay)), Some(second));
    assert_eq!(one.ping(two.v4, 20, "0.01"), 20);
    stream(&one, &two, two.v4, 8 << 20);
    assert!(
        two.plane.drops().get(DropReason::Replay) >= 20,
        "the copies came too"
    );
}

#[test]
fn shutting_down_gives_the_device_back_and_the_next_plane_goes_on_with_it() {
    let Some((one, two)) = pair(2) else { return };
    assert_eq!(one.ping(two.v4, 1, "1"), 1);
    let support::Node {
        plane,
        namespace,
        secret,
        underlay,
        ..
    } = one;
    let tun = plane.shutdown().expect("the device comes back");
    assert_eq!(tun.name(), "mesh0");
    let (control, _events) = tokio::sync::mpsc::channel(16);
    let plane = meshd::dataplane::DataPlane::start(meshd::dataplane::DataPlaneConfig {
        tun,
        addresses: Vec::new(),
        sockets: Sockets {
            v4: Some(bind(&namespace, underlay)),
            v6: None,
        },
        private_key: secret,
        mtu: support::MTU,
        control,
        threads: 1,
    })
    .unwrap();
    plane.set_peers(vec![two.as_peer()]);
    plane.set_path(two.id, Some(Endpoint::direct(two.underlay)), None);
    namespace.sh(&format!("ping -n -c 1 -W 5 {}", two.v4));
}

#[test]
fn a_namespace_is_gone_when_the_test_is() {
    let Some(namespace) = Namespace::new() else { return };
    assert!(namespace.sh("ip -o link show lo").contains("UP"));
}
