//! Pairs of nodes behind every kind of NAT end on the path that their NATs allow.

use std::path::Path;
use std::time::Duration;

use meshd_tests::Nat::{
    AddressRestricted, CarrierFullCone, CarrierPortRestricted, Firewall, FullCone, Open, PlainLinux,
    PortRestricted, Symmetric, SymmetricBlock, UdpBlocked,
};
use meshd_tests::matrix::{Matrix, Page, Pair, Reach};
use meshd_tests::mesh::Node;

use crate::bed::{self, NET};

/// Longest trial of a pair that can be had by punching, in the quick set: far above the bar, the computer may be busy.
const PUNCHING: Duration = Duration::from_secs(20);
/// Longest trial of a pair that stays on the relay.
const RELAYED: Duration = Duration::from_secs(5);

/// Pairs that tell: each kind of mapping and filtering, with and without the primer, a carrier's NAT, no UDP at all.
const TELLING: [Pair; 10] = [
    Pair(Open, Symmetric),
    Pair(Firewall, CarrierPortRestricted),
    Pair(FullCone, Symmetric),
    Pair(AddressRestricted, SymmetricBlock),
    Pair(PortRestricted, PortRestricted),
    Pair(PortRestricted, CarrierFullCone),
    Pair(Firewall, PlainLinux),
    Pair(PlainLinux, PlainLinux),
    Pair(Symmetric, Symmetric),
    Pair(FullCone, UdpBlocked),
];

/// Longest trial of the whole table.
fn bound(pair: Pair) -> Duration {
    match pair.best() {
        Reach::Relay => RELAYED,
        Reach::Direct | Reach::Prediction | Reach::Birthday => Duration::from_secs(12),
    }
}

#[test]
fn telling_pairs_end_on_the_path_that_their_nats_allow() {
    let matrix = Matrix::start(&TELLING, 1);
    let bound = |pair: Pair| {
        if pair.best() == Reach::Relay {
            RELAYED
        } else {
            PUNCHING
        }
    };
    let results = matrix.try_all(&TELLING, (1, 3), bound);
    for (pair, trials) in results {
        for trial in trials {
            assert!(trial.first_packet.is_some(), "{pair}: nothing arrives: {trial:?}");
            assert!(
                trial.direct.is_some() || pair.best() == Reach::Relay,
                "{pair} stays on the relay: {trial:?}"
            );
        }
    }
}

#[test]
fn two_nodes_behind_one_nat_are_direct_over_their_lan() {
    let bed = bed::together(&["a", "b"]);
    bed.wait_for_paths("direct");
    let path = bed.nodes[0].peer(NET, "b").expect("known")["path"].clone();
    let endpoint = path["endpoint"].as_str().expect("an address").to_owned();
    assert!(
        endpoint.starts_with(&format!("{}:", bed.sites[0].v4(3))),
        "{path}"
    );
}

#[test]
fn two_nodes_that_only_a_hairpin_connects_are_direct() {
    let mut bed = bed::empty();
    let site = bed.world.site(FullCone);
    site.isolate_and_hairpin();
    // each a port of its own: of two mappings with one inside port a hairpin may show the wrong one
    for (number, name, port) in [(2, "a", "51821"), (3, "b", "51822")] {
        let node = Node::start(&site.machine(name, number));
        node.json(&["join", &bed.relay.token(NET, &[]), "--listen-port", port]);
        bed.nodes.push(node);
    }
    let lan = ["ping", "-n", "-q", "-c1", "-W1", &site.v4(3)];
    assert!(!bed.nodes[0].machine().succeeds(&lan), "the LAN keeps them apart");
    bed.sites.push(site);
    bed.settle();
    bed.wait_for_paths("direct");
}

#[test]
fn behind_two_symmetric_nats_ipv6_is_direct_through_stateful_firewalls() {
    let mut bed = bed::empty();
    for name in ["a", "b"] {
        let site = bed.world.dual_site(Symmetric);
        bed.add(&site, name, 2);
        bed.sites.push(site);
    }
    bed.settle();
    bed.wait_for_paths("direct");
    let path = bed.nodes[0].peer(NET, "b").expect("known")["path"].clone();
    let six = format!("[{}]:", bed.sites[1].v6(2));
    assert!(
        path["endpoint"]
            .as_str()
            .is_some_and(|text| text.starts_with(&six)),
        "{path}"
    );
}

#[test]
#[ignore = "long: every pair five times, with one and with two relay addresses; writes docs/nat.md"]
fn every_pair_ends_on_the_path_that_its_nats_allow() {
    let pairs = chosen();
    let times = variable("MESHD_NAT_TIMES", 5);
    let mut page = Page::default();
    for addresses in [1, 2]
        .into_iter()
        .filter(|count| *count <= variable("MESHD_NAT_ADDRESSES", 2))
    {
        let matrix = Matrix::start(&pairs, addresses);
        page.add(
            addresses,
            &matrix.try_all(&pairs, (times, variable("MESHD_NAT_WIDTH", 3)), bound),
        );
    }
    if pairs.len() == Pair::all().len() {
        page.write(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/nat.md"));
    } else {
        print!("{page}");
    }
    let short = page.shortfalls();
    assert!(
        short.is_empty(),
        "{} fall short:\n{}",
        short.len(),
        short.join("\n")
    );
}

/// All pairs, or those whose name has the words of `MESHD_NAT_PAIRS` (`prc x linux,sym x`).
fn chosen() -> Vec<Pair> {
    let wanted = std::env::var("MESHD_NAT_PAIRS").unwrap_or_default();
    let words: Vec<&str> = wanted.split(',').collect();
    let named = |pair: &Pair| words.iter().any(|word| pair.to_string().contains(word));
    Pair::all()
        .into_iter()
        .filter(|pair| *pair != Pair(UdpBlocked, UdpBlocked) || wanted.is_empty())
        .filter(named)
        .collect()
}

fn variable(name: &str, default: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}
