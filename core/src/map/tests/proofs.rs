//! Proofs of a removal, given to the node that is out: what counts, and what does not.

use super::world::{World, identity, node_id, token_id};
use crate::map::{Body, Death, Entry, RemovalProof};
use crate::statement::{Deed, Enrolment};

fn own(world: &World) -> Enrolment {
    world.enrolment(1, 7, &identity(1)).value().clone()
}

/// What these entries prove to node 1, which came by token 7; over the wire.
fn proven(world: &World, entries: &[&Entry]) -> Option<Death> {
    let proof = RemovalProof::new(entries.iter().map(|entry| (*entry).clone()));
    let read = RemovalProof::decode(&proof.encode()).unwrap();
    assert_eq!(read, proof);
    read.death_of(&world.root.public(), &own(world))
}

fn replacing(world: &World, old: u8, approval: bool) -> Entry {
    world.delegation(8, |delegation| {
        delegation.fixed.replaces = Some(node_id(old));
        delegation.terms.approval = approval;
    })
}

#[test]
fn acts_departure_and_replacement_are_proofs() {
    let world = World::new();
    assert_eq!(proven(&world, &[&world.remove(1)]), Some(Death::Removed));
    let ousted = world.act(Deed::RevokeTokenAndNodes { token: token_id(7) });
    assert_eq!(proven(&world, &[&ousted]), Some(Death::TokenRevoked(token_id(7))));
    let left = world.departure(1, &identity(1));
    assert_eq!(proven(&world, &[&left]), Some(Death::Departed));
    let (delegation, node) = (replacing(&world, 1, false), world.node(2, 8, 1));
    let death = Some(Death::ReplacedBy(node_id(2)));
    assert_eq!(proven(&world, &[&delegation, &node]), death);
    let (waits, approved) = (
        replacing(&world, 1, true),
        world.act(Deed::Approve { node: node_id(2) }),
    );
    assert_eq!(proven(&world, &[&waits, &approved, &node]), death);
}

#[test]
fn what_is_about_others_or_signed_by_others_proves_nothing() {
    let world = World::new();
    let evil = World {
        root: crate::keys::RootSecret::from_seed(&[0xee; 32]),
        ..World::new()
    };
    let (delegation, node) = (replacing(&world, 1, false), world.node(2, 8, 1));
    let nothing: [&[&Entry]; 11] = [
        &[&world.remove(2)],
        &[&evil.remove(1)],
        &[&world.act(Deed::RevokeToken { token: token_id(7) })],
        &[&world.act(Deed::RevokeTokenAndNodes { token: token_id(8) })],
        &[&world.departure(1, &identity(2))],
        &[&world.departure(2, &identity(1))],
        &[&delegation],
        &[&node],
        &[&replacing(&world, 2, false), &node],
        &[&replacing(&evil, 1, false), &node],
        &[&replacing(&world, 1, true), &node],
    ];
    for (case, entries) in nothing.into_iter().enumerate() {
        assert_eq!(proven(&world, entries), None, "case {case}");
    }
    assert_eq!(
        proven(&world, &[&delegation, &world.node(1, 8, 1)]),
        None,
        "itself"
    );
}

#[test]
fn what_is_not_a_proof_is_refused_whatever_it_is() {
    let world = World::new();
    let proof = RemovalProof::new([world.remove(1)]).encode();
    for cut in 0..proof.len() {
        assert!(RemovalProof::decode(&proof[..cut]).is_err(), "{cut}");
    }
    assert!(RemovalProof::decode(&[&proof[..], b"x"].concat()).is_err());
    assert!(RemovalProof::decode(&[0x80]).is_err(), "none");
    let four = RemovalProof::new((0..4).map(|_| world.remove(1))).encode();
    assert!(RemovalProof::decode(&four).is_err(), "too many");
    let Body::Departure(departure) = world.departure(1, &identity(1)).body().clone() else {
        unreachable!("a departure")
    };
    assert!(
        RemovalProof::decode(departure.bytes()).is_err(),
        "a bare statement"
    );
}
