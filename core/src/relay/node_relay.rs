//! Nodes as relays for their network (docs/wire.md section 6): the admin marks one by an act of the root, and every node
//! that reaches it directly binds there as at any relay.
//!
//! Nobody hands out keys: the bind key follows from the discovery keys of the two, which their records show. A node relay
//! is used at the one address at which it answered by discovery, so nothing is sent where nobody proved to be.

use crate::id::{NetworkId, NodeId, RelayId};
use crate::keys::{BindKey, DiscoveryPublic, DiscoverySecret, blake2s};

/// The id by which a node is known as a relay.
pub fn relay_id(network: NetworkId, relay: NodeId) -> RelayId {
    let hash = blake2s(&[b"meshd node relay id v1", network.as_bytes(), relay.as_bytes()]);
    let mut id = [0; 8];
    id.copy_from_slice(&hash[..8]);
    RelayId::from_bytes(id)
}

/// Who binds, and at whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Their network.
    pub network: NetworkId,
    /// The node that binds.
    pub node: NodeId,
    /// The node that relays.
    pub relay: NodeId,
}

impl Pair {
    /// The bind key between the two, from one's own discovery key and the other's; none where the other's is a key with
    /// which everything is shared.
    pub fn bind_key(&self, own: &DiscoverySecret, other: &DiscoveryPublic) -> Option<BindKey> {
        let shared = own.agree(other)?;
        Some(BindKey::from_bytes(blake2s(&[
            b"meshd node relay v1",
            &*shared,
            self.network.as_bytes(),
            self.node.as_bytes(),
            self.relay.as_bytes(),
        ])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_have_the_same_key_and_nobody_else_has_it() {
        let secrets = [1, 2, 3].map(|seed| DiscoverySecret::from_seed(&[seed; 32]));
        let pair = Pair {
            network: NetworkId::from_bytes([1; 16]),
            node: NodeId::from_bytes([2; 16]),
            relay: NodeId::from_bytes([3; 16]),
        };
        let [node, relay, other] = &secrets;
        let key = pair.bind_key(node, &relay.public());
        assert!(key.is_some() && key == pair.bind_key(relay, &node.public()));
        assert!(key != pair.bind_key(other, &relay.public()));
        let elsewhere = Pair {
            network: NetworkId::from_bytes([9; 16]),
            ..pair
        };
        assert!(key != elsewhere.bind_key(node, &relay.public()));
        let (here, there) = (
            relay_id(pair.network, pair.relay),
            relay_id(elsewhere.network, pair.relay),
        );
        assert_ne!(here, there);
    }
}
