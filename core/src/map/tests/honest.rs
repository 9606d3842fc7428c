//! What an honest coordinator hands out is believed without a complaint.

use super::world::*;
use crate::map::{Cause, Death, MapError};
use crate::statement::Deed;

#[test]
fn nodes_with_a_good_chain_are_in() {
    let world = World::new();
    let delegation = world.delegation(1, |d| d.terms.tags = vec!["edge".into()]);
    let (a, b) = (world.node(1, 1, 1), world.node(2, 1, 1));
    let told = Told::new(&world, &[&world.params(), &delegation, &a, &b]);
    told.is_content();
    let view = told.holder.view().unwrap();
    assert_eq!(view.params.name, "prod");
    let node = view.named("node-1").unwrap();
    assert_eq!(node.keys.identity, identity(1).public());
    assert_eq!(node.ipv4.to_string(), "10.77.0.1");
    assert_eq!(node.membership.terms.tags, ["edge"]);
    assert_eq!(
        view.at_address("fd01::2".parse().unwrap()).unwrap().name,
        "node-2"
    );
}

#[test]
fn deltas_lead_where_whole_maps_do_and_verify_only_what_is_new() {
    let world = World::new();
    let mut builder = world.builder();
    let mut holder = world.holder();
    builder.put(world.params()).unwrap();
    builder.put(world.delegation(1, |_| {})).unwrap();
    for n in 1..=40 {
        builder.put(world.node(n, 1, 1)).unwrap();
    }
    assert!(builder.commit(&world.coordinator).unwrap());
    assert!(!builder.commit(&world.coordinator).unwrap());
    let first = builder.published().unwrap().as_ref().clone();
    assert_eq!(holder.apply_full(first.clone()).unwrap().joined.len(), 40);
    assert_eq!(holder.verifications(), 42);

    builder.put(world.node(41, 1, 1)).unwrap();
    builder.commit(&world.coordinator).unwrap();
    builder.put(world.node(1, 1, 2)).unwrap();
    builder.put(world.remove(2)).unwrap();
    builder.commit(&world.coordinator).unwrap();
    let changes = holder.apply_delta(&builder.delta_since(1).unwrap()).unwrap();
    assert_eq!(changes.joined, [node_id(41)]);
    assert_eq!(changes.changed, [node_id(1)]);
    assert_eq!(changes.left, [node_id(2)]);
    assert_eq!(holder.verifications(), 45);
    assert_eq!(holder.at(), (1, 3));
    assert!(holder.view().unwrap().refusals.is_empty());

    let mut fresh = world.holder();
    fresh
        .apply_full(builder.published().unwrap().as_ref().clone())
        .unwrap();
    assert_eq!(fresh.view().unwrap().nodes, holder.view().unwrap().nodes);
    assert_eq!(builder.delta_since(3), None);
}

#[test]
fn a_delta_that_does_not_fit_asks_for_the_whole_map() {
    let world = World::new();
    let mut builder = world.builder();
    let mut holder = world.holder();
    builder.put(world.params()).unwrap();
    builder.commit(&world.coordinator).unwrap();
    holder
        .apply_full(builder.published().unwrap().as_ref().clone())
        .unwrap();
    builder
        .put(world.act(Deed::Approve { node: node_id(1) }))
        .unwrap();
    builder.commit(&world.coordinator).unwrap();
    builder
        .put(world.act(Deed::Approve { node: node_id(2) }))
        .unwrap();
    builder.commit(&world.coordinator).unwrap();
    let error = holder.apply_delta(&builder.delta_since(2).unwrap()).unwrap_err();
    assert!(error.wants_full(), "{error}");
    let mut wrong = builder.delta_since(1).unwrap();
    wrong.add.pop();
    assert_eq!(holder.apply_delta(&wrong).unwrap_err(), MapError::Digest);
    holder.apply_delta(&builder.delta_since(1).unwrap()).unwrap();
    assert_eq!(holder.at(), (1, 3));
}

#[test]
fn an_unapproved_node_is_out_until_the_act() {
    let world = World::new();
    let (params, delegation) = (world.params(), world.delegation(1, |d| d.terms.approval = true));
    let node = world.node(1, 1, 1);
    let mut told = Told::new(&world, &[&params, &delegation, &node]);
    assert!(!told.is_in(1));
    told.says(&["01010101", "not approved"]);
    let approve = world.act(Deed::Approve { node: node_id(1) });
    told.tell(&[&params, &delegation, &node, &approve]).unwrap();
    assert!(told.is_in(1));
    told.is_content();

    let mut builder = world.builder();
    builder.put(params).unwrap();
    builder.put(delegation).unwrap();
    assert_eq!(builder.put(node.clone()), Err(Cause::NotApproved));
    builder.put(approve).unwrap();
    assert!(builder.put(node).unwrap().changed);
}

#[test]
fn renames_follow_the_highest_serial() {
    let world = World::new();
    let (params, delegation, node) = (world.params(), world.delegation(1, |_| {}), world.node(1, 1, 1));
    let rename = |name: &str| {
        world.act(Deed::Rename {
            node: node_id(1),
            name: name.into(),
        })
    };
    let (first, second) = (rename("db"), rename("web"));
    let mut told = Told::new(&world, &[&params, &delegation, &node, &first]);
    assert_eq!(told.names()[&1], "db");
    told.tell(&[&params, &delegation, &node, &second]).unwrap();
    assert_eq!(told.names()[&1], "web");
    told.tell(&[&params, &delegation, &node, &first]).unwrap();
    assert_eq!(told.names()[&1], "web");
}

