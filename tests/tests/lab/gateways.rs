//! Egress gateways: a LAN behind a node is reached by the network, as docs/gateways.md says.

mod names;

use std::net::SocketAddr;

use meshd_tests::mesh::Node;
use meshd_tests::{Machine, Nat, Site, Snapshot, TcpFlow, eventually};

use crate::bed::{self, Bed, NET, SOON};

/// Bytes of a TCP stream.
pub const STREAM: u64 = 1 << 20;

/// A node `laptop` behind a NAT, and an office behind another: a node `gw1` and a printer, which knows nothing of meshes.
pub struct Office {
    pub bed: Bed,
    pub site: Site,
    pub printer: Machine,
}

impl Office {
    pub fn new() -> Self {
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

    pub fn node(&self, name: &str) -> &Node {
        let found = self.bed.nodes.iter().find(|node| node.name() == name);
        found.expect("a node of the bed")
    }

    pub fn v4(&self) -> String {
        self.site.v4(0) + "/24"
    }

    pub fn v6(&self) -> String {
        self.site.v6(0).trim_end_matches('0').to_owned() + "/64"
    }

    pub fn admin(&self, words: &str) -> String {
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

/// The gateway that a node uses for a range, as its status says.
pub fn gateway_of(node: &Node, range: &str) -> Option<String> {
    let ranges = node.network(NET)?["ranges"].clone();
    let of_range = ranges.as_array()?.iter().find(|r| r["prefix"] == *range)?.clone();
    Some(of_range["gateway"].as_str()?.to_owned())
}
#[test]
fn a_nodes_own_lan_wins_before_and_after_and_the_node_is_told() {
    let office = Office::new();
    let laptop = office.node("laptop");
    let cafe = || {
        let (v4, v6) = (office.site.v4(50), office.site.v6(50));
        laptop.machine().sh(&format!(
            "ip link add name cafe type bridge; ip addr add {v4}/24 dev cafe; ip addr add {v6}/64 dev cafe nodad; ip link set cafe up"
        ));
    };
    cafe();
    office.admin(&format!(
        "gateway add gw1 --range {} --range {}",
        office.v4(),
        office.v6()
    ));
    let (printer, printer6) = (office.site.v4(9), office.site.v6(9));
    let route = || [&printer, &printer6].map(|to| laptop.machine().run(&["ip", "route", "get", to]));
    let by_cafe = || route().iter().all(|route| route.contains("dev cafe"));
    eventually(SOON, "the node is told", || {
        let status = laptop.status()?.to_string();
        (status.contains("own LAN (cafe)") && status.contains("gw1")).then_some(())
    });
    assert!(by_cafe(), "{:?}", route());
    laptop.machine().sh("ip link del cafe");
    eventually(SOON, "without it the gateway is used", || {
        (laptop.pings(&printer) && laptop.pings6(&printer6)).then_some(())
    });
    cafe();
    eventually(SOON, "a LAN that appears later wins too", || {
        by_cafe().then_some(())
    });
}

#[test]
fn a_range_may_be_for_named_nodes_and_tags_only() {
    let mut office = Office::new();
    let site = office.bed.world.site(Nat::PortRestricted);
    for (number, name, tags) in [(2, "tagged", &["--tags", "office"][..]), (3, "stranger", &[])] {
        let node = Node::start(&site.machine(name, number));
        node.join(&office.bed.relay.token(NET, tags));
        office.bed.nodes.push(node);
    }
    office.bed.sites.push(site);
    let (range, range6) = (office.v4(), office.v6());
    let (printer, printer6) = (office.site.v4(9), office.site.v6(9));
    office.admin(&format!(
        "gateway add gw1 --range {range} --range {range6} --to laptop,tag:office"
    ));
    for user in ["laptop", "tagged"] {
        eventually(SOON, "who may use it does", || {
            let user = office.node(user);
            (user.pings(&printer) && user.pings6(&printer6)).then_some(())
        });
    }
    let stranger = office.node("stranger");
    stranger.reaches("gw1", SOON);
    assert!(!stranger.pings(&printer) && !stranger.pings6(&printer6));
    for range in [&range, &range6] {
        assert_eq!(gateway_of(stranger, range), None, "it has no route");
    }
    let rules = office.node("gw1").machine().run(&["nft", "list", "ruleset"]);
    let tagged = office.node("tagged");
    for (allowed, refused) in [
        (tagged.ipv4(NET), stranger.ipv4(NET)),
        (tagged.ipv6(NET), stranger.ipv6(NET)),
    ] {
        assert!(rules.contains(&allowed.to_string()), "{rules}");
        assert!(
            !rules.contains(&refused.to_string()),
            "nor would the gateway let it through: {rules}"
        );
    }
}

#[test]
fn ranges_that_would_break_something_are_refused_each_with_its_reason() {
    let bed = bed::together(&["gw1", "gw2"]);
    let add = |words: &str| {
        let words = format!("gateway add {words}");
        let output = bed.relay.try_ctl(&words.split_whitespace().collect::<Vec<_>>());
        (output.status.success(), meshd_tests::mesh::words(&output))
    };
    let (taken, said) = add("gw1 --range 192.168.50.0/24");
    assert!(taken, "{said}");
    for (words, reason) in [
        ("gw1 --range 10.77.9.0/24", "the network's own range"),
        ("gw1 --range 10.0.0.0/8", "the network's own range"),
        ("gw2 --range 192.168.0.0/16", "without being the same"),
        ("gw2 --range 192.168.50.128/25", "without being the same"),
        (
            "gw2 --range 192.168.60.0/24 --as 192.168.50.0/24",
            "choose another",
        ),
        ("gw1 --range 0.0.0.0/0", "is everything"),
        ("gw1 --range ::/0", "is everything"),
        ("gw1 --range 224.0.0.0/8", "multicast"),
        ("gw1 --range 127.0.0.0/8", "loopback"),
        ("gw1 --range fe80::/64", "link-local"),
        ("nobody --range 192.168.70.0/24", "no node"),
        ("gw1 --range 192.168.70.0/24 --to nobody", "no node"),
        (
            "gw1 --range 192.168.70.0/24 --name a=192.168.71.9",
            "none of the ranges",
        ),
        (
            "gw1 --range 192.168.70.0/24 --name gw2=192.168.70.9",
            "name of a node",
        ),
        (
            "gw1 --range 192.168.70.0/24 --name localhost=192.168.70.9",
            "cannot be a host's name",
        ),
    ] {
        let (taken, said) = add(words);
        assert!(!taken && said.contains(reason), "{words}: {said}");
    }
    let (taken, said) = add("gw2 --range 192.168.50.0/24 --priority 20");
    assert!(taken, "the same range as a whole is fine: {said}");
}

/// Puts a LAN of 192.168.50.0/24 behind a machine, with one host.
const SAME_LAN: &str = "
ip link add lan9 type veth peer name host9
unshare -n sleep 1000 >/dev/null 2>&1 </dev/null & p=$!; echo $p > /run/host9
until [ \"$(readlink /proc/$p/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ]; do sleep 0.02; done
ip link set host9 netns $p
ip addr add 192.168.50.1/24 dev lan9; ip -6 addr add fd50::1/64 dev lan9 nodad; ip link set lan9 up
nsenter -t $p -n sh -c '
  ip addr add 192.168.50.9/24 dev host9; ip -6 addr add fd50::9/64 dev host9 nodad; ip link set host9 up; ip link set lo up
  ip route add default via 192.168.50.1; ip -6 route add default via fd50::1'
";

#[test]
fn two_sites_with_one_range_are_both_reached_under_prefixes_of_their_own() {
    let bed = bed::apart(&[
        ("laptop", Nat::PortRestricted),
        ("gw-a", Nat::PortRestricted),
        ("gw-b", Nat::PortRestricted),
    ]);
    let [laptop, a, b] = &bed.nodes[..] else {
        unreachable!("three nodes")
    };
    a.machine().sh(SAME_LAN);
    b.machine().sh(SAME_LAN);
    let admin = |words: &str| bed.relay.ctl(&words.split_whitespace().collect::<Vec<_>>());
    admin("gateway add gw-a --range 192.168.50.0/24 --as 10.200.1.0/24 --name printer=192.168.50.9");
    admin("gateway add gw-b --range 192.168.50.0/24 --as 10.200.2.0/24 --no-nat --name scanner=192.168.50.9");
    admin("gateway add gw-a --range fd50::/64 --as fd51::/64 --name printer=fd50::9");
    admin("gateway add gw-b --range fd50::/64 --as fd52::/64 --no-nat");
    let seen = |gateway: &Node| {
        let count = gateway.machine().sh("awk '/lan9:/ { print $11 }' /proc/net/dev");
        count.trim().parse::<u64>().expect("a number")
    };
    for (gateway, other, v4, v6) in [(a, b, "10.200.1.9", "fd51::9"), (b, a, "10.200.2.9", "fd52::9")] {
        eventually(SOON, "the host answers by IPv4", || {
            laptop.pings(v4).then_some(())
        });
        eventually(SOON, "the host answers by IPv6", || {
            laptop.pings6(v6).then_some(())
        });
        let (before, untouched) = (seen(gateway), seen(other));
        assert!(
            laptop
                .machine()
                .succeeds(&["ping", "-n", "-q", "-c40", "-i0.02", v4])
        );
        assert!(
            seen(gateway) >= before + 40,
            "the packets came to {}",
            gateway.name()
        );
        assert!(seen(other) < untouched + 20, "and not to {}", other.name());
    }
    // the host behind gw-b has no NAT in front of it: what it begins comes from the published prefix
    let host = b.machine().read("/run/host9");
    let mesh = laptop.ipv4(NET).to_string();
    let sender = b.machine().run(&[
        "nsenter",
        "-t",
        host.trim(),
        "-n",
        "ping",
        "-n",
        "-c1",
        "-W2",
        &mesh,
    ]);
    assert!(sender.contains("1 received"), "{sender}");
    names::follow(laptop, a);
    // and the range itself is no way around
    let table = |node: &Node| {
        node.machine()
            .sh("ip route show table all | grep 192.168.50 || true")
    };
    assert!(!table(laptop).contains("192.168.50"), "{}", table(laptop));
    admin("gateway remove gw-a --range 192.168.50.0/24");
    names::go_with_the_range(laptop);
}
