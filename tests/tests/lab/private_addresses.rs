//! Private addresses of a peer mean a machine only where the peer is: elsewhere no packet goes to them, for they would reach
//! strangers, or make a hoster complain.

use std::time::Duration;

use meshd_tests::{Machine, Nat, figure, poll};

use crate::bed::{self, NET, SOON};

/// How long the nodes talk: every way of making a direct path has its turn.
const WATCHED: Duration = Duration::from_secs(20);
/// Private, shared and unique local addresses (RFC 1918, RFC 6598, RFC 4193).
const PRIVATE: [(&str, &str); 2] = [
    (
        "ip",
        "{ 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 }",
    ),
    ("ip6", "fc00::/7"),
];

/// Counts, on a router, what leaves for such addresses, whoever sent it.
fn watch(router: &Machine) {
    router.sh(
        "nft 'add table inet watch; add chain inet watch out { type filter hook postrouting priority 400; }'",
    );
    for (family, prefixes) in PRIVATE {
        router.sh(&format!(
            "nft 'add rule inet watch out oifname wan {family} daddr {prefixes} counter'"
        ));
    }
}

/// Packets that left so, one number for each rule.
fn counted(router: &Machine) -> Vec<u64> {
    let rules = router.sh("nft list chain inet watch out");
    let packets = rules.split("counter packets ").skip(1);
    packets
        .filter_map(|rest| rest.split_whitespace().next()?.parse().ok())
        .collect()
}

#[test]
fn no_packet_goes_out_to_private_addresses_of_a_peer_that_is_elsewhere() {
    let mut bed = bed::empty();
    for (number, (name, nat)) in [
        ("a", Nat::PortRestricted),
        ("b", Nat::Symmetric),
        ("c", Nat::PlainLinux),
    ]
    .into_iter()
    .enumerate()
    {
        let site = bed.world.dual_site(nat);
        watch(site.router());
        let machine = site.machine(name, 2);
        // what is behind it a default route leads to the uplink
        machine.sh(&format!(
            "ip addr add 10.9.{number}.2/24 dev eth0; ip addr add 172.20.{number}.2/24 dev eth0; \
             ip addr add fd00:{}::2/64 dev eth0 nodad",
            number + 1
        ));
        let node = meshd_tests::mesh::Node::start(&machine);
        node.join(&bed.relay.token(NET, &[]));
        bed.nodes.push(node);
        bed.sites.push(site);
    }
    bed.settle();
    // a watch that sees nothing proves nothing: this is what it is to see
    bed.nodes[0]
        .machine()
        .succeeds(&["ping", "-c1", "-W1", "10.9.1.2"]);
    bed.nodes[0]
        .machine()
        .succeeds(&["ping", "-c1", "-W1", "fd00:2::2"]);
    assert_eq!(counted(bed.sites[0].router()), [1, 1], "the watch sees");
    for number in 0..3 {
        let shown = bed.relay.json(&["node", "show", ["a", "b", "c"][number]]);
        let told = shown["candidates"].to_string();
        for private in [format!("10.9.{number}.2:"), format!("[fd00:{}::2]:", number + 1)] {
            assert!(told.contains(&private), "peers are told of {private}: {told}");
        }
    }
    // all talk to all; in the middle the network changes, and everything is tried anew
    let mut turned = false;
    let _ = poll(WATCHED, || {
        for node in &bed.nodes {
            for peer in bed.nodes.iter().filter(|peer| peer.name() != node.name()) {
                node.pings(peer.name());
            }
        }
        if !std::mem::replace(&mut turned, true) {
            bed.sites[1].readdress(bed.nodes[1].machine(), 77);
        }
        None::<()>
    });
    bed.nodes[0].reaches("b", SOON);
    let counts: Vec<Vec<u64>> = bed.sites.iter().map(|site| counted(site.router())).collect();
    let others = counts.iter().flatten().sum::<u64>() - 2;
    figure(
        "packets to private addresses of peers elsewhere, three nodes, 20 s",
        others,
        0,
    );
    assert_eq!(counts, [[1, 1], [0, 0], [0, 0]], "of each site, IPv4 and IPv6");
}
