//! Routes of other programs count where the root granted it, and where this machine's kernel has them.

use super::world::*;
use crate::adopted::{Adopted, Foreign, MAX_ROUTES, granted_to};
use crate::map::Entry;
use crate::statement::{Deed, Grant, Grantee};

fn grant(world: &World, to: Grantee, prefix: &str, on: bool) -> Entry {
    let prefix = prefix.parse().unwrap();
    world.act(Deed::Grant {
        grant: Grant { to, prefix },
        on,
    })
}

fn one(n: u8) -> Grantee {
    Grantee::Node(node_id(n))
}

/// Nodes 1 to 3 by a token with the tag "worker", node 4 without.
fn told<'a>(world: &'a World, more: &[Entry]) -> Told<'a> {
    let mut entries = vec![
        world.params(),
        world.delegation(1, |d| d.terms.tags = vec!["worker".into()]),
        world.delegation(2, |_| {}),
        world.node(4, 2, 1),
    ];
    entries.extend([1, 2, 3].map(|n| world.node(n, 1, 1)));
    entries.extend_from_slice(more);
    Told::new(world, &entries.iter().collect::<Vec<_>>())
}

fn route(destination: &str, hops: &[u8]) -> Foreign {
    Foreign {
        destination: destination.parse().unwrap(),
        next_hops: hops.iter().map(|n| [10, 77, 0, *n].into()).collect(),
    }
}

fn adopted(told: &Told, routes: &[Foreign]) -> Adopted {
    Adopted::of(told.holder.view().unwrap(), node_id(1), routes)
}

fn to(adopted: &Adopted, n: u8) -> Vec<String> {
    adopted.to(node_id(n)).map(|net| net.to_string()).collect()
}

fn also(adopted: &Adopted, n: u8) -> Vec<String> {
    adopted.also_from(node_id(n)).map(|net| net.to_string()).collect()
}

#[test]
fn a_route_inside_a_grant_leads_to_the_peer_that_is_its_next_hop() {
    let world = World::new();
    let told = told(
        &world,
        &[grant(
            &world,
            Grantee::Tag("worker".into()),
            "10.244.0.0/16",
            true,
        )],
    );
    told.is_content();
    let routes = [
        route("10.244.2.0/24", &[2]),
        route("10.244.3.0/24", &[3]),
        route("10.244.4.0/24", &[4]),
        route("10.245.2.0/24", &[2]),
        route("10.240.0.0/12", &[2]),
        route("10.244.9.0/24", &[99]),
        route("10.244.1.0/24", &[1]),
    ];
    let adopted = adopted(&told, &routes);
    assert_eq!(to(&adopted, 2), ["10.244.2.0/24"]);
    assert_eq!(to(&adopted, 3), ["10.244.3.0/24"]);
    assert_eq!(to(&adopted, 4), [""; 0], "it has not the tag");
    let sentences: Vec<String> = adopted.sentences().collect();
    let says = |words: &str| sentences.iter().any(|sentence| sentence.contains(words));
    for words in [
        "10.244.4.0/24 through \"node-4\" is not used",
        "meshctl node grant node-2 --routes 10.245.2.0/24",
        "10.240.0.0/12 through \"node-2\"",
        "by 10.77.0.99 is not used",
        "by 10.77.0.1 is not used",
    ] {
        assert!(says(words), "{words}: {sentences:#?}");
    }
    assert_eq!(sentences.len(), 5);
}

#[test]
fn without_a_route_a_grant_opens_nothing_and_without_a_grant_a_route_does_not() {
    let world = World::new();
    let none = told(&world, &[]);
    let with = told(&world, &[grant(&world, one(2), "10.244.0.0/16", true)]);
    assert_eq!(to(&adopted(&none, &[route("10.244.2.0/24", &[2])]), 2), [""; 0]);
    assert_eq!(adopted(&with, &[]), Adopted::default());
    assert_eq!(
        to(&adopted(&with, &[route("10.244.2.0/24", &[3])]), 3),
        [""; 0],
        "another's"
    );
}

