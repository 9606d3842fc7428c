//! An act's payload: a CBOR map whose keys mean what its kind makes of them (docs/wire.md section 2).

mod expose;
mod fields;
mod ingress;

use minicbor::{Decode, Decoder, Encode, Encoder};

use super::{Act, Deed};
use crate::id::{NetworkId, NodeId, TokenId};
use minicbor::bytes::ByteVec;

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
    #[n(7)]
    published: Option<String>,
    #[n(8)]
    nat: Option<bool>,
    #[n(9)]
    priority: Option<u32>,
    #[cbor(n(10), skip_if = "Vec::is_empty")]
    to_nodes: Vec<NodeId>,
    #[cbor(n(11), skip_if = "Vec::is_empty")]
    to_tags: Vec<String>,
    #[n(12)]
    node_prefix: Option<u8>,
    #[cbor(n(13), skip_if = "Vec::is_empty")]
    services: Vec<String>,
    #[n(14)]
    pods: Option<String>,
    #[n(15)]
    port: Option<u16>,
    #[cbor(n(16), skip_if = "Vec::is_empty")]
    ports: Vec<u16>,
    #[cbor(n(17), skip_if = "Vec::is_empty")]
    authorities: Vec<ByteVec>,
    #[cbor(n(18), skip_if = "Vec::is_empty")]
    names: Vec<String>,
    #[n(24)]
    protocol: Option<u8>,
    #[cbor(n(25), skip_if = "Vec::is_empty")]
    sites: Vec<String>,
    #[n(26)]
    proxy: Option<u8>,
    #[n(27)]
    connections: Option<u32>,
    #[n(28)]
    per_second: Option<u32>,
    #[n(29)]
    idle: Option<u32>,
    #[cbor(n(30), skip_if = "Vec::is_empty")]
    ranges: Vec<String>,
    #[cbor(n(31), skip_if = "Vec::is_empty")]
    namespaces: Vec<String>,
    #[cbor(n(32), skip_if = "Vec::is_empty")]
    pool: Vec<String>,
    #[n(33)]
    default_class: Option<bool>,
    #[n(34)]
    listeners: Option<u16>,
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
            Deed::Gateway { node, terms } => (
                7,
                Wire {
                    node: Some(*node),
                    ..Wire::from(terms)
                },
            ),
            Deed::WithdrawGateway { node: id, range } => (
                8,
                Wire {
                    text: Some(range.to_string()),
                    ..node(id)
                },
            ),
            Deed::Relay { node: id, on } => (if *on { 20 } else { 21 }, node(id)),
            Deed::PodNetwork { terms } => (9, Wire::from(terms)),
            Deed::PodPrefixes { node, prefixes } => (
                10,
                Wire {
                    node: Some(*node),
                    ..Wire::from(prefixes)
                },
            ),
            Deed::Grant { grant, on } => (if *on { 11 } else { 12 }, Wire::from(grant)),
            Deed::Endpoint { name, terms } => (
                13,
                Wire {
                    text: Some(name.clone()),
                    ..Wire::from(terms)
                },
            ),
            Deed::WithdrawEndpoint { name } => (
                14,
                Wire {
                    text: Some(name.clone()),
                    ..Wire::default()
                },
            ),
            Deed::Expose { name, terms } => (
                24,
                Wire {
                    text: Some(name.clone()),
                    ..Wire::from(terms)
                },
            ),
            Deed::WithdrawExpose { name } => (
                25,
                Wire {
                    text: Some(name.clone()),
                    ..Wire::default()
                },
            ),
            Deed::Ingress { name, terms } => (
                26,
                Wire {
                    text: Some(name.clone()),
                    ..Wire::from(terms)
                },
            ),
            Deed::WithdrawIngress { name } => (
                27,
                Wire {
                    text: Some(name.clone()),
                    ..Wire::default()
                },
            ),
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
        let wire = Wire::decode(d, ctx)?;
        let Wire {
            kind,
            node,
            ref text,
            token,
            until,
            network,
            serial,
            ..
        } = wire;
        let missing = |what| minicbor::decode::Error::message(what);
        let node = || node.ok_or_else(|| missing("the act names no node"));
        let name = || text.clone().ok_or_else(|| missing("the act names no name"));
        let token = || token.ok_or_else(|| missing("the act names no token"));
        let deed = match kind {
            1 => Deed::Remove {
                node: node()?,
                name: text.clone(),
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
            7 => Deed::Gateway {
                node: node()?,
                terms: wire.terms()?,
            },
            8 => Deed::WithdrawGateway {
                node: node()?,
                range: Wire::range(text.as_deref())?,
            },
            20 | 21 => Deed::Relay {
                node: node()?,
                on: kind == 20,
            },
            9 => Deed::PodNetwork {
                terms: wire.pod_terms()?,
            },
            10 => Deed::PodPrefixes {
                node: node()?,
                prefixes: wire.pod_prefixes()?,
            },
            11 | 12 => Deed::Grant {
                grant: wire.grant()?,
                on: kind == 11,
            },
            13 => Deed::Endpoint {
                name: name()?,
                terms: wire.endpoint()?,
            },
            14 => Deed::WithdrawEndpoint { name: name()? },
            24 => Deed::Expose {
                name: name()?,
                terms: wire.expose()?,
            },
            25 => Deed::WithdrawExpose { name: name()? },
            26 => Deed::Ingress {
                name: name()?,
                terms: wire.ingress()?,
            },
            27 => Deed::WithdrawIngress { name: name()? },
            kind => Deed::Unknown { kind },
        };
        Ok(Self {
            network: network.ok_or_else(|| missing("the act names no network"))?,
            serial,
            deed,
        })
    }
}
