//! Gateways are the root's word about nodes that are in, the last one on each range.

use super::world::*;
use crate::gateway::{Duties, hosts};
use crate::map::Entry;
use crate::statement::{Deed, GatewayTerms};

fn gateway(world: &World, node: u8, range: &str, change: impl FnOnce(&mut GatewayTerms)) -> Entry {
    let mut terms = GatewayTerms {
        range: range.parse().unwrap(),
        published: None,
        nat: true,
        priority: 10,
        to_nodes: Vec::new(),
        to_tags: Vec::new(),
        pods: None,
        names: Vec::new(),
    };
    change(&mut terms);
    world.act(Deed::Gateway {
        node: node_id(node),
        terms,
    })
}

fn withdraw(world: &World, node: u8, range: &str) -> Entry {
    world.act(Deed::WithdrawGateway {
        node: node_id(node),
        range: range.parse().unwrap(),
    })
}

fn priorities(told: &Told) -> Vec<u32> {
    let gateways = &told.holder.view().unwrap().gateways;
    gateways.iter().map(|gateway| gateway.terms.priority).collect()
}

#[test]
fn the_last_word_on_a_range_is_in_force_and_an_older_one_does_not_come_back() {
    let world = World::new();
    let base = [world.params(), world.delegation(1, |_| {}), world.node(1, 1, 1)];
    let first = gateway(&world, 1, "192.168.50.0/24", |_| {});
    let second = gateway(&world, 1, "192.168.50.0/24", |terms| terms.priority = 20);
    let end = withdraw(&world, 1, "192.168.50.0/24");
    let with = |act: &Entry| base.iter().chain([act]).cloned().collect::<Vec<_>>();
    let mut told = Told::new(&world, &with(&first).iter().collect::<Vec<_>>());
    assert_eq!(priorities(&told), [10]);
    told.tell(&with(&second).iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(priorities(&told), [20]);
    told.tell(&with(&first).iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(priorities(&told), [20], "the older act is no news");
    told.tell(&with(&end).iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(priorities(&told), [0; 0]);
    told.tell(&with(&second).iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(priorities(&told), [0; 0], "what was withdrawn stays withdrawn");
    told.is_content();
}

#[test]
fn a_range_that_takes_nodes_addresses_is_refused_by_the_node_too() {
    let world = World::new();
    let (params, delegation, node) = (world.params(), world.delegation(1, |_| {}), world.node(1, 1, 1));
    let bad = gateway(&world, 1, "10.77.3.0/24", |_| {});
    let told = Told::new(&world, &[&params, &delegation, &node, &bad]);
    assert!(told.holder.view().unwrap().gateways.is_empty());
    told.says(&["10.77.3.0/24", "the network's own range"]);
}

#[test]
fn the_map_keeps_one_act_for_a_range_and_none_of_a_node_that_is_out() {
    let world = World::new();
    let mut builder = world.builder();
    for entry in [world.params(), world.delegation(1, |_| {}), world.node(1, 1, 1)] {
        builder.put(entry).unwrap();
    }
    let before = builder.held().count();
    let first = gateway(&world, 1, "192.168.50.0/24", |_| {});
    builder.put(first.clone()).unwrap();
    builder.put(withdraw(&world, 1, "192.168.50.0/24")).unwrap();
    assert!(builder.put(first).is_err(), "the older one is superseded");
    assert_eq!(builder.held().count(), before + 1);
    builder.put(world.remove(1)).unwrap();
    let late = gateway(&world, 1, "192.168.60.0/24", |_| {});
    assert!(!builder.put(late).unwrap().changed, "it is out");
    assert_eq!(builder.held().count(), before, "the removal instead of the node");
}

#[test]
fn each_node_gets_the_ranges_that_it_may_use_in_order_and_not_its_own() {
    let world = World::new();
    let mut entries = vec![
        world.params(),
        world.delegation(1, |d| d.terms.tags = vec!["office".into()]),
        world.delegation(2, |_| {}),
    ];
    entries.extend([1, 2, 3].map(|n| world.node(n, 1, 1)));
    entries.push(world.node(4, 2, 1));
    entries.push(gateway(&world, 1, "192.168.50.0/24", |terms| terms.priority = 20));
    entries.push(gateway(&world, 2, "192.168.50.0/24", |_| {}));
    entries.push(gateway(&world, 1, "10.8.0.0/24", |terms| {
        terms.to_tags = vec!["office".into()];
        terms.to_nodes = vec![node_id(9)];
    }));
    let told = Told::new(&world, &entries.iter().collect::<Vec<_>>());
    told.is_content();
    let duties = |n: u8| Duties::of(told.holder.view().unwrap(), node_id(n), &[]);
    let ranges = |n: u8| -> Vec<String> { duties(n).ranges.iter().map(|r| r.prefix.to_string()).collect() };
    let members: Vec<_> = duties(3).ranges[1].members.iter().map(|m| m.node).collect();
    assert_eq!(members, [node_id(2), node_id(1)], "lower priority numbers first");
    assert_eq!(ranges(3), ["10.8.0.0/24", "192.168.50.0/24"]);
    assert_eq!(ranges(4), ["192.168.50.0/24"], "it has not the tag");
    assert_eq!(ranges(1), [""; 0], "both are its own");
    let limited = &duties(1).services[0];
    let sources = limited.sources.as_ref().unwrap();
    assert_eq!(sources.len(), 2, "nodes 2 and 3: {sources:?}");
    assert_eq!(duties(2).services[0].sources, None);
}

#[test]
fn hosts_are_known_by_name_to_who_may_use_their_gateway_until_it_is_withdrawn() {
    let world = World::new();
    let mut entries = vec![
        world.params(),
        world.delegation(1, |d| d.terms.tags = vec!["office".into()]),
        world.delegation(2, |_| {}),
    ];
    entries.extend([1, 2, 3].map(|n| world.node(n, 1, 1)));
    entries.push(world.node(4, 2, 1));
    let mut told = Told::new(&world, &entries.iter().collect::<Vec<_>>());
    let taken = told.holder.view().unwrap().nodes[&node_id(3)].name.clone();
    let names = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let printer = gateway(&world, 1, "192.168.50.0/24", |terms| {
        terms.published = Some("10.200.1.0/24".parse().unwrap());
        terms.names = names(&["printer=192.168.50.9", &format!("{taken}=192.168.50.3")]);
        terms.to_tags = vec!["office".into()];
    });
    let second = gateway(&world, 2, "10.8.0.0/24", |terms| {
        terms.names = names(&["printer=10.8.0.9", "nas=10.8.0.20"]);
        terms.priority = 20;
    });
    entries.extend([printer, second]);
    told.tell(&entries.iter().collect::<Vec<_>>()).unwrap();
    told.is_content();
    let known = |told: &Told, n: u8| -> Vec<String> {
        let hosts = hosts(told.holder.view().unwrap(), node_id(n));
        let known = hosts.iter().map(|host| (&host.label, host.address.ipv4.unwrap()));
        known.map(|(label, ipv4)| format!("{label}={ipv4}")).collect()
    };
    assert_eq!(
        known(&told, 3),
        ["nas=10.8.0.20", "printer=10.200.1.9"],
        "the first gateway's; a node's name is the node's"
    );
    assert_eq!(
        known(&told, 1),
        ["nas=10.8.0.20", "printer=192.168.50.9"],
        "its own host's own address"
    );
    assert_eq!(
        known(&told, 4),
        ["nas=10.8.0.20", "printer=10.8.0.9"],
        "it may not use the first"
    );
    let printer = entries.len() - 2;
    entries[printer] = withdraw(&world, 1, "192.168.50.0/24");
    told.tell(&entries.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(known(&told, 3), ["nas=10.8.0.20", "printer=10.8.0.9"]);
}

#[test]
fn a_node_takes_no_hosts_name_but_keeps_its_own_or_what_the_root_gave_it() {
    let world = World::new();
    let mut entries = vec![world.params(), world.delegation(1, |_| {})];
    entries.extend([1, 2].map(|n| world.node(n, 1, 1)));
    let mut told = Told::new(&world, &entries.iter().collect::<Vec<_>>());
    entries.push(gateway(&world, 1, "192.168.50.0/24", |terms| {
        terms.names = ["printer=192.168.50.9", "node-2=192.168.50.2"]
            .map(|text| text.parse().unwrap())
            .into();
    }));
    entries.push(world.node_with(3, 1, 1, |record| record.host_name = "printer".into()));
    told.tell(&entries.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(told.names()[&2], "node-2", "it had it before");
    assert!(told.names()[&3].starts_with("node-03"), "{:?}", told.names());
    told.says(&[
        "0303030303",
        "name \"printer\" is refused",
        "host behind a gateway",
    ]);
    let printer = |told: &Told| {
        let hosts = hosts(told.holder.view().unwrap(), node_id(2));
        hosts.iter().any(|host| host.label == "printer")
    };
    assert!(printer(&told));
    entries.push(world.act(Deed::Rename {
        node: node_id(3),
        name: "printer".into(),
    }));
    told.tell(&entries.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(told.names()[&3], "printer");
    assert!(!printer(&told), "a name is one machine's");
}
