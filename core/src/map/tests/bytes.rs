//! Bytes: round trips, totality, and that no bit can be turned.

use proptest::prelude::*;

use super::world::*;
use crate::map::{Body, Delta, Entry, MapError, MapHolder, NetworkMap};
use crate::statement::Signed;

fn sample(world: &World) -> NetworkMap {
    let entries = [
        world.params(),
        world.delegation(1, |_| {}),
        world.node(1, 1, 1),
        world.remove(2),
        world.departure(1, &identity(3)),
    ];
    world.map((1, 1), &entries.iter().collect::<Vec<_>>())
}

#[test]
fn a_map_is_read_as_it_was_written() {
    let world = World::new();
    let bytes = sample(&world).encode();
    let read = NetworkMap::decode(&bytes).unwrap();
    assert_eq!(read.encode(), bytes);
    for entry in read.entries().values() {
        assert_eq!(Entry::decode(&entry.encode()).unwrap().body(), entry.body());
    }
}

#[test]
fn no_bit_of_a_map_can_be_turned() {
    let world = World::new();
    let bytes = sample(&world).encode();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let taken = NetworkMap::decode(&flipped).and_then(|map| world.holder().apply_full(map));
        assert!(taken.is_err(), "bit {bit}");
    }
}

#[test]
fn entries_of_a_newer_kind_are_kept_and_of_no_effect() {
    let world = World::new();
    let newer = Entry::decode(&[0x82, 0x07, 0x61, 0x61]).unwrap();
    assert!(matches!(newer.body(), Body::Newer(_)));
    let broken = Entry::decode(&[0x82, 0x00, 0x61, 0x61]).unwrap();
    assert!(matches!(broken.body(), Body::Broken { .. }));
    let told = Told::new(&world, &[&world.params(), &newer, &broken]);
    assert_eq!(told.sentences().len(), 1);
    told.says(&["network map", &broken.key().to_string()]);
    let map = told.holder.map().unwrap();
    assert_eq!(NetworkMap::decode(&map.encode()).unwrap().encode(), map.encode());
}

#[test]
fn an_entry_has_one_form() {
    let world = World::new();
    let bytes = world.remove(1).encode();
    let longer = [&[0x98, 0x02][..], &bytes[1..]].concat();
    assert!(matches!(
        Entry::decode(&longer).unwrap().body(),
        Body::Broken { .. }
    ));
    assert!(Entry::decode(&[&bytes[..], &[0]].concat()).is_err());
    assert!(Entry::decode(&bytes[..bytes.len() - 1]).is_err());
}

#[test]
fn too_large_maps_are_refused_unread() {
    let bytes = vec![0x80; crate::map::MAX_MAP + 1];
    assert!(matches!(NetworkMap::decode(&bytes), Err(MapError::TooLarge(_))));
}

#[test]
fn a_delta_is_put_together_from_the_streams_parts() {
    let world = World::new();
    let (entry, header) = (world.remove(1), sample(&world).header().clone());
    let key = entry.key();
    let delta = Delta::from_parts(0, header.bytes(), [&entry.encode()[..]], [&key.0[..]]).unwrap();
    assert_eq!((delta.add[0].key(), delta.drop[0]), (key, key));
    assert!(Delta::from_parts(0, header.bytes(), [], [&[0; 31][..]]).is_err());
    assert!(Delta::from_parts(0, &[0x80], [], []).is_err());
}

#[test]
fn what_is_saved_is_read_back() {
    let world = World::new();
    let mut told = Told::new(
        &world,
        &[
            &world.params(),
            &world.delegation(1, |_| {}),
            &world.node(1, 1, 1),
        ],
    );
    let (saved, view) = (told.holder.save(), told.holder.view().unwrap().nodes.clone());
    told.restart();
    assert_eq!(told.holder.view().unwrap().nodes, view);
    assert_eq!(told.holder.save(), saved);
    let other = crate::keys::RootSecret::from_seed(&[1; 32]).public();
    assert!(MapHolder::restore(other, Vec::new(), &saved).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = NetworkMap::decode(&bytes);
        let _ = Entry::decode(&bytes);
        let _ = MapHolder::restore(World::new().root.public(), Vec::new(), &bytes);
        let _ = Signed::<crate::statement::MapHeader>::decode(&bytes);
    }

    #[test]
    fn a_damaged_map_never_panics(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end in any::<prop::sample::Index>(),
    ) {
        let world = World::new();
        let mut bytes = sample(&world).encode();
        for (place, value) in cuts {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        bytes.truncate(end.index(bytes.len()) + 1);
        let _ = NetworkMap::decode(&bytes);
    }

    #[test]
    fn a_damaged_save_never_panics(place in any::<prop::sample::Index>(), value: u8) {
        let world = World::new();
        let told = Told::new(&world, &[&world.params(), &world.delegation(1, |_| {}), &world.node(1, 1, 1), &world.remove(2)]);
        let mut bytes = told.holder.save();
        let place = place.index(bytes.len());
        bytes[place] = value;
        let _ = MapHolder::restore(world.root.public(), Vec::new(), &bytes);
    }
}
