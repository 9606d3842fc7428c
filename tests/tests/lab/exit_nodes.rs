//! Exit nodes: everything that has no better way goes through one.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use meshd_tests::mesh::Node;
use meshd_tests::{Nat, Snapshot, TcpFlow, UdpFlow, eventually, figure, keeps, poll};

use crate::bed::{Bed, NET, SOON};
use crate::gateways::{Office, STREAM};

/// A host somewhere on the internet, neither relay nor coordinator.
const ELSEWHERE: [&str; 2] = ["192.0.2.80", "2001:db8:80::80"];

/// The address from which that host sees a node, for each IP version; empty where nothing arrives.
fn seen_as(bed: &Bed, node: &Node) -> Vec<String> {
    let see = |to: &&str| {
        let sink = bed
            .world
            .internet()
            .inside(|| UdpSocket::bind((*to, 8000)).expect("its address"));
        let any = if to.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
        let source = node.machine().inside(|| UdpSocket::bind(any).expect("a socket"));
        sink.set_read_timeout(Some(Duration::from_millis(200)))
            .expect("a positive time");
        poll(SOON / 4, || {
            source.send_to(b"who am I", (*to, 8000)).ok()?;
            let (_, from) = sink.recv_from(&mut [0; 64]).ok()?;
            Some(from.ip().to_string())
        })
    };
    ELSEWHERE.iter().map(|to| see(to).unwrap_or_default()).collect()
}

#[test]
fn an_exit_node_carries_everything_but_the_underlay_and_heals_without_the_coordinator() {
    let office = Office::new();
    let (bed, laptop) = (&office.bed, office.node("laptop"));
    let host = bed.world.internet();
    host.sh("ip addr add 192.0.2.80/32 dev lo; ip -6 addr add 2001:db8:80::80/128 dev lo nodad");
    let home = &bed.sites[0];
    assert_eq!(seen_as(bed, laptop), [home.public_v4(), home.v6(2)]);
    let before = Snapshot::take(laptop.machine());
    let refused = laptop.try_ctl(&["exit", "use", "gw1"]);
    assert!(
        meshd_tests::mesh::words(&refused).contains("--exit"),
        "it is no exit node yet"
    );

    office.admin("gateway add gw1 --exit");
    eventually(SOON, "it is used", || {
        laptop
            .try_ctl(&["exit", "use", "gw1"])
            .status
            .success()
            .then_some(())
    });
    let through = [office.site.public_v4(), office.site.v6(2)];
    eventually(SOON, "the internet sees the exit node", || {
        (seen_as(bed, laptop) == through).then_some(())
    });
    for (port, to) in (8100..).zip(ELSEWHERE) {
        let to = SocketAddr::new(to.parse().expect("an address"), port);
        let flow = TcpFlow::start(laptop, host, to, 0);
        eventually(SOON, "the stream arrives", || {
            (flow.received() > STREAM).then_some(())
        });
        let report = flow.stop();
        assert!(report.broken.is_none(), "{to}: {report:?}");
    }
    assert!(laptop.pings(&home.v4(1)), "the LAN stays the LAN");
    assert!(
        !laptop.pings(&office.site.v4(9)),
        "an exit is no way into its own LAN"
    );
    assert_eq!(laptop.network(NET).expect("joined")["coordinator"], "connected");

    bed.relay.kill();
    eventually(SOON, "the coordinator is missed", || {
        (laptop.network(NET)?["coordinator"] != "connected").then_some(())
    });
    assert_eq!(seen_as(bed, laptop), through, "traffic goes on");
    bed.relay.start_again();
    eventually(2 * SOON, "the coordinator is found again", || {
        (laptop.network(NET)?["coordinator"] == "connected").then_some(())
    });
    laptop.stop();
    laptop.start_again();
    eventually(SOON, "a restart keeps the choice", || {
        laptop.pings(ELSEWHERE[0]).then_some(())
    });
    assert_eq!(seen_as(bed, laptop), through);

    laptop.ctl(&["exit", "use", "none"]);
    eventually(SOON, "the machine's routing is as it was", || {
        let after = Snapshot::take(laptop.machine());
        let same = |part| before.part(part) == after.part(part);
        (same("IPv4 routes") && same("IPv6 routes") && same("rules")).then_some(())
    });
    assert_eq!(seen_as(bed, laptop), [home.public_v4(), home.v6(2)]);
}

/// Most time without packets when the exit node dies.
const FAILOVER: Duration = Duration::from_secs(3);

#[test]
fn another_exit_node_takes_over_within_three_seconds_for_both_ip_versions() {
    let mut office = Office::new();
    let second = office.bed.world.dual_site(Nat::PortRestricted);
    office.bed.add(&second, "gw2", 2);
    office.bed.settle();
    let host = office.bed.world.internet().clone();
    host.sh("ip addr add 192.0.2.80/32 dev lo; ip -6 addr add 2001:db8:80::80/128 dev lo nodad");
    for gateway in ["gw1", "gw2"] {
        office.admin(&format!("gateway add {gateway} --exit"));
    }
    let (bed, laptop) = (&office.bed, office.node("laptop"));
    eventually(SOON, "both are used, gw1 first", || {
        let used = laptop.try_ctl(&["exit", "use", "gw1", "gw2"]);
        used.status.success().then_some(())
    });
    let through = |site: &meshd_tests::Site| [site.public_v4(), site.v6(2)];
    eventually(SOON, "the internet sees gw1", || {
        (seen_as(bed, laptop) == through(&office.site)).then_some(())
    });
    let [v4, v6] = ELSEWHERE.map(|to| SocketAddr::new(to.parse().expect("an address"), 9200));
    let flows = [v4, v6].map(|to| UdpFlow::start(laptop, &host, to, 200));
    office.node("gw1").kill();
    eventually(SOON, "the internet sees gw2", || {
        (seen_as(bed, laptop) == through(&second)).then_some(())
    });
    for (flow, version) in flows.into_iter().zip(["IPv4", "IPv6"]) {
        let report = flow.stop();
        figure(
            &format!("exit node failover, {version}: longest gap in 200 numbered packets/s"),
            format!(
                "{} ms, {} lost",
                report.longest_silence.as_millis(),
                report.lost()
            ),
            "3,000 ms",
        );
        assert!(keeps(report.longest_silence, FAILOVER), "{report:?}");
    }
}
