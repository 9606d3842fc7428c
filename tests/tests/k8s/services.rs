//! Services as others use them: storage behind one, from nodes and from pods; machines outside the cluster, while a gateway leaves.
//! And what no runtime gives back.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use meshd_tests::k8s::{NET, ProxyMode, Worker, guide};
use meshd_tests::mesh::Node;
use meshd_tests::pods;
use meshd_tests::storage::{self, Protocol};
use meshd_tests::{Copies, Nat, eventually, figure, keeps, poll, skip};

use crate::bed::{self, Bed, LONG};

/// What is copied in the ordinary run, and in the long one.
const SIZES: [u64; 2] = [64 << 20, 1 << 30];
/// What the nodes' uplinks carry in the long one; their routers do not say so.
const NARROW: u32 = 1400;
/// Time for one connection while a gateway leaves.
const TRY: Duration = Duration::from_millis(250);
/// Most time without a gateway when one says goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// An interface that is away for a minute is away for good.
const TAKEN_BACK: Duration = Duration::from_secs(120);

#[test]
fn services_hold_storage_outlive_a_gateway_that_leaves_and_forgotten_leases_come_back() {
    let Some(parts) = bed::parts("services as others use them") else {
        return;
    };
    let bed = bed::start(&parts, ProxyMode::Nftables);
    let forgotten = forget_a_pod(bed.cluster.node("w1"));
    stores(&bed, SIZES[0]);
    a_gateway_leaves(&bed);
    is_taken_back(bed.cluster.node("w1"), forgotten);
}

#[test]
#[ignore = "1 GB: ./test --long"]
fn a_gigabyte_goes_to_storage_behind_a_service_over_a_narrow_path_that_says_nothing() {
    let Some(parts) = bed::parts("a gigabyte of storage") else {
        return;
    };
    let bed = bed::start(&parts, ProxyMode::Iptables);
    for site in &bed.cluster.sites {
        site.narrow_uplink(bed.cluster.world.internet(), NARROW, true);
    }
    stores(&bed, SIZES[1]);
}

/// A server in a pod on cp, a service before it by kube-proxy, and w1 with its pod, which write to the service's address and
/// read back.
fn stores(bed: &Bed, bytes: u64) {
    if let missing @ [_, ..] = &storage::missing()[..] {
        return skip(
            "storage behind a service of a cluster",
            &format!("not installed: {}", missing.join(", ")),
        );
    }
    let [client, server] = [&bed.pods[1], &bed.pods[0]];
    let [a, b] = [client, server].map(|pod| bed.cluster.node(&pod.node).mesh().machine());
    bed.cluster
        .kubectl(&["label", "pod", &server.name, "stores=things"]);
    bed.cluster
        .apply(include_str!("../../k8s/manifests/storage.yaml"));
    for machine in [a, b] {
        storage::make_folder(machine, 2 * (bytes >> 20) + 16);
    }
    let (inside, stored) = (client.namespace(a), server.namespace(b));
    let copies = Copies {
        client: a,
        pod: &inside,
        server: b,
        service: address(bed, "storage"),
    };
    for (protocol, port) in [(Protocol::Nfs, 2049), (Protocol::Iscsi, 3260)] {
        copies.prepare(protocol, bytes);
        let _servers = protocol.serve(b, &stored, server.address());
        let at = SocketAddr::new(copies.service, port);
        bed.cluster
            .wait(LONG, &format!("kube-proxy leads {at} there"), || {
                let dial = || TcpStream::connect_timeout(&at, Duration::from_secs(1)).ok();
                inside.inside(dial).and(a.inside(dial)).map(drop)
            });
        let what = format!("{} MiB by {protocol:?} through a cluster's service", bytes >> 20);
        copies.run(protocol, &what);
    }
}

fn address(bed: &Bed, service: &str) -> IpAddr {
    let object = bed.cluster.get(&["service", service]);
    let object = object.expect("the service is there");
    let address = object["spec"]["clusterIP"].as_str();
    address.and_then(|ip| ip.parse().ok()).expect("an address")
}

/// A machine outside the cluster reaches a service through w1; `meshctl down` there tells it, and it goes on through cp.
fn a_gateway_leaves(bed: &Bed) {
    let home = bed.cluster.world.site(Nat::PortRestricted);
    let laptop = Node::start(&home.machine("laptop", 2));
    laptop.join(&bed.cluster.relay.token(NET, &[]));
    for step in [guide::FIRST_GATEWAY, guide::SECOND_GATEWAY] {
        bed.cluster.relay.ctl(&guide::words(step));
    }
    let at = SocketAddr::new(address(bed, "web"), 80);
    let machine = laptop.machine();
    let answers = || machine.inside(|| TcpStream::connect_timeout(&at, TRY).is_ok());
    let through = |gateway: &str| {
        let ranges = laptop.network(NET)?["ranges"].clone();
        let used = ranges.as_array()?.iter().any(|range| range["gateway"] == gateway);
        (used && answers()).then_some(())
    };
    bed.cluster
        .wait(LONG, "the laptop reaches the service through w1", || {
            through("w1")
        });
    let gateway = bed.cluster.node("w1").mesh();
    let leaving = gateway
        .machine()
        .spawn(&[&meshd_tests::mesh::program("meshctl"), "down"], &[]);
    let (mut last, mut took) = (Instant::now(), Duration::ZERO);
    let over = poll(LONG, || {
        let down = leaving.wait(Duration::ZERO).is_some();
        if answers() {
            (took, last) = (took.max(last.elapsed()), Instant::now());
            return down.then_some(());
        }
        None
    });
    assert!(over.is_some(), "the service answers when w1 is away");
    bed.cluster
        .wait(LONG, "the laptop reaches the service through cp", || {
            through("cp")
        });
    figure(
        "a service's gateway says goodbye: the longest time between two connections to the service",
        format!("{} ms", took.as_millis()),
        "1,000 ms",
    );
    assert!(keeps(took, GOODBYE), "{took:?}");
    gateway.ctl(&["up"]);
    bed.cluster
        .wait(LONG, "w1's pods are reached again", || answers().then_some(()));
}

/// A pod whose namespace goes without DEL; gives how many leases there are with it.
fn forget_a_pod(node: &Worker) -> u64 {
    let (pod, _) = pods::Pod::added(node.mesh(), "forgotten");
    pod.delete();
    leases(node).expect("it has pods")
}

fn leases(node: &Worker) -> Option<u64> {
    node.mesh().network(NET)?["pods"]["leases"].as_u64()
}

/// Its lease is taken back by meshd itself, and only that one.
fn is_taken_back(node: &Worker, before: u64) {
    eventually(TAKEN_BACK, "the forgotten lease is taken back", || {
        (leases(node)? < before).then_some(())
    });
    assert_eq!(leases(node), Some(before - 1), "those of pods that run stay");
}
