//! Multicast beacons between two namespaces.

mod support;

use std::net::IpAddr;
use std::time::Duration;

use meshd_net::netlink::Netlink;
use meshd_net::udp::{BEACON_GROUP_V4, BEACON_GROUP_V6, Beacon, BeaconSocket, Joined};
use support::Namespace;

const PORT: u16 = 7440;

/// The next two beacons.
async fn two(socket: &BeaconSocket) -> Vec<Beacon> {
    let mut beacons = Vec::new();
    while beacons.len() < 2 {
        let received = tokio::time::timeout(Duration::from_secs(20), socket.recv()).await;
        beacons.extend(received.expect("a beacon comes").unwrap());
    }
    beacons
}

#[test]
fn a_beacon_reaches_the_link_it_is_for_and_says_by_which_it_came() {
    let (Some(a), Some(b)) = (Namespace::new(), Namespace::new()) else {
        return;
    };
    a.connect(
        &b,
        "v0",
        &["10.5.0.1/24", "fd05::1/64"],
        &["10.5.0.2/24", "fd05::2/64"],
    );
    a.connect(
        &b,
        "v1",
        &["10.6.0.1/24", "fd06::1/64"],
        &["10.6.0.2/24", "fd06::2/64"],
    );
    for group in [IpAddr::V4(BEACON_GROUP_V4), IpAddr::V6(BEACON_GROUP_V6)] {
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let b = &b;
            scope.spawn(move || {
                b.block_on(|| async {
                    let netlink = Netlink::new().unwrap();
                    let socket = BeaconSocket::bind(group, PORT).unwrap();
                    // A second program on the same machine may listen too.
                    let _second = BeaconSocket::bind(group, PORT).unwrap();
                    for name in ["v0", "v1"] {
                        let index = netlink.link(name).await.unwrap().unwrap().index;
                        assert_eq!(socket.join(index).unwrap(), Joined::Now);
                        assert_eq!(socket.join(index).unwrap(), Joined::Already);
                    }
                    ready.send(()).unwrap();
                    let beacons = two(&socket).await;
                    for (name, beacon) in ["v0", "v1"].into_iter().zip(beacons) {
                        assert_eq!(beacon.bytes, name.as_bytes());
                        assert_eq!(beacon.interface, netlink.link(name).await.unwrap().unwrap().index);
                        assert_eq!(beacon.source.port(), PORT);
                        socket.leave(beacon.interface).unwrap();
                        socket.leave(beacon.interface).unwrap();
                    }
                    assert!(socket.join(4711).is_err());
                    socket.leave(4711).unwrap();
                });
            });
            is_ready.recv().unwrap();
            a.block_on(|| async {
                let netlink = Netlink::new().unwrap();
                let socket = BeaconSocket::bind(group, PORT).unwrap();
                assert_eq!(socket.port(), PORT);
                for name in ["v0", "v1"] {
                    let index = netlink.link(name).await.unwrap().unwrap().index;
                    socket.send(index, name.as_bytes()).unwrap();
                }
                if group.is_ipv6() {
                    // Unicast to the port is no beacon.
                    let unicast = std::net::UdpSocket::bind(("fd05::1", 0)).unwrap();
                    unicast.send_to(b"unicast", ("fd05::2", PORT)).unwrap();
                }
                assert!(socket.send(4711, b"nowhere").is_err());
            });
        });
    }
}
