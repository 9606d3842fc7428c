//! A coordinator restored from an older backup.

use super::world::*;
use crate::map::{Cause, Death, Entry, MapBuilder};
use crate::statement::Deed;

/// A builder from what a coordinator stored, in a new epoch.
fn restored(world: &World, stored: &[Entry]) -> MapBuilder {
    let mut builder = MapBuilder::new(world.root.public(), (1, 3));
    for entry in stored {
        builder.restore(entry.clone()).unwrap();
    }
    builder.open_epoch();
    builder
}

#[test]
fn later_joiners_come_back_and_later_removals_hold() {
    let world = World::new();
    let stored = [
        world.params(),
        world.delegation(1, |_| {}),
        world.node(1, 1, 1),
        world.node(2, 1, 1),
        world.node(3, 1, 1),
    ];
    // since the backup: 4 joined by a new token, 2 was removed, 3 left, 1 moved
    let later = [
        world.delegation(2, |_| {}),
        world.node(4, 2, 1),
        world.remove(2),
        world.departure(3, &identity(3)),
        world.node(1, 1, 2),
    ];
    let mut told = Told::new(&world, &stored.iter().collect::<Vec<_>>());
    let now: Vec<_> = stored[..2].iter().chain(&later).collect();
    told.tell(&now).unwrap();
    assert_eq!(told.names().into_keys().collect::<Vec<_>>(), [1, 4]);
    told.restart();

    let mut builder = restored(&world, &stored);
    builder.commit(&world.coordinator).unwrap();
    let old = builder.published().unwrap().as_ref().clone();
    told.holder.apply_full(old).unwrap();
    assert_eq!(told.names().into_keys().collect::<Vec<_>>(), [1, 4]);
    told.says(&["\"node-2\"", "an admin removed it"]);
    told.says(&["\"node-3\"", "it left"]);
    told.says(&["\"node-4\"", "omits"]);
    assert_eq!(told.serial_of(1), 2);

    let absorbed = builder.absorb(told.holder.testimony());
    assert!(absorbed.refused.is_empty(), "{:?}", absorbed.refused);
    assert_eq!(absorbed.taken.len(), later.len());
    let mut removed = absorbed.removed.clone();
    removed.sort();
    assert_eq!(removed, [node_id(2), node_id(3)]);
    builder.commit(&world.coordinator).unwrap();
    told.holder
        .apply_full(builder.published().unwrap().as_ref().clone())
        .unwrap();
    told.is_content();
    assert_eq!(told.names().into_keys().collect::<Vec<_>>(), [1, 4]);
    assert!(builder.absorb(told.holder.testimony()).taken.is_empty());
    assert_eq!(builder.node(node_id(1)).unwrap().record.value().serial, 2);
}

#[test]
fn what_one_member_brings_must_prove_itself() {
    let world = World::new();
    let mut builder = restored(
        &world,
        &[world.params(), world.delegation(1, |_| {}), world.node(1, 1, 1)],
    );
    let stranger = World {
        root: crate::keys::RootSecret::from_seed(&[1; 32]),
        ..World::new()
    };
    let absorbed = builder.absorb([
        stranger.params(),
        stranger.delegation(1, |_| {}),
        stranger.remove(1),
        world.node(9, 9, 1),
        world.departure(1, &identity(9)),
    ]);
    assert!(absorbed.taken.is_empty() && absorbed.removed.is_empty());
    assert_eq!(absorbed.refused.len(), 5);
    assert!(builder.node(node_id(1)).is_some());
}

#[test]
fn a_departure_brought_before_its_node_still_counts() {
    let world = World::new();
    let mut builder = restored(&world, &[world.params(), world.delegation(1, |_| {})]);
    builder.absorb([world.departure(1, &identity(1))]);
    let absorbed = builder.absorb([world.node(1, 1, 1)]);
    assert!(absorbed.taken.is_empty());
    assert_eq!(builder.death_of(node_id(1)), Some(Death::Departed));
}

#[test]
fn stored_tombstones_outlive_their_nodes() {
    let world = World::new();
    let stored = [
        world.params(),
        world.delegation(1, |_| {}),
        world.departure(1, &identity(1)),
        world.remove(2),
        world.act(Deed::RevokeTokenAndNodes { token: token_id(3) }),
        world.delegation(3, |_| {}),
    ];
    let mut builder = restored(&world, &stored);
    assert_eq!(
        builder.put(world.node(1, 1, 1)),
        Err(Cause::Dead(Death::Departed))
    );
    assert_eq!(builder.put(world.node(2, 1, 1)), Err(Cause::Dead(Death::Removed)));
    assert_eq!(
        builder.put(world.node(3, 3, 1)),
        Err(Cause::Dead(Death::TokenRevoked(token_id(3))))
    );
    assert_eq!(builder.held().count(), stored.len());
    assert_eq!(builder.last_serial(), world.serial() - 1);
}
