//! A coordinator that was broken into, without the root key: whatever it hands out, it adds no peer and changes no key,
//! nothing that was taken back comes again, and the node says which node it was about and why.

use super::world::*;
use crate::keys::{CoordinatorSecret, IdentitySecret, RootSecret, WireGuardSecret};
use crate::map::{Body, Death, Entry, MapError, NodeEntry};
use crate::statement::{Act, Deed, Params, Signed};

#[test]
fn it_cannot_add_a_peer() {
    let it = before();
    let mut told = it.told();
    // a node by a token that the root never delegated, and one by a token of its own make
    let forged = it.world.node(9, 9, 1);
    let mut tell = |token: Option<&Entry>| {
        let mut entries = vec![&it.params, &it.delegation, &it.a, &it.b, &forged];
        entries.extend(token);
        assert_eq!(told.tell(&entries).unwrap().joined, []);
        assert!(!told.is_in(9) && told.is_in(1) && told.is_in(2));
        told.says(&["0909090909", "chain is broken", "no delegation"]);
    };
    tell(None);
    let own_root = World {
        root: RootSecret::from_seed(&[1; 32]),
        ..World::new()
    };
    let Body::Delegation(own) = own_root
        .delegation(9, |d| d.network = it.world.network())
        .body()
        .clone()
    else {
        panic!()
    };
    let own: Entry = Body::Delegation(own).into();
    tell(Some(&own));
    told.says(&["delegation that the network's root did not sign"]);
}

#[test]
fn it_cannot_enrol_without_the_tokens_secret() {
    let it = before();
    let mut told = it.told();
    let Body::Node(mut node) = it.world.node(9, 9, 1).body().clone() else {
        panic!()
    };
    let claims_token_1 = crate::statement::Enrolment {
        token: token_id(1),
        ..node.enrolment.value().clone()
    };
    node.enrolment = Signed::sign(claims_token_1, &join_key(9)).unwrap();
    let forged = Body::Node(node).into();
    told.tell(&[&it.params, &it.delegation, &it.a, &it.b, &forged])
        .unwrap();
    assert!(!told.is_in(9));
    told.says(&[
        "0909090909",
        "not signed by the join key of token 0101010101010101",
    ]);
}

#[test]
fn it_cannot_change_a_wireguard_key() {
    let it = before();
    let mut told = it.told();
    let attacker = IdentitySecret::from_seed(&[0xee; 32]);
    let record = it.world.record(1, 6, |record| {
        record.wireguard = WireGuardSecret::from_seed(&[0xee; 32]).public();
    });
    let forged = Body::Node(NodeEntry {
        enrolment: it.world.enrolment(1, 1, &identity(1)),
        record: Signed::sign(record, &attacker).unwrap(),
    });
    told.tell(&[&it.params, &it.delegation, &forged.into(), &it.b])
        .unwrap();
    told.says(&[
        "\"node-1\"",
        "01010101",
        "WireGuard key",
        "not signed by its identity key",
    ]);
    let node = &told.holder.view().unwrap().nodes[&node_id(1)];
    assert_eq!(node.keys.wireguard, WireGuardSecret::from_seed(&[1; 32]).public());
}

#[test]
fn it_cannot_change_an_identity_even_with_a_token() {
    let it = before();
    for restart in [false, true] {
        let mut told = it.told();
        if restart {
            told.restart();
        }
        let attacker = IdentitySecret::from_seed(&[0xee; 32]);
        let forged = Body::Node(NodeEntry {
            enrolment: it.world.enrolment(1, 1, &attacker),
            record: Signed::sign(it.world.record(1, 9, |_| {}), &attacker).unwrap(),
        });
        told.tell(&[&it.params, &it.delegation, &forged.into(), &it.b])
            .unwrap();
        told.says(&["\"node-1\"", "key changed", &identity(1).public().to_string()]);
        assert_eq!(
            told.holder.view().unwrap().nodes[&node_id(1)].keys.identity,
            identity(1).public()
        );
    }
}

#[test]
fn two_identities_for_an_unknown_node_are_both_refused() {
    let it = before();
    let attacker = IdentitySecret::from_seed(&[0xee; 32]);
    let forged = Body::Node(NodeEntry {
        enrolment: it.world.enrolment(1, 1, &attacker),
        record: Signed::sign(it.world.record(1, 9, |_| {}), &attacker).unwrap(),
    });
    let told = Told::new(&it.world, &[&it.params, &it.delegation, &it.a, &forged.into()]);
    assert!(!told.is_in(1));
    told.says(&["01010101", "two identity keys"]);
}

