//! A departure: a node says that it left, for good.

use minicbor::{Decode, Encode};

use super::Statement;
use crate::id::{NetworkId, NodeId};
use crate::keys::{IdentityPublic, IdentitySecret};

/// A node's own goodbye, signed by its identity.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Departure {
    /// The network.
    #[n(0)]
    pub network: NetworkId,
    /// The node.
    #[n(1)]
    pub node: NodeId,
    /// Counts the node's statements, together with its records.
    #[n(2)]
    pub serial: u64,
}

impl Statement for Departure {
    const LABEL: &'static str = "meshd/departure/v1";
    const WHAT: &'static str = "departure";
    const SIGNER: &'static str = "the node's identity";
    type Secret = IdentitySecret;
    type Public = IdentityPublic;

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}
