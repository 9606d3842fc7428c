//! A TLS proxy in between reads nothing and stops nothing: it is named, and traffic goes on over what is left.

use std::thread;
use std::time::Duration;

use meshd_tests::mesh::{Node, Relay};
use meshd_tests::{Machine, Nat, UdpFlow, eventually, figure, keeps};

use crate::bed::{self, Bed, NET, SOON};
use crate::relays::Outpost;

/// Where the proxy stands in for the cloud host's relay and coordinator.
const PROXIED: &str = "203.0.113.1:443";
/// Until a node has looked for its coordinator again, and said what it found.
const SAID: Duration = Duration::from_secs(90);
const A_WHILE: Duration = Duration::from_secs(3);
/// The longest time without packets where a relay is lost, by its death or by UDP that is blocked.
const BAR: Duration = Duration::from_secs(3);

/// Who terminates TLS with another key is, for once, another meshrelay: on a site's router, for TCP to port 443 of the hosts that
/// `to` matches. What began before is cut.
fn proxy_on(router: &Machine, to: &str) -> Relay {
    let proxy = Relay::start_with(router, &["--public-addr", "192.0.2.1"]);
    router.sh(&format!(
        "nft 'add table ip proxy; add chain ip proxy pre {{ type nat hook prerouting priority dstnat; }}; \
         add rule ip proxy pre iifname \"lan\" {to} tcp dport 443 redirect; \
         add chain ip proxy through {{ type filter hook forward priority -10; }}; \
         add rule ip proxy through iifname \"lan\" {to} tcp dport 443 reject with tcp reset'"
    ));
    proxy
}

/// What a router lets through no more.
fn cut(router: &Machine, what: &str) {
    router.sh(&format!(
        "nft 'add rule ip proxy through oifname \"wan\" {what} drop; add rule ip proxy through iifname \"wan\" {what} drop'"
    ));
}

/// Waits until both pages name the proxy; netcheck says of the relay as well what was found where it is asked over TLS.
fn is_named(node: &Node, over_tls: bool) {
    let words = |page: &str| page.split_whitespace().collect::<Vec<_>>().join(" ");
    for page in ["status", "netcheck"] {
        eventually(SAID, &format!("{page} names the proxy"), || {
            let said = words(&node.ctl(&[page]));
            (said.contains("TLS proxy") && said.contains(PROXIED)).then_some(())
        });
    }
    let line =
        format!("something between this node and the relay answers in its place at {PROXIED} (TLS proxy?)");
    // while it is asked again the page says that
    let said = || words(&node.ctl(&["netcheck"])).contains(&line).then_some(());
    if over_tls {
        eventually(SOON, "netcheck says what answers in the relay's place", said);
    }
}

/// Two nodes that only a relay connects.
fn relayed() -> Bed {
    let bed = bed::apart(&[("a", Nat::Symmetric), ("b", Nat::Symmetric)]);
    bed.wait_for_paths("relay");
    bed
}

fn endpoint(node: &Node, peer: &str) -> String {
    let peer = node.peer(NET, peer).expect("it is known");
    peer["path"]["endpoint"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn behind_a_tls_proxy_that_lets_nothing_else_out_the_lan_is_left() {
    let mut bed = bed::together(&["a", "b"]);
    bed.wait_for_paths("direct");
    let router = bed.sites[0].router().clone();
    let _proxy = proxy_on(&router, "");
    cut(&router, "meta l4proto { tcp, udp }");
    let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
    is_named(a, true);
    assert!(a.pings("b") && b.pings("a"), "the LAN is left");
    assert_eq!(a.path_kind(NET, "b"), "direct");
    bed.nodes.clear();
}

#[test]
fn behind_a_tls_proxy_relayed_traffic_goes_on_over_udp() {
    let bed = relayed();
    let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
    let there = UdpFlow::start(a, b, b.at(NET, 9000), 200).arriving();
    let back = UdpFlow::start(b, a, a.at(NET, 9000), 200).arriving();
    thread::sleep(A_WHILE);
    let _proxy = proxy_on(bed.sites[0].router(), "");
    is_named(a, false);
    thread::sleep(A_WHILE);
    let (there, back) = (there.stop(), back.stop());
    let silence = there.longest_silence.max(back.longest_silence);
    figure(
        "relayed traffic while a TLS proxy steps in between, UDP left",
        format!("{} ms of silence", silence.as_millis()),
        "1,000 ms",
    );
    assert!(keeps(silence, Duration::from_secs(1)), "{there:?} {back:?}");
    assert!(there.lost() * 100 <= there.sent, "{there:?}");
    assert!(back.lost() * 100 <= back.sent, "{back:?}");
}

/// Two nodes and two relays; these sites' routers let nothing through but TLS to the second relay, and proxied TLS to the first. Gives
/// the longest silence.
fn without_udp(proxied: &[usize]) -> Duration {
    let mut bed = relayed();
    let _east = Outpost::start(&mut bed, "east");
    let east = bed.sites[2].v4(2);
    let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
    for node in [a, b] {
        eventually(SOON, "it knows both relays", || {
            let network = node.network(NET)?;
            let relays = network["relays"].as_array()?;
            (relays.len() == 2 && relays.iter().all(|relay| !relay["endpoint"].is_null())).then_some(())
        });
    }
    let there = UdpFlow::start(a, b, b.at(NET, 9000), 200).arriving();
    let back = UdpFlow::start(b, a, a.at(NET, 9000), 200).arriving();
    thread::sleep(A_WHILE);
    let proxies: Vec<Relay> = proxied
        .iter()
        .map(|site| {
            let router = bed.sites[*site].router();
            let proxy = proxy_on(router, "ip daddr 203.0.113.1");
            cut(router, "meta l4proto udp");
            proxy
        })
        .collect();
    eventually(SOON, "traffic goes by the other relay, over TLS", || {
        (endpoint(a, "b") == format!("{east}:443")).then_some(())
    });
    a.reaches("b", SOON);
    thread::sleep(A_WHILE);
    let (there, back) = (there.stop(), back.stop());
    println!("{there:?} {back:?}");
    is_named(a, true);
    drop(proxies);
    there.longest_silence.max(back.longest_silence)
}

#[test]
fn behind_tls_proxies_and_without_udp_relayed_traffic_goes_on_over_tls_to_a_relay_that_they_let_through() {
    let silence = without_udp(&[0, 1]);
    figure(
        "UDP blocked and TLS proxies under relayed traffic, until TLS to another relay carries it",
        format!("{} ms of silence", silence.as_millis()),
        "3,000 ms",
    );
    assert!(keeps(silence, BAR), "{silence:?}");
}

/// The other one still reaches the relay that both had, and nobody can tell it that this is of no use any more.
#[test]
fn behind_a_tls_proxy_and_without_udp_traffic_comes_back_from_who_has_neither() {
    let silence = without_udp(&[0]);
    figure(
        "the same on one side, with the coordinator out of reach",
        format!("{} ms of silence", silence.as_millis()),
        "4,000 ms",
    );
    assert!(keeps(silence, BAR + Duration::from_secs(1)), "{silence:?}");
}