#[test]
fn it_cannot_roll_back_a_record() {
    let it = before();
    for restart in [false, true] {
        let mut told = it.told();
        let newer = it.world.node_with(1, 1, 6, |record| record.candidates.clear());
        told.tell(&[&it.params, &it.delegation, &newer, &it.b]).unwrap();
        told.is_content();
        if restart {
            told.restart();
        }
        told.tell(&[&it.params, &it.delegation, &it.a, &it.b]).unwrap();
        assert_eq!(told.serial_of(1), 6);
        told.says(&["\"node-1\"", "older record (serial 5)", "serial 6"]);
        let same_serial = it.world.node_with(1, 1, 6, |record| record.version = "9".into());
        told.tell(&[&it.params, &it.delegation, &same_serial, &it.b])
            .unwrap();
        assert!(
            told.holder.view().unwrap().nodes[&node_id(1)]
                .candidates
                .is_empty()
        );
        told.says(&["\"node-1\"", "older record (serial 6)"]);
    }
}

#[test]
fn it_cannot_drop_a_tombstone_or_re_add_the_node() {
    let it = before();
    let removals: [(&str, Entry); 3] = [
        ("an admin removed it", it.world.remove(1)),
        ("it left the network", it.world.departure(1, &identity(1))),
        (
            "revoked token",
            it.world.act(Deed::RevokeTokenAndNodes { token: token_id(1) }),
        ),
    ];
    for (why, removal) in &removals {
        for restart in [false, true] {
            let mut told = it.told();
            let changes = told.tell(&[&it.params, &it.delegation, removal]).unwrap();
            assert!(changes.left.contains(&node_id(1)), "{why}");
            if restart {
                told.restart();
                assert!(!told.is_in(1), "{why}");
            }
            told.tell(&[&it.params, &it.delegation, &it.b]).unwrap();
            assert!(!told.is_in(1), "{why}");
            told.says(&["\"node-1\"", "no longer says", why]);
            let again = it.world.node(1, 1, 7);
            told.tell(&[&it.params, &it.delegation, &again, &it.b]).unwrap();
            assert!(!told.is_in(1), "{why}");
            told.says(&["\"node-1\"", "refused", why]);
        }
    }
}

#[test]
fn a_removal_seen_before_its_node_counts() {
    let it = before();
    for removal in [it.world.remove(1), it.world.departure(1, &identity(1))] {
        let mut told = Told::new(&it.world, &[&it.params, &it.delegation, &removal, &it.b]);
        told.restart();
        told.tell(&[&it.params, &it.delegation, &it.a, &it.b]).unwrap();
        assert!(!told.is_in(1) && told.is_in(2));
    }
}

#[test]
fn it_cannot_make_a_node_leave() {
    let it = before();
    let mut told = it.told();
    let false_departure = it.world.departure(1, &IdentitySecret::from_seed(&[0xee; 32]));
    let own_root = RootSecret::from_seed(&[1; 32]);
    let deed = Deed::Remove {
        node: node_id(2),
        name: None,
        blocked_until: None,
    };
    let act = Act {
        network: it.world.network(),
        serial: 99,
        deed,
    };
    let false_act = Body::Act(Signed::sign(act, &own_root).unwrap()).into();
    told.tell(&[
        &it.params,
        &it.delegation,
        &it.a,
        &it.b,
        &false_departure,
        &false_act,
    ])
    .unwrap();
    assert!(told.is_in(1) && told.is_in(2));
    told.says(&["\"node-1\"", "departure", "did not sign"]);
    told.says(&["admin act", "did not sign"]);
}

#[test]
fn it_cannot_make_a_node_vanish() {
    let it = before();
    let mut told = it.told();
    let changes = told.tell(&[&it.params, &it.delegation, &it.b]).unwrap();
    assert_eq!(changes.left, []);
    told.restart();
    assert!(told.is_in(1));
    told.says(&["\"node-1\"", "omits", "nobody removed it"]);
}

#[test]
fn it_cannot_go_back_in_version_or_say_two_things() {
    let it = before();
    let mut told = it.told();
    told.tell(&[&it.params, &it.delegation, &it.a]).unwrap();
    told.restart();
    let old = it.world.map((1, 1), &[&it.params, &it.delegation, &it.a, &it.b]);
    assert!(matches!(told.holder.apply_full(old), Err(MapError::Older { .. })));
    let other_epoch = it.world.map((0, 99), &[&it.params]);
    assert!(matches!(
        told.holder.apply_full(other_epoch),
        Err(MapError::Older { .. })
    ));
    let fork = it.world.map((1, 2), &[&it.params]);
    assert_eq!(told.holder.apply_full(fork), Err(MapError::Forked((1, 2))));
    let same = it.world.map((1, 2), &[&it.params, &it.delegation, &it.a]);
    assert_eq!(
        told.holder.apply_full(same).unwrap(),
        crate::map::Changes::default()
    );
}

