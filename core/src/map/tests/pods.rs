//! Pods' prefixes are the root's word, and a node's part of them is its own as long as it is in.

use super::world::*;
use crate::map::{Cause, Entry};
use crate::statement::{Deed, PodPrefixes, PodTerms, Tellers};

fn pods(world: &World, ipv4: &str) -> Entry {
    world.act(Deed::PodNetwork {
        terms: PodTerms {
            ipv4: ipv4.parse().unwrap(),
            ipv6: Some("fd42::/56".parse().unwrap()),
            node_prefix: 24,
            services: vec!["10.43.0.0/16".parse().unwrap()],
            tellers: Tellers::default(),
        },
    })
}

fn part(world: &World, node: u8, ipv4: &str, ipv6: &str) -> Entry {
    world.act(Deed::PodPrefixes {
        node: node_id(node),
        prefixes: PodPrefixes {
            ipv4: ipv4.parse().unwrap(),
            ipv6: Some(ipv6.parse().unwrap()),
        },
    })
}

fn parts(told: &Told) -> Vec<String> {
    let parts = &told.holder.view().unwrap().parts;
    parts.values().map(|part| part.ipv4.to_string()).collect()
}

#[test]
fn a_nodes_part_counts_while_the_node_is_in() {
    let world = World::new();
    let base = [
        world.params(),
        world.delegation(1, |_| {}),
        world.node(1, 1, 1),
        world.node(2, 1, 1),
        pods(&world, "10.42.0.0/16"),
        part(&world, 1, "10.42.0.0/24", "fd42::/64"),
        part(&world, 2, "10.42.1.0/24", "fd42:0:0:1::/64"),
    ];
    let mut told = Told::new(&world, &base.iter().collect::<Vec<_>>());
    assert_eq!(parts(&told), ["10.42.0.0/24", "10.42.1.0/24"]);
    told.is_content();
    let gone = world.remove(1);
    told.tell(&base.iter().chain([&gone]).collect::<Vec<_>>())
        .unwrap();
    assert_eq!(parts(&told), ["10.42.1.0/24"]);
}

#[test]
fn a_part_outside_or_of_another_node_is_refused_and_the_first_keeps_it() {
    let world = World::new();
    let (params, delegation) = (world.params(), world.delegation(1, |_| {}));
    let nodes = [1, 2, 3].map(|n| world.node(n, 1, 1));
    let pods = pods(&world, "10.42.0.0/16");
    let first = part(&world, 2, "10.42.1.0/24", "fd42:0:0:1::/64");
    let second = part(&world, 1, "10.42.1.0/24", "fd42:0:0:2::/64");
    let outside = part(&world, 3, "10.77.1.0/24", "fd42:0:0:3::/64");
    let mut all: Vec<&Entry> = vec![&params, &delegation, &pods, &first, &second, &outside];
    all.extend(&nodes);
    let told = Told::new(&world, &all);
    let view = told.holder.view().unwrap();
    assert_eq!(view.parts.keys().copied().collect::<Vec<_>>(), [node_id(2)]);
    let refused = |n| {
        view.refusals_of(node_id(n))
            .any(|r| matches!(r.cause, Cause::PartUnfit { .. }))
    };
    assert!(refused(1) && refused(3) && !refused(2), "{:?}", view.refusals);
}

#[test]
fn pods_never_take_nodes_addresses() {
    let world = World::new();
    let entries = [
        world.params(),
        world.delegation(1, |_| {}),
        world.node(1, 1, 1),
        pods(&world, "10.0.0.0/12"),
        part(&world, 1, "10.0.0.0/24", "fd42::/64"),
    ];
    let told = Told::new(&world, &entries.iter().collect::<Vec<_>>());
    let view = told.holder.view().unwrap();
    assert!(view.pods.is_some(), "10.0.0.0/12 ends before 10.77");
    let covering = pods(&world, "10.64.0.0/12");
    let mut told = told;
    told.tell(&entries.iter().chain([&covering]).collect::<Vec<_>>())
        .unwrap();
    let view = told.holder.view().unwrap();
    assert!(view.pods.is_none() && view.parts.is_empty());
    assert!(
        view.refusals
            .iter()
            .any(|r| matches!(r.cause, Cause::PodsUnfit(_)))
    );
}

#[test]
fn who_tells_of_kubernetes_prefixes_is_the_roots_word() {
    let world = World::new();
    let tellers = Tellers {
        nodes: vec![node_id(1)],
        tags: vec!["cp".into()],
    };
    let terms = PodTerms {
        ipv4: "10.42.0.0/16".parse().unwrap(),
        ipv6: None,
        node_prefix: 24,
        services: Vec::new(),
        tellers: tellers.clone(),
    };
    let (params, act) = (world.params(), world.act(Deed::PodNetwork { terms }));
    let told = Told::new(&world, &[&params, &act]);
    let view = told.holder.view().unwrap();
    assert_eq!(view.pods.as_ref().unwrap().tellers, tellers);
    assert!(tellers.name(node_id(1), &[]) && tellers.name(node_id(2), &["cp".into()]));
    assert!(!tellers.name(node_id(2), &["other".into()]) && !Tellers::default().name(node_id(1), &[]));
}
