//! A router that starts anew under traffic: the peer's packets come before the node's own, and what the router makes of them may spoil
//! the node's port for as long as the peer goes on sending.

use std::thread;
use std::time::{Duration, Instant};

use meshd_tests::mesh::Node;
use meshd_tests::{CLOUD_V6, FlowReport, Nat, Site, UdpFlow, eventually, figure, keeps};
use serde_json::Value;

use crate::bed::{self, Bed, NET};

/// Until both send directly by other ports: a punch on the spoilt ones comes to nothing first.
const AGAIN: Duration = Duration::from_secs(40);
/// The longest time without packets: the mappings towards the relay are lost in the same moment as the direct path.
const GAP: Duration = Duration::from_secs(2);
const A_WHILE: Duration = Duration::from_secs(3);

/// Two nodes on sites of both IP versions, which have no direct path but IPv6.
fn over_ipv6(prepare: impl Fn(&Site)) -> Bed {
    let mut bed = bed::empty();
    for name in ["a", "b"] {
        let site = bed.world.dual_site(Nat::Symmetric);
        prepare(&site);
        bed.add(&site, name, 2);
        bed.sites.push(site);
    }
    bed.settle();
    bed.wait_for_paths("direct");
    bed
}

/// The IPv6 address at which a peer is reached directly.
fn endpoint(node: &Node, peer: &str) -> Option<String> {
    let path = node.peer(NET, peer)?["path"].clone();
    (path["kind"] == "direct").then_some(())?;
    Some(path["endpoint"].as_str()?.to_owned())
}

/// Restarts the routers under traffic both ways, until `done`.
fn restarted<T>(bed: &Bed, done: impl FnOnce() -> T) -> (T, [FlowReport; 2]) {
    let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
    let there = UdpFlow::start(a, b, b.at(NET, 9000), 500).arriving();
    let back = UdpFlow::start(b, a, a.at(NET, 9000), 500).arriving();
    bed.sites.iter().for_each(Site::forget_mappings);
    let result = done();
    (result, [there.stop(), back.stop()])
}

fn silence(flows: &[FlowReport; 2]) -> Duration {
    flows
        .iter()
        .map(|flow| flow.longest_silence)
        .max()
        .unwrap_or_default()
}

#[test]
fn routers_that_translate_ipv6_and_start_anew_are_a_short_gap() {
    let bed = over_ipv6(Site::translate_ipv6);
    let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
    let at = |site: usize| format!("[{}]:", bed.sites[site].public_v6());
    let known = endpoint(a, "b").expect("direct");
    assert!(known.starts_with(&at(1)), "as the router translates it: {known}");
    let ((), flows) = restarted(&bed, || thread::sleep(A_WHILE));
    let silence = silence(&flows);
    figure(
        "two routers that translate IPv6 start anew under traffic",
        format!("{} ms of silence", silence.as_millis()),
        "2,000 ms",
    );
    assert!(keeps(silence, GAP), "{flows:?}");
    eventually(AGAIN, "both are direct again", || {
        let both = [endpoint(a, "b")?, endpoint(b, "a")?];
        (both[0].starts_with(&at(1)) && both[1].starts_with(&at(0))).then_some(())
    });
}

#[test]
fn firewalls_that_start_anew_and_remember_what_they_denied_are_got_over_by_fresh_ports_over_ipv6() {
    // the relay's way is not what is tested
    let bed = over_ipv6(|site| site.remember_denied_ipv6(&format!("{CLOUD_V6}/64")));
    let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
    let before = [endpoint(a, "b"), endpoint(b, "a")];
    let begin = Instant::now();
    let ((after, took), flows) = restarted(&bed, || {
        let after = eventually(AGAIN, "both send directly by other ports", || {
            let after = [endpoint(a, "b")?, endpoint(b, "a")?];
            let other = |at: usize| before[at].as_ref() != Some(&after[at]);
            (other(0) && other(1)).then_some(after)
        });
        (after, begin.elapsed())
    });
    println!("{before:?}, then {after:?}");
    let silence = silence(&flows);
    figure(
        "two IPv6 firewalls start anew under traffic and deny the old ports: direct by fresh ones; longest silence",
        format!("{:.1} s; {} ms", took.as_secs_f32(), silence.as_millis()),
        "40 s; 2,000 ms",
    );
    let host = |site: usize| format!("[{}]:", bed.sites[site].v6(2));
    assert!(
        after[0].starts_with(&host(1)) && after[1].starts_with(&host(0)),
        "{after:?}"
    );
    let why = a.json(&["why", "b"]);
    let won = |attempt: &Value| attempt["method"] == "fresh-port" && attempt["outcome"] == "direct";
    assert!(
        why["attempts"].as_array().is_some_and(|all| all.iter().any(won)),
        "{why:#}"
    );
    assert!(keeps(silence, GAP), "the relay goes on: {flows:?}");
}
