//! What wants optimised programs and a computer that does nothing else: `./test --long` runs these with a release build (stage
//! `speed`), each alone.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use meshd_tests::idlers::Idlers;
use meshd_tests::mesh::Node;
use meshd_tests::meter::Meter;
use meshd_tests::{Nat, eventually, figure};

use crate::bed::{self, NET, SOON};
use crate::relays::Outpost;
use crate::trouble::upgrade_under;

/// Idle peers of the node that is measured.
const PEERS: u32 = 1_000;
/// Time for them all to join.
const JOINING: Duration = Duration::from_secs(300);
/// After the join: what a node does at its start is over.
const SETTLING: Duration = Duration::from_secs(90);
/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(180);

#[test]
#[ignore = "long: 20,000 packets/s want programs that are optimised and a computer that is not busy"]
fn the_upgrade_from_a_slower_relay_loses_no_packet_of_twenty_thousand_a_second() {
    for _ in 0..20 {
        upgrade_under(20_000);
    }
}

#[test]
#[ignore = "long: minutes of idleness with a thousand peers"]
fn a_thousand_idle_peers_cost_a_node_next_to_nothing_with_one_relay() {
    idle_with(1, 15.0);
}

#[test]
#[ignore = "long: minutes of idleness with a thousand peers"]
fn a_thousand_idle_peers_cost_a_node_next_to_nothing_with_eight_relays() {
    idle_with(8, 35.0);
}

/// A node behind a NAT with so many relays and [`PEERS`] peers that nobody talks to. `most` is the bar of datagrams that it
/// sends in a minute.
fn idle_with(relays: usize, most: f64) {
    let mut bed = bed::empty();
    let _outposts: Vec<Outpost> = (1..relays)
        .map(|number| Outpost::start(&mut bed, &format!("relay{number}")))
        .collect();
    let token = bed.relay.token(NET, &["--uses", "2000"]);
    let others = bed.world.site(Nat::Open).machine("others", 2);
    let coordinator = SocketAddr::from(([203, 0, 113, 1], 443));
    let mut idlers = Idlers::start(&others, &token, coordinator, PEERS);
    eventually(JOINING, "a thousand members are bound", || {
        (idlers.bound() == PEERS as usize).then_some(())
    });
    let site = bed.world.site(Nat::PortRestricted);
    let node = Node::start(&site.machine("edge", 2));
    node.join(&token);
    eventually(SOON, "the node knows all of them", || {
        let network = node.network(NET)?;
        (network["peers"].as_array()?.len() == PEERS as usize).then_some(())
    });
    thread::sleep(SETTLING);
    let meter = Meter::start(node.machine(), node.pid());
    let relay = bed
        .relay
        .with_process(|process| Meter::start(&bed.cloud, process.pid()));
    thread::sleep(WATCHED);
    let (measured, of_relay) = (meter.read(), relay.read());
    let rss = node.with_process(|process| process.rss_kib());
    let named = |what: &str| format!("a node with {PEERS} idle peers and {relays} relays: {what}");
    let pair = |sent: f64, received: f64| format!("{sent:.1} sent, {received:.1} received");
    figure(
        &named("datagrams a minute"),
        pair(measured.udp_sent, measured.udp_received),
        format!("{most} sent"),
    );
    figure(
        &named("TCP segments a minute"),
        pair(measured.tcp_sent, measured.tcp_received),
        "none",
    );
    figure(
        &named("CPU, ms a minute"),
        format!("{:.0}", measured.cpu * 1e3),
        "300",
    );
    figure(&named("resident memory, KiB"), rss, "25,600");
    figure(
        &named("CPU of meshrelay, ms a minute"),
        format!("{:.0}", of_relay.cpu * 1e3),
        "none",
    );
    assert_eq!(idlers.bound(), PEERS as usize, "all of them are there still");
    assert!(measured.udp_sent <= most, "{measured:?}");
    assert!(measured.cpu <= 0.3, "{measured:?}");
    assert!(rss <= 25_600, "{rss} KiB");
}
