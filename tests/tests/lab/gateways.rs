//! Egress gateways: a LAN behind a node is reached by the network, as docs/gateways.md says.

use std::net::SocketAddr;

use meshd_tests::mesh::Node;
use meshd_tests::{Machine, Nat, Site, Snapshot, TcpFlow, eventually};

use crate::bed::{self, Bed, NET, SOON};

/// Bytes of a TCP stream.
const STREAM: u64 = 1 << 20;

/// A node `laptop` behind a NAT, and an office behind another: a node `gw1` and a printer, which knows nothing of meshes.
struct Office {
    bed: Bed,
    site: Site,
    printer: Machine,
}

impl Office {
    fn new() -> Self {
        let mut bed = bed::empty();
        let home = bed.world.dual_site(Nat::PortRestricted);
        bed.add(&home, "laptop", 2);
        let site = bed.world.dual_site(Nat::PortRestricted);
        bed.add(&site, "gw1", 2);
        let printer = site.machine("printer", 9);
        bed.sites.push(home);
        bed.settle();
        Self { bed, site, printer }
    }

    fn node(&self, name: &str) -> &Node {
        let found = self.bed.nodes.iter().find(|node| node.name() == name);
        found.expect("a node of the bed")
    }

    fn v4(&self) -> String {
        self.site.v4(0) + "/24"
    }

    fn v6(&self) -> String {
        self.site.v6(0).trim_end_matches('0').to_owned() + "/64"
    }

    fn admin(&self, words: &str) -> String {
        self.bed.relay.ctl(&words.split_whitespace().collect::<Vec<_>>())
    }

    fn printer_answers(&self, from: &Node) {
        let (v4, v6) = (self.site.v4(9), self.site.v6(9));
        eventually(SOON, "the printer answers by IPv4", || {
            from.pings(&v4).then_some(())
        });
        eventually(SOON, "the printer answers by IPv6", || {
            from.pings6(&v6).then_some(())
        });
    }

    fn streams_to_the_printer(&self, from: &Node) {
        for (port, host) in [(9100, self.site.v4(9)), (9101, self.site.v6(9))] {
            let to = SocketAddr::new(host.parse().expect("an address"), port);
            let flow = TcpFlow::start(from, &self.printer, to, 0);
            eventually(SOON, "the stream arrives", || {
                (flow.received() > STREAM).then_some(())
            });
            let report = flow.stop();
            assert!(report.broken.is_none(), "{to}: {report:?}");
        }
    }
}

#[test]
fn a_lan_behind_a_node_is_reached_with_nat_and_without_by_both_ip_versions() {
    let office = Office::new();
    let laptop = office.node("laptop");
    let (v4, v6) = (office.v4(), office.v6());
    let before = Snapshot::take(office.node("gw1").machine());
    office.admin(&format!("gateway add gw1 --range {v4} --range {v6}"));
    office.printer_answers(laptop);
    office.streams_to_the_printer(laptop);
    let list = office.admin("gateway list --json");
    assert!(list.contains(&v4) && list.contains("gw1"), "{list}");
    let ranges = laptop.network(NET).expect("joined")["ranges"].to_string();
    assert!(ranges.contains("gw1"), "{ranges}");

    // without NAT the printer sees the laptop, and needs a route
    office.admin(&format!("gateway add gw1 --range {v4} --range {v6} --no-nat"));
    let (gw_v4, gw_v6) = (office.site.v4(2), office.site.v6(2));
    office.printer.sh(&format!(
        "ip route add {} via {gw_v4}; ip -6 route add {} via {gw_v6}",
        laptop.ipv4(NET),
        laptop.ipv6(NET)
    ));
    office.printer_answers(laptop);
    office.streams_to_the_printer(laptop);
    let mesh = laptop.ipv4(NET).to_string();
    eventually(SOON, "the printer reaches the laptop", || {
        office
            .printer
            .succeeds(&["ping", "-c1", "-W1", &mesh])
            .then_some(())
    });

    for range in [&v4, &v6] {
        office.admin(&format!("gateway remove gw1 --range {range}"));
    }
    let printer = office.site.v4(9);
    eventually(SOON, "the printer is out of reach", || {
        (!laptop.pings(&printer)).then_some(())
    });
    eventually(SOON, "the gateway's machine is as it was", || {
        before
            .difference(&Snapshot::take(office.node("gw1").machine()))
            .is_empty()
            .then_some(())
    });
}

#[test]
fn only_a_ranges_gateway_may_send_from_it_and_clean_leaves_nothing_of_it() {
    let mut bed = bed::apart(&[("laptop", Nat::PortRestricted), ("other", Nat::PortRestricted)]);
    let site = bed.world.dual_site(Nat::PortRestricted);
    let machine = site.machine("gw1", 2);
    let before = Snapshot::take(&machine);
    let gw1 = Node::start(&machine);
    gw1.join(&bed.relay.token(NET, &[]));
    bed.nodes.push(gw1);
    bed.settle();
    let [laptop, other, gw1] = &bed.nodes[..] else {
        unreachable!("three nodes")
    };
    let range = site.v4(0) + "/24";
    bed.relay
        .ctl(&["gateway", "add", "gw1", "--range", &range, "--no-nat"]);
    let (own, stolen) = (site.v4(2), site.v4(77));
    eventually(SOON, "the gateway's own LAN address answers", || {
        laptop.pings(&own).then_some(())
    });
    let mesh = laptop.ipv4(NET).to_string();
    let ping_from = |from: &Node, source: &str| {
        from.machine()
            .succeeds(&["ping", "-n", "-c2", "-W1", "-I", source, &mesh])
    };
    assert!(ping_from(gw1, &own), "the gateway may send from its range");
    let refused = || {
        let drops = &laptop.network(NET).expect("joined")["drops"];
        drops["source_not_allowed"].as_u64().unwrap_or(0)
    };
    let earlier = refused();
    other.machine().sh(&format!("ip addr add {stolen}/32 dev lo"));
    assert!(!ping_from(other, &stolen), "another node may not");
    assert!(refused() > earlier, "and its packets are counted");

    gw1.ctl(&["clean"]);
    gw1.stop();
    eventually(SOON, "the interface is gone", || {
        let after = Snapshot::take(&machine);
        (before.part("addresses") == after.part("addresses")).then_some(())
    });
    assert_eq!(before.difference(&Snapshot::take(&machine)), "");
    assert!(!laptop.pings(&own));
}