#[test]
fn another_coordinator_or_network_is_refused() {
    let it = before();
    let mut told = it.told();
    let other = World {
        coordinator: CoordinatorSecret::from_seed(&[1; 32]),
        ..World::new()
    };
    let error = told
        .holder
        .apply_full(other.map((1, 9), &[&it.params]))
        .unwrap_err();
    assert!(
        error.to_string().contains("not signed by the coordinator"),
        "{error}"
    );
    let other = World {
        root: RootSecret::from_seed(&[1; 32]),
        ..World::new()
    };
    let error = told
        .holder
        .apply_full(other.map((1, 9), &[&other.params()]))
        .unwrap_err();
    assert_eq!(error, MapError::WrongNetwork);
}

#[test]
fn parameters_are_the_roots_and_never_older() {
    let it = before();
    let mut told = it.told();
    let Body::Params(params) = it.params.body() else {
        panic!()
    };
    let newer = Params {
        serial: 50,
        mtu: 1280,
        ..params.value().clone()
    };
    let newer = Body::Params(Signed::sign(newer, &it.world.root).unwrap()).into();
    assert!(told.tell(&[&newer, &it.delegation, &it.a, &it.b]).unwrap().params);
    told.restart();
    assert!(
        !told
            .tell(&[&it.params, &it.delegation, &it.a, &it.b])
            .unwrap()
            .params
    );
    assert_eq!(told.holder.view().unwrap().params.mtu, 1280);
    told.says(&["older set of network parameters (serial 1)"]);
    let own = Params {
        serial: 60,
        mtu: 1408,
        ..params.value().clone()
    };
    let own = Body::Params(Signed::sign(own, &RootSecret::from_seed(&[1; 32])).unwrap()).into();
    told.tell(&[&own, &it.delegation, &it.a, &it.b]).unwrap();
    assert_eq!(told.holder.view().unwrap().params.mtu, 1280);
    let mut fresh = it.world.holder();
    let error = fresh.apply_full(it.world.map((1, 1), &[&own, &it.delegation, &it.a]));
    assert_eq!(error, Err(MapError::NoParams));
}

#[test]
fn a_delegation_is_never_older() {
    let it = before();
    let mut told = it.told();
    let newer = it.world.delegation(1, |d| d.terms.tags = vec!["plain".into()]);
    told.tell(&[&it.params, &newer, &it.a, &it.b]).unwrap();
    told.restart();
    told.tell(&[&it.params, &it.delegation, &it.a, &it.b]).unwrap();
    told.says(&["older delegation"]);
    assert_eq!(
        told.holder.view().unwrap().nodes[&node_id(1)]
            .membership
            .terms
            .tags,
        ["plain"]
    );
}

#[test]
fn a_statement_of_another_network_is_refused() {
    let it = before();
    let mut told = it.told();
    let foreign = World {
        root: RootSecret::from_seed(&[1; 32]),
        ..World::new()
    };
    let Body::Node(theirs) = foreign.node(3, 1, 1).body().clone() else {
        panic!()
    };
    let Body::Node(ours) = it.world.node(3, 1, 1).body().clone() else {
        panic!()
    };
    let mixed = [
        NodeEntry {
            enrolment: ours.enrolment.clone(),
            record: theirs.record.clone(),
        },
        NodeEntry {
            enrolment: theirs.enrolment,
            record: ours.record,
        },
    ];
    for node in mixed {
        told.tell(&[&it.params, &it.delegation, &it.a, &it.b, &Body::Node(node).into()])
            .unwrap();
        assert!(!told.is_in(3));
        told.says(&["0303030303", "another network"]);
    }
    let Body::Node(other) = it.world.node(4, 1, 1).body().clone() else {
        panic!()
    };
    let mixed = Body::Node(NodeEntry {
        enrolment: ours.enrolment,
        record: other.record,
    })
    .into();
    told.tell(&[&it.params, &it.delegation, &it.a, &it.b, &mixed])
        .unwrap();
    told.says(&["0303030303", "its record is node 0404040404"]);
}

#[test]
fn it_cannot_bring_a_replaced_node_back_after_a_restart() {
    let it = before();
    let mut told = it.told();
    let replacing = it.world.delegation(2, |d| d.fixed.replaces = Some(node_id(1)));
    let new = it.world.node(3, 2, 1);
    told.tell(&[&it.params, &it.delegation, &replacing, &new, &it.b])
        .unwrap();
    told.restart();
    told.tell(&[&it.params, &it.delegation, &it.a, &it.b]).unwrap();
    assert!(!told.is_in(1));
    assert_eq!(
        told.holder.death_of(node_id(1)),
        Some(Death::ReplacedBy(node_id(3)))
    );
}
