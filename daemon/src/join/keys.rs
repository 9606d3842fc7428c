//! Who joins: keys and a node id, made on this machine and never sent.

use crate::config::MAX_NETWORKS;
use crate::state::Membership;
use meshd_api::Problem;
use meshd_core::id::NodeId;
use meshd_core::keys::{DiscoverySecret, IdentitySecret, WireGuardSecret};
use meshd_core::statement::{Enrolment, Signed};
use meshd_core::token::JoinToken;
use rand_core::{OsRng, RngCore};
use std::collections::BTreeSet;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Keys and a node id that nobody has yet, enrolled under the token.
pub(super) fn fresh(token: &JoinToken, interface: u16) -> Membership {
    let identity = Arc::new(IdentitySecret::from_seed(&seed()));
    let mut node = [0; 16];
    OsRng.fill_bytes(&mut node);
    let node = NodeId::from_bytes(node);
    Membership {
        network: token.network(),
        root: token.root,
        name: String::new(),
        coordinators: vec![*token.coordinator.as_bytes()],
        addresses: token
            .addresses
            .iter()
            .map(|a| (a.host().to_owned(), a.port()))
            .collect(),
        node,
        enrolment: enrolment(token, node, &identity),
        identity,
        wireguard: WireGuardSecret::from_seed(&seed()),
        discovery: DiscoverySecret::from_seed(&seed()),
        allotted: None,
        interface,
        force: false,
    }
}

/// The keys of a try that got no answer, enrolled under the token at hand.
pub(super) fn tried_again(earlier: &Membership, token: &JoinToken) -> Membership {
    Membership {
        enrolment: enrolment(token, earlier.node, &earlier.identity),
        node: earlier.node,
        identity: earlier.identity.clone(),
        wireguard: earlier.wireguard.clone(),
        discovery: earlier.discovery.clone(),
        ..fresh(token, earlier.interface)
    }
}

fn enrolment(token: &JoinToken, node: NodeId, identity: &IdentitySecret) -> Vec<u8> {
    let enrolment = Enrolment {
        network: token.network(),
        token: token.id,
        node,
        identity: identity.public(),
    };
    let signed = Signed::sign(enrolment, &token.secret).expect("an enrolment has no limits to break");
    signed.bytes().to_vec()
}

fn seed() -> Zeroizing<[u8; 32]> {
    let mut seed = Zeroizing::new([0; 32]);
    OsRng.fill_bytes(&mut *seed);
    seed
}

/// The lowest interface number that no network of this instance has.
pub(super) fn free_interface(present: &[Membership]) -> Result<u16, Problem> {
    let taken: BTreeSet<u16> = present.iter().map(|m| m.interface).collect();
    (0..MAX_NETWORKS).find(|n| !taken.contains(n)).ok_or_else(|| {
        let sentence = format!(
            "this machine is in {MAX_NETWORKS} networks, and in no more; leave one, or run a second instance"
        );
        Problem::new("too-many-networks", sentence)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshd_core::keys::{CoordinatorSecret, JoinSecret, RootSecret};
    use meshd_core::token::CoordinatorAddress;

    fn memberships(interfaces: impl IntoIterator<Item = u16>) -> Vec<Membership> {
        let token = JoinToken {
            id: [1; 8].into(),
            secret: JoinSecret::from_seed(&[2; 32]),
            coordinator: CoordinatorSecret::from_seed(&[3; 32]).public(),
            root: RootSecret::from_seed(&[4; 32]).public(),
            addresses: vec![CoordinatorAddress::new("192.0.2.1", 443).unwrap()],
        };
        interfaces.into_iter().map(|n| fresh(&token, n)).collect()
    }

    #[test]
    fn the_lowest_free_interface_is_taken_and_a_full_machine_is_told_what_to_do() {
        assert_eq!(free_interface(&memberships([0, 1, 3])).unwrap(), 2);
        let said = free_interface(&memberships(0..MAX_NETWORKS)).unwrap_err();
        assert_eq!(said.code, "too-many-networks");
        assert!(
            said.message.contains("64 networks") && said.message.contains("leave one"),
            "{said}"
        );
    }
}