#[test]
fn further_next_hops_may_send_and_get_nothing() {
    let world = World::new();
    let told = told(
        &world,
        &[grant(&world, Grantee::Everybody, "10.244.0.0/16", true)],
    );
    let adopted = adopted(
        &told,
        &[
            route("10.244.7.0/24", &[3, 2]),
            route("10.244.7.0/24", &[4]),
            route("10.244.7.0/24", &[3]),
        ],
    );
    assert_eq!(to(&adopted, 3), ["10.244.7.0/24"]);
    assert_eq!(also(&adopted, 3), [""; 0]);
    assert_eq!((also(&adopted, 2), to(&adopted, 2)), (to(&adopted, 3), vec![]));
    assert_eq!(also(&adopted, 4), ["10.244.7.0/24"]);
}

#[test]
fn the_last_word_on_a_grant_is_in_force_and_it_ends_with_its_node() {
    let world = World::new();
    let base = told(&world, &[]);
    let (on, off) = (
        grant(&world, one(2), "10.244.0.0/16", true),
        grant(&world, one(2), "10.244.0.0/16", false),
    );
    let granted = |told: &Told| granted_to(told.holder.view().unwrap(), node_id(2)).count();
    assert_eq!(granted(&base), 0);
    assert_eq!(granted(&told(&world, std::slice::from_ref(&on))), 1);
    assert_eq!(granted(&told(&world, &[on.clone(), off.clone()])), 0);
    assert_eq!(granted(&told(&world, &[on.clone(), world.remove(2)])), 0);

    let mut builder = world.builder();
    for entry in [world.params(), world.delegation(1, |_| {}), world.node(2, 1, 1)] {
        builder.put(entry).unwrap();
    }
    let before = builder.held().count();
    builder.put(on.clone()).unwrap();
    builder.put(off).unwrap();
    assert!(builder.put(on.clone()).is_err(), "the older one is superseded");
    assert_eq!(builder.held().count(), before + 1);
    builder.put(world.remove(2)).unwrap();
    assert!(!builder.put(on).unwrap().changed, "it is out");
    assert_eq!(builder.held().count(), before, "the removal instead of the node");
}

#[test]
fn a_grant_of_nodes_addresses_is_refused_by_the_node_too() {
    let world = World::new();
    let told = told(
        &world,
        &[
            grant(&world, one(2), "10.77.3.0/24", true),
            grant(&world, Grantee::Everybody, "0.0.0.0/0", true),
        ],
    );
    assert!(told.holder.view().unwrap().grants.is_empty());
    told.says(&["10.77.3.0/24", "the network's own range"]);
    told.says(&["0.0.0.0/0 is everything"]);
}

#[test]
fn more_routes_than_may_be_are_not_used_and_counted_in_one_sentence() {
    let world = World::new();
    let told = told(&world, &[grant(&world, one(2), "10.128.0.0/9", true)]);
    let many: Vec<Foreign> = (0..MAX_ROUTES as u32 + 10)
        .map(|n| route(&format!("10.{}.{}.0/24", 128 + (n >> 8), n & 255), &[2]))
        .collect();
    let adopted = adopted(&told, &many);
    assert_eq!(adopted.to(node_id(2)).count(), MAX_ROUTES);
    let sentences: Vec<String> = adopted.sentences().collect();
    assert!(
        sentences.len() == 1 && sentences[0].contains("more than 4096 routes"),
        "{sentences:?}"
    );
    let refused: Vec<Foreign> = (0..100).map(|n| route(&format!("10.3.{n}.0/24"), &[2])).collect();
    let sentences: Vec<String> = self::adopted(&told, &refused).sentences().collect();
    assert_eq!(sentences.len(), 8);
    assert!(sentences[7].contains("93 more"), "{sentences:?}");
}
