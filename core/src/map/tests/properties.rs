//! Whatever a coordinator does, in whatever order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::world::*;
use crate::map::Entry;
use crate::statement::Deed;

const NODES: u8 = 5;

/// All that the honest parties of a small network ever signed.
fn signed(world: &World) -> Vec<Entry> {
    let mut entries = vec![world.params(), world.params(), world.delegation(1, |_| {})];
    entries.push(world.delegation(2, |d| d.fixed.replaces = Some(node_id(1))));
    entries.push(world.delegation(3, |d| d.terms.ephemeral = true));
    entries.push(world.delegation(4, |d| d.terms.approval = true));
    for n in 1..=NODES {
        let token = n.min(4);
        for serial in 1..=3 {
            entries.push(world.node_with(n, token, serial, |record| {
                record.ipv4 = [10, 77, 0, (n + serial as u8) % NODES + 1].into();
                record.host_name = format!("n{}", (n + serial as u8) % NODES);
            }));
        }
    }
    entries.push(world.act(Deed::Approve { node: node_id(4) }));
    entries.push(world.act(Deed::Rename {
        node: node_id(4),
        name: "n1".into(),
    }));
    entries.push(world.act(Deed::RevokeTokenAndNodes { token: token_id(2) }));
    entries.push(world.remove(5));
    entries.push(world.departure(4, &identity(4)));
    entries
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// A coordinator that shows any subset of what was signed, in any order, with restarts in between: nobody comes back
    /// from the dead, no serial goes back, no two nodes share an address or name.
    #[test]
    fn belief_never_goes_back(shows in prop::collection::vec((any::<u32>(), any::<bool>()), 1..12)) {
        let world = World::new();
        let entries = signed(&world);
        let mut told = Told::new(&world, &[&entries[0]]);
        let mut serials: BTreeMap<u8, u64> = BTreeMap::new();
        for (subset, restart) in shows {
            let shown = entries.iter().enumerate().filter(|(index, _)| subset >> (index % 32) & 1 == 1);
            let dead_before = told.holder.view().unwrap().removed.clone();
            let shown: Vec<_> = shown.map(|(_, entry)| entry).collect();
            told.tell(&shown).unwrap();
            if restart {
                let before = told.holder.view().unwrap().nodes.clone();
                told.restart();
                prop_assert_eq!(&told.holder.view().unwrap().nodes, &before);
            }
            let view = told.holder.view().unwrap();
            for node in dead_before.keys() {
                prop_assert!(view.removed.contains_key(node) && !view.nodes.contains_key(node));
            }
            let mut places = std::collections::BTreeSet::new();
            for (id, node) in &view.nodes {
                prop_assert!(places.insert(node.ipv4.to_string()) && places.insert(node.name.clone()));
                prop_assert!(places.insert(node.ipv6.to_string()));
                let n = id.as_bytes()[0];
                let held = serials.insert(n, node.serial).unwrap_or(0);
                // an ephemeral node that was gone is a new one
                prop_assert!(n == 3 || node.serial >= held);
            }
        }
    }

    /// Whatever an honest coordinator is told, in whatever order: its map is believed without a complaint, and deltas
    /// lead to the same view as whole maps. Left out: a node replaces another and is put out with its token before anybody was
    /// told of it. Who was told nothing keeps the replaced one, and says so, until an admin removes it.
    #[test]
    fn an_honest_map_is_believed(order in prop::collection::vec((0usize..30, any::<bool>()), 1..40)) {
        let world = World::new();
        let entries = signed(&world);
        let mut builder = world.builder();
        let mut follower = world.holder();
        builder.put(entries[0].clone()).unwrap();
        let (mut version, mut replaced_in_secret) = (0, false);
        for (index, commit) in order {
            let Some(entry) = entries.get(index) else { continue };
            let act = |entry: &Entry, is: fn(&Deed) -> bool| matches!(entry.body(), crate::map::Body::Act(act) if is(&act.value().deed));
            if replaced_in_secret && act(entry, |deed| matches!(deed, Deed::RevokeTokenAndNodes { .. })) {
                continue;
            }
            replaced_in_secret |= entry.as_node().is_some_and(|node| node.node() == node_id(2));
            // addresses are the coordinator's care, not the builder's
            let clash = entry.as_node().is_some_and(|node| {
                let wanted = node.record.value();
                builder.nodes().any(|other| {
                    let held = other.record.value();
                    held.node != wanted.node && (held.ipv4 == wanted.ipv4 || held.host_name == wanted.host_name)
                })
            });
            if !clash && !act(entry, |deed| matches!(deed, Deed::Rename { .. })) {
                let _ = builder.put(entry.clone());
            }
            if commit && builder.commit(&world.coordinator).unwrap() {
                let map = builder.published().unwrap().as_ref().clone();
                match builder.delta_since(version) {
                    Some(delta) => drop(follower.apply_delta(&delta).unwrap()),
                    None => drop(follower.apply_full(map.clone()).unwrap()),
                }
                (version, replaced_in_secret) = (builder.at().1, false);
                let mut fresh = world.holder();
                fresh.apply_full(map).unwrap();
                let sentences = |holder: &crate::map::MapHolder| -> Vec<String> {
                    holder.view().unwrap().refusals.iter().map(ToString::to_string).collect()
                };
                prop_assert_eq!(sentences(&fresh), Vec::<String>::new());
                prop_assert_eq!(sentences(&follower), Vec::<String>::new());
                prop_assert_eq!(&fresh.view().unwrap().nodes, &follower.view().unwrap().nodes);
            }
        }
    }
}
