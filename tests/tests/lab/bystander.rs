//! meshd leaves the machine as it was, and other programs' rules alone.

use meshd_tests::mesh::Node;
use meshd_tests::{Nat, Snapshot, World, advertise, eventually};

use crate::bed::{self, NET, SOON};

/// Rules, chains, routes and sysctls of other programs, a policy-drop FORWARD chain among them.
const FOREIGN: &str = "
nft 'add table inet foreign; add chain inet foreign in { type filter hook input priority 5; }; add rule inet foreign in tcp dport 12345 drop'
iptables -P FORWARD DROP
iptables -N DOCKER-USER; iptables -A FORWARD -j DOCKER-USER; iptables -A DOCKER-USER -j RETURN
ip rule add from 192.0.2.1 lookup 77 priority 1000
ip route add 192.0.2.0/24 dev lo table 77
ip -6 route add 2001:db8:ffff::/48 dev eth0 proto ra metric 1024
echo 1 > /proc/sys/net/ipv4/conf/eth0/proxy_arp
";

#[test]
fn clean_leaves_a_machine_with_foreign_rules_as_it_was() {
    let mut bed = bed::together(&["db1"]);
    let machine = bed.world.dual_site(Nat::PortRestricted).machine("host", 2);
    machine.sh(FOREIGN);
    let hosts = machine.read("/etc/hosts");
    let before = Snapshot::take(&machine);
    let node = Node::start(&machine);
    node.join(&bed.relay.token(NET, &[]));
    node.reaches("db1", SOON);
    for foreign in ["table inet foreign", "tcp dport 12345 drop"] {
        assert!(
            Snapshot::take(&machine).part("nftables").contains(foreign),
            "{foreign} is still there"
        );
    }
    node.ctl(&["clean"]);
    node.stop();
    eventually(SOON, "the interface is gone", || {
        let after = Snapshot::take(&machine);
        (before.part("addresses") == after.part("addresses")).then_some(())
    });
    assert_eq!(before.difference(&Snapshot::take(&machine)), "");
    assert_eq!(machine.read("/etc/hosts"), hosts, "the hosts file is as it was");
    bed.nodes.push(node);
}

#[test]
fn addresses_and_routes_that_a_router_advertises_stay_and_go_on_coming() {
    let mut bed = bed::together(&["db1"]);
    let site = bed.world.site(Nat::PortRestricted);
    let machine = site.machine("host", 2);
    machine.sh("echo 1 > /proc/sys/net/ipv6/conf/eth0/accept_ra");
    let has = |prefix: &str| {
        let addresses = machine.run(&["ip", "-6", "address", "show", "dev", "eth0"]);
        let routes = machine.run(&["ip", "-6", "route", "show", "default", "dev", "eth0"]);
        addresses.contains(prefix) && routes.contains("proto ra")
    };
    let advertised = |prefix: &str| {
        let address = format!("{prefix}::").parse().expect("a prefix");
        eventually(SOON, &format!("the host takes {prefix}"), || {
            advertise(site.router(), "lan", address);
            has(prefix).then_some(())
        });
    };
    advertised("2001:db8:77:1");
    let node = Node::start(&machine);
    node.join(&bed.relay.token(NET, &[]));
    node.reaches("db1", SOON);
    assert!(has("2001:db8:77:1"), "what was advertised before stays");
    advertised("2001:db8:77:2");
    node.ctl(&["clean"]);
    assert!(has("2001:db8:77:1") && has("2001:db8:77:2"), "and after clean");
    bed.nodes.push(node);
}

#[test]
fn down_takes_interface_names_and_rules_away_and_a_start_brings_them_back() {
    let bed = bed::together(&["a", "b"]);
    let a = &bed.nodes[0];
    a.ctl(&["down"]);
    assert!(
        !a.machine().read("/etc/hosts").contains("mesh"),
        "{}",
        a.machine().read("/etc/hosts")
    );
    assert!(!a.pings("b"));
    a.stop();
    a.start_again();
    a.reaches("b", SOON);
}

#[test]
fn routes_and_rules_that_another_program_removes_are_back_within_a_second() {
    let bed = bed::together(&["a", "b"]);
    let a = &bed.nodes[0];
    let before = Snapshot::take(a.machine());
    // as networkd does: what it did not make itself, in every table but the kernel's own
    let interface = a.network(NET).expect("joined")["interface"]
        .as_str()
        .expect("a name")
        .to_owned();
    a.machine().sh(&format!(
        "for t in $(ip -4 rule | grep -o 'lookup [0-9]*$' | cut -d' ' -f2); do ip -4 route flush table $t; done
         ip -4 route flush dev {interface}
         ip -4 rule flush; ip -4 rule add lookup main priority 32766; ip -4 rule add lookup default priority 32767"
    ));
    let (_, took) = meshd_tests::timed(SOON, "b answers again", || a.pings("b").then_some(()));
    meshd_tests::figure(
        "routes restored after another program removed them",
        format!("{} ms", took.as_millis()),
        "1,000 ms",
    );
    eventually(SOON, "routes and rules are as before", || {
        before
            .difference(&Snapshot::take(a.machine()))
            .lines()
            .all(|line| !line.contains("gone:"))
            .then_some(())
    });
}

#[test]
fn clean_forget_leaves_no_file_once_meshd_has_ended() {
    let bed = bed::together(&["a"]);
    let a = &bed.nodes[0];
    let files = || {
        a.machine()
            .sh("find /var/lib/meshd /run/meshd -type f 2>/dev/null || true")
    };
    let said = a.ctl(&["clean", "--forget"]);
    assert!(
        said.contains("still list it") && said.contains("meshd clean --forget"),
        "what is left is said: {said}"
    );
    let left = files();
    let keys_only = |file: &str| file.contains("machine.key") || file.ends_with("lock");
    assert!(left.lines().all(keys_only), "no network is left: {left}");
    a.stop();
    a.machine()
        .run(&[&meshd_tests::mesh::program("meshd"), "clean", "--forget"]);
    assert_eq!(files(), "", "nothing is left");
    a.start_again();
    a.join(&bed.relay.token(NET, &[]));
}

#[test]
fn nothing_is_left_behind_where_nothing_was_joined() {
    let world = World::new();
    let machine = world.site(Nat::Open).machine("host", 2);
    let before = Snapshot::take(&machine);
    let node = Node::start(&machine);
    node.stop();
    assert_eq!(before.difference(&Snapshot::take(&machine)), "");
}
