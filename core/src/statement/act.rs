//! An admin act: what the root did to a node, a name or a token.

use minicbor::{Decode, Decoder, Encode, Encoder};

use super::Statement;
use super::text::{self, MAX_TEXT};
use crate::id::{NetworkId, NodeId, TokenId};
use crate::keys::{RootPublic, RootSecret};

/// Something that an admin did, signed by the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// The network.
    pub network: NetworkId,
    /// Counts root-signed statements; of two acts on one thing the higher serial is in force.
    pub serial: u64,
    /// What was done.
    pub deed: Deed,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Kind 1: the node is out, for good.
    Remove {
        /// The node.
        node: NodeId,
        /// The name that nobody else may take for a while.
        name: Option<String>,
        /// Until when (unix time in s).
        blocked_until: Option<u64>,
    },
    /// Kind 2: the node, which waited for it, is in.
    Approve {
        /// The node.
        node: NodeId,
    },
    /// Kind 3: the node is called otherwise than it says.
    Rename {
        /// The node.
        node: NodeId,
        /// The new name: a DNS label.
        name: String,
    },
    /// Kind 4: a name blocked by a removal may be taken again.
    FreeName {
        /// The name.
        name: String,
    },
    /// Kind 5: the token admits nobody any more. The coordinator judges; nodes that came by it stay.
    RevokeToken {
        /// The token.
        token: TokenId,
    },
    /// Kind 6: the token admits nobody, and who came by it is out, for good.
    RevokeTokenAndNodes {
        /// The token.
        token: TokenId,
    },
    /// Of a newer release; kept in the map, of no effect here.
    Unknown {
        /// Its kind.
        kind: u64,
    },
}

impl Statement for Act {
    const LABEL: &'static str = "meshd/act/v1";
    const WHAT: &'static str = "admin act";
    const SIGNER: &'static str = "the network's root";
    type Secret = RootSecret;
    type Public = RootPublic;

    fn check(&self) -> Result<(), String> {
        match &self.deed {
            Deed::Rename { name, .. } | Deed::FreeName { name } => text::check("the name", name, MAX_TEXT),
            Deed::Remove { name, .. } => text::check_some("the name", name.as_ref(), MAX_TEXT),
            Deed::Approve { .. }
            | Deed::RevokeToken { .. }
            | Deed::RevokeTokenAndNodes { .. }
            | Deed::Unknown { .. } => Ok(()),
        }
    }
}

/// The map on the wire, with its keys.
#[derive(Default, Encode, Decode)]
#[cbor(map)]
struct Wire {
    #[n(2)]
    kind: u64,
    #[n(3)]
    node: Option<NodeId>,
    #[n(4)]
    text: Option<String>,
    #[n(5)]
    token: Option<TokenId>,
    #[n(6)]
    until: Option<u64>,
    #[n(0)]
    network: Option<NetworkId>,
    #[n(1)]
    serial: u64,
}

impl<C> Encode<C> for Act {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let node = |node: &NodeId| Wire {
            node: Some(*node),
            ..Wire::default()
        };
        let token = |token: &TokenId| Wire {
            token: Some(*token),
            ..Wire::default()
        };
        let unknown = minicbor::encode::Error::message("an act of unknown kind cannot be made");
        let (kind, wire) = match &self.deed {
            Deed::Remove {
                node: id,
                name,
                blocked_until,
            } => (
                1,
                Wire {
                    text: name.clone(),
                    until: *blocked_until,
                    ..node(id)
                },
            ),
            Deed::Approve { node: id } => (2, node(id)),
            Deed::Rename { node: id, name } => (
                3,
                Wire {
                    text: Some(name.clone()),
                    ..node(id)
                },
            ),
            Deed::FreeName { name } => (
                4,
                Wire {
                    text: Some(name.clone()),
                    ..Wire::default()
                },
            ),
            Deed::RevokeToken { token: id } => (5, token(id)),
            Deed::RevokeTokenAndNodes { token: id } => (6, token(id)),
            Deed::Unknown { .. } => return Err(unknown),
        };
        let wire = Wire {
            kind,
            network: Some(self.network),
            serial: self.serial,
            ..wire
        };
        wire.encode(e, ctx)
    }
}

impl<'b, C> Decode<'b, C> for Act {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        let Wire {
            kind,
            node,
            text,
            token,
            until,
            network,
            serial,
        } = Wire::decode(d, ctx)?;
        let missing = |what| minicbor::decode::Error::message(what);
        let node = || node.ok_or_else(|| missing("the act names no node"));
        let name = || text.clone().ok_or_else(|| missing("the act names no name"));
        let token = || token.ok_or_else(|| missing("the act names no token"));
        let deed = match kind {
            1 => Deed::Remove {
                node: node()?,
                name: text,
                blocked_until: until,
            },
            2 => Deed::Approve { node: node()? },
            3 => Deed::Rename {
                node: node()?,
                name: name()?,
            },
            4 => Deed::FreeName { name: name()? },
            5 => Deed::RevokeToken { token: token()? },
            6 => Deed::RevokeTokenAndNodes { token: token()? },
            kind => Deed::Unknown { kind },
        };
        Ok(Self {
            network: network.ok_or_else(|| missing("the act names no network"))?,
            serial,
            deed,
        })
    }
}