#[test]
fn a_replacement_takes_name_and_address_and_the_old_key_is_dead() {
    let world = World::new();
    let (params, delegation, old) = (world.params(), world.delegation(1, |_| {}), world.node(1, 1, 1));
    let mut told = Told::new(&world, &[&params, &delegation, &old]);
    let replacing = world.delegation(2, |d| d.fixed.replaces = Some(node_id(1)));
    let new = world.node_with(2, 2, 1, |record| {
        record.ipv4 = [10, 77, 0, 1].into();
        record.ipv6 = "fd01::1".parse().unwrap();
        record.host_name = "node-1".into();
    });
    told.tell(&[&params, &replacing, &new]).unwrap();
    told.is_content();
    assert_eq!(told.names(), [(2, "node-1".to_owned())].into());
    assert_eq!(
        told.holder.death_of(node_id(1)),
        Some(Death::ReplacedBy(node_id(2)))
    );
    told.tell(&[&params, &delegation, &replacing, &old, &new])
        .unwrap();
    assert!(!told.is_in(1));
    told.says(&["\"node-1\"", "replaced it"]);

    let mut builder = world.builder();
    for entry in [params, delegation, replacing, old.clone()] {
        builder.put(entry).unwrap();
    }
    assert_eq!(builder.put(new).unwrap().removed, [node_id(1)]);
    assert_eq!(builder.put(old), Err(Cause::Dead(Death::ReplacedBy(node_id(2)))));
}

#[test]
fn names_of_removed_nodes_are_blocked_until_freed() {
    let world = World::new();
    let removed = world.act(Deed::Remove {
        node: node_id(1),
        name: Some("web".into()),
        blocked_until: Some(5000),
    });
    let params = world.params();
    let mut told = Told::new(&world, &[&params, &removed]);
    let blocked = &told.holder.view().unwrap().blocked_names;
    assert_eq!((blocked["web"].node, blocked["web"].until), (node_id(1), 5000));
    let free = world.act(Deed::FreeName { name: "web".into() });
    told.tell(&[&params, &removed, &free]).unwrap();
    assert!(told.holder.view().unwrap().blocked_names.is_empty());
}

#[test]
fn an_ephemeral_node_goes_with_the_map_and_may_come_back() {
    let world = World::new();
    let (params, delegation) = (world.params(), world.delegation(1, |d| d.terms.ephemeral = true));
    let node = world.node(1, 1, 1);
    let mut told = Told::new(&world, &[&params, &delegation, &node]);
    let changes = told.tell(&[&params]).unwrap();
    assert_eq!(changes.left, [node_id(1)]);
    told.is_content();
    told.tell(&[&params, &delegation, &node]).unwrap();
    assert!(told.is_in(1));
}

#[test]
fn addresses_may_be_exchanged_when_one_is_freed() {
    let world = World::new();
    let (params, delegation) = (world.params(), world.delegation(1, |_| {}));
    let (a, b) = (world.node(1, 1, 1), world.node(2, 1, 1));
    let mut told = Told::new(&world, &[&params, &delegation, &a, &b]);
    let at = |n: u8, to: u8| {
        world.node_with(n, 1, 2, |record| {
            record.ipv4 = [10, 77, 0, to].into();
            record.ipv6 = format!("fd01::{to:x}").parse().unwrap();
        })
    };
    told.tell(&[&params, &delegation, &at(1, 2), &at(2, 3)]).unwrap();
    told.is_content();
    let view = told.holder.view().unwrap();
    assert_eq!(view.nodes[&node_id(1)].ipv4.to_string(), "10.77.0.2");
    assert_eq!(view.nodes[&node_id(2)].ipv4.to_string(), "10.77.0.3");
}

#[test]
fn a_thousand_nodes_join_and_one_more_is_one_more_verification() {
    let world = World::new();
    let delegation = world.delegation(1, |_| {});
    let params = world.params();
    let entries: Vec<_> = (0..1000u16).map(|n| thousandth(&world, n)).collect();
    let mut all: Vec<_> = entries.iter().take(999).chain([&delegation, &params]).collect();
    let mut told = Told::new(&world, &all);
    assert_eq!(told.holder.view().unwrap().nodes.len(), 999);
    let before = told.holder.verifications();
    all.push(&entries[999]);
    told.tell(&all).unwrap();
    assert_eq!(told.holder.verifications() - before, 1);
    told.restart();
    assert_eq!(told.holder.verifications(), 0);
    assert_eq!(told.holder.view().unwrap().nodes.len(), 1000);
}

fn thousandth(world: &World, n: u16) -> crate::map::Entry {
    use crate::keys::IdentitySecret;
    use crate::map::{Body, NodeEntry};
    use crate::statement::{Enrolment, Signed};
    let [high, low] = n.to_be_bytes();
    let mut seed = [0x77; 32];
    seed[..2].copy_from_slice(&[high, low]);
    let identity = IdentitySecret::from_seed(&seed);
    let mut id = [0x66; 16];
    id[..2].copy_from_slice(&[high, low]);
    let node = crate::id::NodeId::from_bytes(id);
    let record = world.record(low, 1, |record| {
        record.node = node;
        record.wireguard = crate::keys::WireGuardPublic::from_bytes(seed);
        record.discovery = crate::keys::DiscoveryPublic::from_bytes(seed);
        record.ipv4 = [10, 77, high + 1, low].into();
        record.ipv6 = format!("fd01::{:x}:{low:x}", high + 1).parse().unwrap();
        record.host_name = format!("n{n}");
    });
    let enrolment = Enrolment {
        network: world.network(),
        token: token_id(1),
        node,
        identity: identity.public(),
    };
    let enrolment = Signed::sign(enrolment, &join_key(1)).unwrap();
    Body::Node(NodeEntry {
        enrolment,
        record: Signed::sign(record, &identity).unwrap(),
    })
    .into()
}
