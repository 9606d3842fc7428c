//! Any bytes are a map, an entry or a saved state, or refused; and whatever entry a coordinator signs into a map, a node
//! judges it and believes nobody by it.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use meshd_core::id::NetworkId;
use meshd_core::keys::{CoordinatorSecret, LanKey, RootSecret};
use meshd_core::map::{Body, Entry, MapBuilder, MapHolder, NetworkMap, digest};
use meshd_core::statement::{MapHeader, Params, Signed};

/// As in `seeds.rs`.
const ROOT: [u8; 32] = [0xaa; 32];
const COORDINATOR: [u8; 32] = [0xcc; 32];

fn params(root: &RootSecret) -> Entry {
    let params = Params {
        root: root.public(),
        serial: 1,
        name: "prod".into(),
        ipv4: "10.77.0.0/16".parse().expect("a prefix"),
        ipv6: "fd01::/64".parse().expect("a prefix"),
        mtu: 1408,
        lan_key: LanKey::from_bytes([4; 32]),
    };
    Body::Params(Signed::sign(params, root).expect("good parameters")).into()
}

fn judge(entry: Entry) {
    let (root, coordinator) = (
        RootSecret::from_seed(&ROOT),
        CoordinatorSecret::from_seed(&COORDINATOR),
    );
    let entries = [params(&root), entry.clone()];
    let entries: BTreeMap<_, _> = entries.map(|entry| (entry.key(), Arc::new(entry))).into();
    let network = NetworkId::of_root(&root.public());
    let header = MapHeader {
        network,
        epoch: 1,
        version: 1,
        digest: digest(entries.keys()),
    };
    let header = Signed::sign(header, &coordinator).expect("a good header");
    let map = NetworkMap::new(header, entries).expect("the digest is right");
    let mut holder = MapHolder::new(root.public(), vec![coordinator.public()]);
    holder.apply_full(map).expect("a map with parameters");
    let view = holder.view().expect("there is one");
    assert!(view.nodes.is_empty(), "no delegation, no node");
    for refusal in &view.refusals {
        assert!(!refusal.to_string().chars().any(char::is_control));
    }
    let saved = holder.save();
    MapHolder::restore(root.public(), vec![coordinator.public()], &saved).expect("what was saved");
    let _ = MapBuilder::new(root.public(), (1, 0)).absorb([entry]);
}

fuzz_target!(|data: &[u8]| {
    let Some((what, bytes)) = data.split_first() else {
        return;
    };
    match what % 3 {
        0 => {
            if let Ok(map) = NetworkMap::decode(bytes) {
                let again = NetworkMap::decode(&map.encode()).expect("what was read can be written");
                assert_eq!(again.entries(), map.entries());
            }
        }
        1 => {
            if let Ok(entry) = Entry::decode(bytes) {
                assert_eq!(entry.encode(), bytes);
                judge(entry);
            }
        }
        _ => {
            let root = RootSecret::from_seed(&ROOT).public();
            if let Ok(holder) = MapHolder::restore(root, Vec::new(), bytes) {
                let _ = holder.testimony();
                let again = MapHolder::restore(root, Vec::new(), &holder.save());
                again.expect("what was restored can be saved");
            }
        }
    }
});
