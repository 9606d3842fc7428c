//! An act's payload: a CBOR map whose keys mean what its kind makes of them (docs/wire.md section 2).

use minicbor::{Decode, Decoder, Encode, Encoder};

use super::{Act, Deed, GatewayTerms};
use crate::id::{NetworkId, NodeId, TokenId};
use crate::statement::grant::{Grant, Grantee};
use crate::statement::pods::{PodPrefixes, PodTerms, Tellers};

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
}

impl From<&PodTerms> for Wire {
    fn from(terms: &PodTerms) -> Self {
        Self {
            text: Some(terms.ipv4.to_string()),
            published: terms.ipv6.map(|ipv6| ipv6.to_string()),
            node_prefix: Some(terms.node_prefix),
            services: terms.services.iter().map(ToString::to_string).collect(),
            to_nodes: terms.tellers.nodes.clone(),
            to_tags: terms.tellers.tags.clone(),
            ..Self::default()
        }
    }
}

impl From<&PodPrefixes> for Wire {
    fn from(prefixes: &PodPrefixes) -> Self {
        Self {
            text: Some(prefixes.ipv4.to_string()),
            published: prefixes.ipv6.map(|ipv6| ipv6.to_string()),
            ..Self::default()
        }
    }
}

impl From<&GatewayTerms> for Wire {
    fn from(terms: &GatewayTerms) -> Self {
        Self {
            text: Some(terms.range.to_string()),
            published: terms.published.map(|published| published.to_string()),
            nat: Some(terms.nat),
            priority: Some(terms.priority),
            to_nodes: terms.to_nodes.clone(),
            to_tags: terms.to_tags.clone(),
            pods: terms.pods.clone(),
            ..Self::default()
        }
    }
}

impl From<&Grant> for Wire {
    fn from(grant: &Grant) -> Self {
        let text = Some(grant.prefix.to_string());
        let (node, to_tags) = match &grant.to {
            Grantee::Everybody => (None, Vec::new()),
            Grantee::Tag(tag) => (None, vec![tag.clone()]),
            Grantee::Node(node) => (Some(*node), Vec::new()),
        };
        Self {
            text,
            node,
            to_tags,
            ..Self::default()
        }
    }
}

impl Wire {
    fn range<P: std::str::FromStr>(text: Option<&str>) -> Result<P, minicbor::decode::Error> {
        let parsed = text.and_then(|text| text.parse().ok());
        parsed.ok_or_else(|| minicbor::decode::Error::message("the act names no range"))
    }

    fn terms(&self) -> Result<GatewayTerms, minicbor::decode::Error> {
        let published = self.published.as_deref();
        Ok(GatewayTerms {
            range: Self::range(self.text.as_deref())?,
            published: published.map(|text| Self::range(Some(text))).transpose()?,
            nat: self.nat.unwrap_or(false),
            priority: self.priority.unwrap_or(0),
            to_nodes: self.to_nodes.clone(),
            to_tags: self.to_tags.clone(),
            pods: self.pods.clone(),
        })
    }

    fn pod_prefixes(&self) -> Result<PodPrefixes, minicbor::decode::Error> {
        let ipv6 = self.published.as_deref();
        Ok(PodPrefixes {
            ipv4: Self::range(self.text.as_deref())?,
            ipv6: ipv6.map(|text| Self::range(Some(text))).transpose()?,
        })
    }

    fn grant(&self) -> Result<Grant, minicbor::decode::Error> {
        let to = match (self.node, &self.to_tags[..]) {
            (Some(node), []) => Grantee::Node(node),
            (None, [tag]) => Grantee::Tag(tag.clone()),
            (None, []) => Grantee::Everybody,
            _ => {
                let text = "the act grants a prefix to several at once";
                return Err(minicbor::decode::Error::message(text));
            }
        };
        Ok(Grant {
            to,
            prefix: Self::range(self.text.as_deref())?,
        })
    }

    fn pod_terms(&self) -> Result<PodTerms, minicbor::decode::Error> {
        let PodPrefixes { ipv4, ipv6 } = self.pod_prefixes()?;
        let node_prefix = self.node_prefix;
        let services = self.services.iter().map(|text| Self::range(Some(text)));
        Ok(PodTerms {
            ipv4,
            ipv6,
            node_prefix: node_prefix.ok_or_else(|| {
                minicbor::decode::Error::message("the act names no length of nodes' prefixes")
            })?,
            services: services.collect::<Result<_, _>>()?,
            tellers: Tellers {
                nodes: self.to_nodes.clone(),
                tags: self.to_tags.clone(),
            },
        })
    }
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
            kind => Deed::Unknown { kind },
        };
        Ok(Self {
            network: network.ok_or_else(|| missing("the act names no network"))?,
            serial,
            deed,
        })
    }
}
