//! A coordinator that was broken into has accomplices among the members: no name, address or key is another's for it.

use super::world::*;
use crate::map::Entry;

#[test]
fn it_cannot_swap_names() {
    let it = before();
    let mut told = it.told();
    // with two members as accomplices: each signs a record under the other's name
    let named = |n: u8, name: &str| {
        it.world
            .node_with(n, 1, 6, |record| record.host_name = name.into())
    };
    let thief = it
        .world
        .node_with(3, 1, 1, |record| record.host_name = "node-1".into());
    told.tell(&[
        &it.params,
        &it.delegation,
        &named(1, "node-1"),
        &named(2, "node-1"),
        &thief,
    ])
    .unwrap();
    assert_eq!(told.names()[&1], "node-1");
    assert_eq!(told.names()[&2], "node-2");
    assert!(told.names()[&3].starts_with("node-03"), "{:?}", told.names());
    told.says(&["0202020202", "name \"node-1\" is refused", "01010101"]);
    told.says(&["0303030303", "name \"node-1\" is refused"]);
    // with the one whose name it is left out of the map
    told.tell(&[&it.params, &it.delegation, &named(2, "node-1"), &thief])
        .unwrap();
    assert_eq!(told.names()[&1], "node-1");
}

#[test]
fn it_cannot_give_a_nodes_address_to_another() {
    let it = before();
    let mut told = it.told();
    let thief = |n: u8, serial: u64| {
        it.world
            .node_with(n, 1, serial, |record| record.ipv4 = [10, 77, 0, 1].into())
    };
    told.tell(&[&it.params, &it.delegation, &thief(2, 6), &thief(3, 1)])
        .unwrap();
    assert!(told.is_in(1) && told.is_in(2) && !told.is_in(3));
    assert_eq!(told.serial_of(2), 5);
    told.says(&["\"node-2\"", "address 10.77.0.1 is held by node node-1"]);
    told.says(&["0303030303", "address 10.77.0.1 is held by node node-1"]);
}

#[test]
fn it_cannot_give_a_nodes_keys_to_another() {
    let it = before();
    let victim = it.world.record(1, 5, |_| {});
    let thieves: [(&str, Entry); 2] = [
        (
            "WireGuard key",
            it.world
                .node_with(3, 1, 1, |record| record.wireguard = victim.wireguard),
        ),
        (
            "discovery key",
            it.world
                .node_with(3, 1, 1, |record| record.discovery = victim.discovery),
        ),
    ];
    for (what, thief) in thieves {
        let mut told = it.told();
        told.tell(&[&it.params, &it.delegation, &it.a, &it.b, &thief])
            .unwrap();
        assert!(told.is_in(1) && !told.is_in(3));
        told.says(&["0303030303", what, "is held by node node-1"]);
        let mut builder = it.world.builder();
        for entry in [&it.params, &it.delegation, &it.a] {
            builder.put(entry.clone()).unwrap();
        }
        assert!(builder.put(thief).unwrap_err().to_string().contains(what));
    }
}

#[test]
fn addresses_outside_or_kept_for_the_network_are_refused() {
    let it = before();
    let mut told = it.told();
    for address in [
        [10, 78, 0, 1],
        [10, 77, 0, 0],
        [10, 77, 255, 255],
        [10, 77, 255, 254],
    ] {
        let node = it.world.node_with(3, 1, 1, |record| record.ipv4 = address.into());
        told.tell(&[&it.params, &it.delegation, &it.a, &it.b, &node])
            .unwrap();
        assert!(!told.is_in(3));
        told.says(&["0303030303", "is not one for nodes in 10.77.0.0/16"]);
    }
    let node = it
        .world
        .node_with(3, 1, 1, |record| record.ipv6 = "2001:db8::1".parse().unwrap());
    told.tell(&[&it.params, &it.delegation, &it.a, &it.b, &node])
        .unwrap();
    told.says(&["2001:db8::1 is not one for nodes in fd01::/64"]);
}

#[test]
fn reserved_names_are_not_taken() {
    let it = before();
    for name in ["localhost", "no label", "UPPER"] {
        let node = it
            .world
            .node_with(3, 1, 1, |record| record.host_name = name.into());
        let told = Told::new(&it.world, &[&it.params, &it.delegation, &node]);
        assert!(told.names()[&3].starts_with("node-03"));
        told.says(&["0303030303", "is no host name"]);
    }
}
