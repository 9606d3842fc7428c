//! Endpoints: the last word of the root on each name counts, where it breaks nothing.

use super::world::*;
use crate::map::Entry;
use crate::statement::{Deed, EndpointTerms, Member};

fn endpoint(world: &World, name: &str, port: u16, nodes: &[u8]) -> Entry {
    let member = |n: &u8| Member {
        node: node_id(*n),
        port: 6443,
    };
    let terms = EndpointTerms {
        address: None,
        port,
        members: nodes.iter().map(member).collect(),
        authorities: Vec::new(),
    };
    let name = name.to_owned();
    world.act(Deed::Endpoint { name, terms })
}

fn told<'a>(world: &'a World, acts: &[Entry]) -> Told<'a> {
    let mut entries = vec![world.params(), world.delegation(1, |_| {})];
    entries.extend((1..=2).map(|n| world.node(n, 1, 1)));
    entries.extend_from_slice(acts);
    Told::new(world, &entries.iter().collect::<Vec<_>>())
}

fn shown(told: &Told) -> Vec<(String, usize)> {
    let view = told.holder.view().unwrap();
    let all = view.endpoints.iter();
    all.map(|endpoint| (endpoint.name.clone(), endpoint.terms.members.len()))
        .collect()
}

#[test]
fn the_last_word_on_an_endpoint_is_in_force() {
    let world = World::new();
    let acts = [
        endpoint(&world, "api", 7443, &[1]),
        endpoint(&world, "registry", 5000, &[2]),
        endpoint(&world, "api", 7443, &[1, 2]),
        world.act(Deed::WithdrawEndpoint {
            name: "registry".into(),
        }),
    ];
    let told = told(&world, &acts);
    told.is_content();
    assert_eq!(shown(&told), [("api".to_owned(), 2)]);
}

#[test]
fn of_two_at_one_place_the_first_by_name_counts_and_the_other_is_named() {
    let world = World::new();
    let acts = [
        endpoint(&world, "web", 7443, &[1]),
        endpoint(&world, "api", 7443, &[2]),
    ];
    let told = told(&world, &acts);
    assert_eq!(shown(&told), [("api".to_owned(), 1)]);
    let view = told.holder.view().unwrap();
    let said: Vec<String> = view.refusals.iter().map(ToString::to_string).collect();
    assert!(
        said.iter()
            .any(|said| said.contains("no endpoint \"web\"") && said.contains("take another port")),
        "{said:?}"
    );
}
