//! Where UDP is blocked the relay is reached over TLS on port 443, and left for UDP when that works again.

use std::time::{Duration, Instant};

use meshd_tests::mesh::Node;
use meshd_tests::{Machine, Nat, UdpFlow, eventually, figure, keeps};
use serde_json::Value;

use crate::bed::{self, Bed, NET, SOON};

/// From the end of the join to the first packet through.
const BAR: Duration = Duration::from_secs(3);

/// Where UDP is blocked.
const BLOCKED: Nat = Nat::UdpBlocked;

fn transport(node: &Node, peer: &str) -> Value {
    let path = node.peer(NET, peer).map(|peer| peer["path"].clone());
    path.map_or(Value::Null, |path| path["transport"].clone())
}

/// Waits until packets to the peer go so. The first ping may be answered before the path of the answer has been chosen.
#[track_caller]
fn goes_by(node: &Node, peer: &str, by: &str) {
    let what = format!("{} -> {peer} goes by {by}", node.name());
    eventually(SOON, &what, || (transport(node, peer) == by).then_some(()));
}

/// A mesh with one node, and how long after its join a second node's first packet to the first is answered.
fn first_packet(what: &str, first: Nat, second: Nat) -> Bed {
    let mut bed = bed::apart(&[("a", first)]);
    eventually(SOON, "the first node is up", || {
        (bed.nodes[0].network(NET)?["coordinator"] == "connected").then_some(())
    });
    let site = bed.world.site(second);
    bed.add(&site, "b", 2);
    bed.sites.push(site);
    let begin = Instant::now();
    bed.nodes[1].reaches("a", SOON);
    let took = begin.elapsed();
    figure(what, format!("{} ms", took.as_millis()), "3,000 ms");
    assert!(keeps(took, BAR), "{what}: {took:?}");
    bed
}

#[test]
fn the_first_packet_is_through_within_3_s_where_udp_is_blocked_for_the_newcomer() {
    let bed = first_packet("first packet, UDP blocked on one side", Nat::Symmetric, BLOCKED);
    goes_by(&bed.nodes[1], "a", "tls");
    let peer = bed.nodes[1].peer(NET, "a").expect("it is known");
    assert_eq!(peer["path"]["endpoint"], "203.0.113.1:443");
    goes_by(&bed.nodes[0], "b", "udp");
    let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
    let there = UdpFlow::start(b, a, a.at(NET, 9000), 200);
    let back = UdpFlow::start(a, b, b.at(NET, 9000), 200);
    std::thread::sleep(Duration::from_secs(3));
    let (there, back) = (there.stop(), back.stop());
    let most = |flow: &meshd_tests::FlowReport| flow.lost() * 10 <= flow.sent;
    assert!(most(&there) && most(&back), "{there:?} {back:?}");
}

#[test]
fn the_first_packet_is_through_within_3_s_where_udp_is_blocked_on_both_sides() {
    let bed = first_packet("first packet, UDP blocked on both sides", BLOCKED, BLOCKED);
    for (node, peer) in [(&bed.nodes[0], "b"), (&bed.nodes[1], "a")] {
        goes_by(node, peer, "tls");
        let warnings = node.network(NET).expect("it is joined")["warnings"].to_string();
        assert!(warnings.contains("over TLS at 203.0.113.1:443"), "{warnings}");
    }
}

/// UDP passes the router from now on, or not any more.
fn let_udp_pass(router: &Machine, pass: bool) {
    let rule = if pass {
        "insert rule inet firewall through iifname \"lan\" udp dport 1-65535 accept"
    } else {
        "flush chain inet firewall through; \
         add rule inet firewall through ct state established,related meta l4proto tcp accept; \
         add rule inet firewall through iifname \"lan\" tcp dport 443 accept"
    };
    router.sh(&format!("nft '{rule}'"));
}

#[test]
fn when_udp_works_again_the_path_goes_back_to_udp_and_traffic_never_stops() {
    let bed = first_packet(
        "first packet, UDP blocked on both sides, once more",
        BLOCKED,
        BLOCKED,
    );
    let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
    let flow = UdpFlow::start(a, b, b.at(NET, 9000), 1000).arriving();
    for site in &bed.sites {
        let_udp_pass(site.router(), true);
    }
    let begin = Instant::now();
    eventually(Duration::from_secs(60), "both use UDP again", || {
        (transport(a, "b") == "udp" && transport(b, "a") == "udp").then_some(())
    });
    figure(
        "UDP works again: back on UDP",
        format!("{} s", begin.elapsed().as_secs()),
        "30 s",
    );
    let flow = flow.stop();
    assert!(flow.longest_silence < Duration::from_secs(1), "{flow:?}");
    // and once more: UDP is blocked under traffic
    let flow = UdpFlow::start(a, b, b.at(NET, 9000), 1000).arriving();
    for site in &bed.sites {
        let_udp_pass(site.router(), false);
    }
    eventually(SOON, "both use TLS again", || {
        (transport(a, "b") == "tls" && transport(b, "a") == "tls").then_some(())
    });
    a.reaches("b", SOON);
    let flow = flow.stop();
    figure(
        "UDP blocked under traffic",
        format!("{} ms of silence", flow.longest_silence.as_millis()),
        "3,000 ms",
    );
    assert!(keeps(flow.longest_silence, BAR), "{flow:?}");
}

/// Who only receives, and only now and then, has nothing that could be missed.
#[test]
fn a_node_that_only_receives_notices_within_3_s_that_udp_is_blocked() {
    let bed = bed::apart(&[("a", Nat::Symmetric), ("b", Nat::UdpBlocked)]);
    let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
    let_udp_pass(bed.sites[1].router(), true);
    eventually(Duration::from_secs(60), "b uses UDP", || {
        (transport(b, "a") == "udp").then_some(())
    });
    let flow = UdpFlow::start(a, b, b.at(NET, 9000), 1).arriving();
    std::thread::sleep(Duration::from_secs(3));
    let_udp_pass(bed.sites[1].router(), false);
    std::thread::sleep(Duration::from_secs(8));
    let flow = flow.stop();
    figure(
        "UDP blocked for who only receives a packet a second",
        format!("{} ms of silence", flow.longest_silence.as_millis()),
        "4,000 ms",
    );
    // three seconds, and one to the next packet
    assert!(
        keeps(flow.longest_silence, BAR + Duration::from_secs(1)),
        "{flow:?}"
    );
    assert_eq!(transport(b, "a"), "tls");
}
