//! A delegation: the root lets whoever holds a token's join key bring nodes in, on terms.

use std::net::Ipv4Addr;

use minicbor::{Decode, Decoder, Encode, Encoder};

use super::Statement;
use super::text::{self, MAX_LABEL};
use crate::id::{NetworkId, NodeId, TokenId};
use crate::keys::{JoinPublic, RootPublic, RootSecret};

/// Most tags of one token.
pub const MAX_TAGS: usize = 32;

/// What the root delegated to a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// The network.
    pub network: NetworkId,
    /// The token.
    pub token: TokenId,
    /// The public half of the token's join key.
    pub join: JoinPublic,
    /// Counts root-signed statements; of two for one token the higher serial is in force.
    pub serial: u64,
    /// Terms of the nodes that come by it.
    pub terms: Terms,
    /// What it fixes for a node.
    pub fixed: Fixed,
    /// How often and how long; judged by the coordinator alone.
    pub limits: Limits,
}

/// Terms on which a token's nodes are in the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Their tags.
    pub tags: Vec<String>,
    /// They are removed when they stay away.
    pub ephemeral: bool,
    /// They are out until an act approves them.
    pub approval: bool,
    /// For VM templates: a clone gets an identity of its own.
    pub template: bool,
}

/// What a token fixes for the one node that comes by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fixed {
    /// Host name: a DNS label.
    pub host_name: Option<String>,
    /// IPv4 address in the network.
    pub ipv4: Option<Ipv4Addr>,
    /// UDP port on which the node listens.
    pub listen_port: Option<u16>,
    /// The node that it replaces, which is dead from then on.
    pub replaces: Option<NodeId>,
}

/// How often and how long a token admits; the coordinator judges, since it alone counts and has a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Unix time in s from which on it admits nobody.
    pub not_after: Option<u64>,
    /// How many nodes it admits.
    pub uses: Option<u32>,
}

impl Statement for Delegation {
    const LABEL: &'static str = "meshd/delegation/v1";
    const WHAT: &'static str = "delegation";
    const SIGNER: &'static str = "the network's root";
    type Secret = RootSecret;
    type Public = RootPublic;

    fn check(&self) -> Result<(), String> {
        if self.terms.tags.len() > MAX_TAGS {
            return Err(format!(
                "{} tags; at most {MAX_TAGS} are allowed",
                self.terms.tags.len()
            ));
        }
        self.terms
            .tags
            .iter()
            .try_for_each(|tag| text::check("a tag", tag, MAX_LABEL))?;
        text::check_some("the host name", self.fixed.host_name.as_ref(), MAX_LABEL)
    }
}

/// The map on the wire, with its keys.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Wire {
    #[n(0)]
    network: NetworkId,
    #[n(1)]
    token: TokenId,
    #[n(2)]
    join: JoinPublic,
    #[n(3)]
    serial: u64,
    #[cbor(n(4), skip_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[cbor(n(5), skip_if = "is_false")]
    ephemeral: bool,
    #[cbor(n(6), skip_if = "is_false")]
    approval: bool,
    #[n(7)]
    host_name: Option<String>,
    #[n(8)]
    ipv4: Option<Ipv4Addr>,
    #[n(9)]
    listen_port: Option<u16>,
    #[n(10)]
    replaces: Option<NodeId>,
    #[n(11)]
    not_after: Option<u64>,
    #[n(12)]
    uses: Option<u32>,
    #[cbor(n(13), skip_if = "is_false")]
    template: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl<C> Encode<C> for Delegation {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let Terms {
            tags,
            ephemeral,
            approval,
            template,
        } = self.terms.clone();
        let Fixed {
            host_name,
            ipv4,
            listen_port,
            replaces,
        } = self.fixed.clone();
        let Limits { not_after, uses } = self.limits;
        let Self {
            network,
            token,
            join,
            serial,
            ..
        } = *self;
        #[rustfmt::skip]
        let wire = Wire {
            network, token, join, serial, tags, ephemeral, approval, host_name, ipv4, listen_port, replaces,
            not_after, uses, template,
        };
        wire.encode(e, ctx)
    }
}

impl<'b, C> Decode<'b, C> for Delegation {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        let wire = Wire::decode(d, ctx)?;
        Ok(Self {
            network: wire.network,
            token: wire.token,
            join: wire.join,
            serial: wire.serial,
            terms: Terms {
                tags: wire.tags,
                ephemeral: wire.ephemeral,
                approval: wire.approval,
                template: wire.template,
            },
            fixed: Fixed {
                host_name: wire.host_name,
                ipv4: wire.ipv4,
                listen_port: wire.listen_port,
                replaces: wire.replaces,
            },
            limits: Limits {
                not_after: wire.not_after,
                uses: wire.uses,
            },
        })
    }
}
