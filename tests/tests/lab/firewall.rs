//! Beside another firewall that drops what it does not know.

use std::time::Duration;

use meshd_tests::mesh::Node;
use meshd_tests::{Machine, Nat, Snapshot, eventually, figure, timed};

use crate::bed::{self, Bed, NET, SOON};

/// As a person writes it: own connections and their answers, nothing else.
const WALL: &str = "
nft -f - <<'END'
table inet wall {
  chain in { type filter hook input priority 0; policy drop;
    ct state established,related accept
    iifname lo accept
    icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept
  }
  chain through { type filter hook forward priority 0; policy drop; }
}
END
iptables -P FORWARD DROP; iptables -P INPUT DROP
iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -A INPUT -i lo -j ACCEPT
";

/// What kube-proxy has on every node of a cluster: packets with its bit in their mark leave from a random port.
const PROXY: &str = "
nft -f - <<'END'
table ip proxy {
  counter rewritten { }
  chain post {
    type nat hook postrouting priority srcnat;
    meta mark & 0x4000 != 0 counter name rewritten masquerade fully-random
  }
}
END
";

/// What of the rules is not meshd's.
fn foreign(machine: &Machine) -> String {
    let rules = Snapshot::take(machine).part("nftables").to_owned();
    let mut own_table = false;
    let mut kept = String::new();
    for line in rules.lines() {
        own_table |= line.starts_with("table inet meshd-");
        if !own_table && !line.contains("comment \"meshd-") {
            kept += line;
            kept.push('\n');
        }
        own_table &= line != "}";
    }
    kept
}

fn rules(machine: &Machine) -> String {
    machine.sh("nft -s list ruleset")
}

/// A node `peer` and, on another site, a walled machine with meshd that has these flags.
fn walled(flags: &[&str]) -> (Bed, String) {
    let mut bed = bed::apart(&[("peer", Nat::PortRestricted)]);
    let site = bed.world.dual_site(Nat::PortRestricted);
    let machine = site.machine("walled", 2);
    machine.sh(WALL);
    let before = foreign(&machine);
    let node = Node::start_with(&machine, flags, &[]);
    node.join(&bed.relay.token(NET, &[]));
    bed.nodes.push(node);
    bed.sites.push(site);
    (bed, before)
}

#[test]
fn a_mesh_works_behind_a_dropping_firewall_and_heals_what_is_flushed() {
    let (bed, before) = walled(&[]);
    let (peer, walled) = (&bed.nodes[0], &bed.nodes[1]);
    let machine = walled.machine();
    peer.reaches("walled", SOON);
    walled.reaches("peer", SOON);
    assert_eq!(
        foreign(machine),
        before,
        "but for the accepts, nothing is different"
    );
    let made = rules(machine);
    assert_eq!(made.matches("accept comment \"meshd-0\"").count(), 2, "{made}");
    for (what, script) in [
        ("nft flush ruleset", "nft flush ruleset".to_owned()),
        ("a firewall that reloads", format!("nft flush ruleset{WALL}")),
        ("a flushed table", "nft flush table inet meshd-0".to_owned()),
        ("a flushed chain", "iptables -F INPUT; iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; iptables -A INPUT -i lo -j ACCEPT".to_owned()),
    ] {
        machine.sh(&script);
        let wanted = if what == "nft flush ruleset" { 0 } else { 2 };
        let (_, took) = timed(SOON, &format!("{what}: healed"), || {
            let now = rules(machine);
            let accepts = now.matches("accept comment \"meshd-0\"").count();
            (now.contains("ip daddr != ") && accepts == wanted).then_some(())
        });
        figure(&format!("firewall rules restored after {what}"), format!("{} ms", took.as_millis()), "1,000 ms");
    }
    assert_eq!(foreign(machine), before);
    peer.reaches("walled", SOON);
    walled.ctl(&["clean"]);
    assert_eq!(rules(machine).matches("meshd").count(), 0, "{}", rules(machine));
    assert_eq!(foreign(machine), before);
}

#[test]
fn with_own_table_the_other_firewall_stays_alone_and_status_says_what_fails() {
    let (bed, before) = walled(&["--firewall", "own-table"]);
    let (peer, walled) = (&bed.nodes[0], &bed.nodes[1]);
    walled.reaches("peer", SOON);
    assert!(!peer.pings("walled"), "the other firewall drops it");
    assert_eq!(foreign(walled.machine()), before);
    let status = walled.status().expect("answers");
    let warnings = status["warnings"].to_string();
    for part in ["inet wall in", "ip filter INPUT", "own-table", "iifname"] {
        assert!(warnings.contains(part), "{part}: {warnings}");
    }
    // the person does what it says
    walled
        .machine()
        .sh("nft insert rule inet wall in iifname meshd0 accept; iptables -I INPUT -i meshd0 -j ACCEPT");
    peer.reaches("walled", SOON);
    let _ = eventually(Duration::from_secs(5), "still answers", || walled.status());
}

#[test]
fn beside_kube_proxy_what_carries_the_tunnel_leaves_from_its_own_port() {
    let bed = bed::apart(&[("peer", Nat::PortRestricted)]);
    let site = bed.world.site(Nat::PortRestricted);
    let machine = site.machine("member", 2);
    machine.sh(PROXY);
    let rewritten = || machine.sh("nft list counter ip proxy rewritten");
    let node = Node::start(&machine);
    node.join(&bed.relay.token(NET, &[]));
    node.reaches("peer", SOON);
    assert!(rewritten().contains("packets 0 "), "{}", rewritten());
    // a watch that sees nothing proves nothing: this is what it is to see
    machine.succeeds(&["ping", "-m", "16384", "-c1", "-W2", "203.0.113.1"]);
    assert!(rewritten().contains("packets 1 "), "{}", rewritten());
}
