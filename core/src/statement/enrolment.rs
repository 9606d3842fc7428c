//! An enrolment: the holder of a token says which identity comes by it.

use minicbor::{Decode, Encode};

use super::Statement;
use crate::id::{NetworkId, NodeId, TokenId};
use crate::keys::{IdentityPublic, JoinPublic, JoinSecret};

/// An identity that came by a token, signed by the token's join key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Enrolment {
    /// The network.
    #[n(0)]
    pub network: NetworkId,
    /// The token.
    #[n(1)]
    pub token: TokenId,
    /// The node.
    #[n(2)]
    pub node: NodeId,
    /// Its identity key.
    #[n(3)]
    pub identity: IdentityPublic,
}

impl Statement for Enrolment {
    const LABEL: &'static str = "meshd/enrolment/v1";
    const WHAT: &'static str = "enrolment";
    const SIGNER: &'static str = "the token's join key";
    type Secret = JoinSecret;
    type Public = JoinPublic;

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}
