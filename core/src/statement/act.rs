//! An admin act: what the root did to a node, a name or a token.

use minicbor::{Decode, Decoder, Encode, Encoder};

use ipnet::IpNet;

use super::Statement;
use super::pods::{PodPrefixes, PodTerms, whole};
use super::text::{self, MAX_LABEL, MAX_TEXT};
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
    /// Kind 7: the node is an egress gateway for a range behind it. A later one about the same range changes it.
    Gateway {
        /// The node.
        node: NodeId,
        /// What it makes reachable, and for whom.
        terms: GatewayTerms,
    },
    /// Kind 8: the node is a gateway for this range no longer.
    WithdrawGateway {
        /// The node.
        node: NodeId,
        /// The range behind it.
        range: IpNet,
    },
    /// Kind 20, or 21 where it ends: the node relays packets between other nodes of its network.
    Relay {
        /// The node.
        node: NodeId,
        /// Whether from now on it does.
        on: bool,
    },
    /// Kind 9: the prefixes of the network's pods and services. A later one changes them.
    PodNetwork {
        /// The prefixes.
        terms: PodTerms,
    },
    /// Kind 10: a node's part of the pods' prefixes.
    PodPrefixes {
        /// The node.
        node: NodeId,
        /// Its part.
        prefixes: PodPrefixes,
    },
    /// Of a newer release; kept in the map, of no effect here.
    Unknown {
        /// Its kind.
        kind: u64,
    },
}

/// Most nodes, and most tags, to which a gateway's reach may be limited.
pub const MAX_REACH: usize = 32;

/// What an egress gateway makes reachable, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayTerms {
    /// The range behind the node.
    pub range: IpNet,
    /// The prefix of the same length under which the network knows the range, where that is not the range itself.
    pub published: Option<IpNet>,
    /// Whether hosts in the range see the gateway's own address instead of the sender's.
    pub nat: bool,
    /// Of several gateways for one range the one with the lowest number is used first.
    pub priority: u32,
    /// The nodes that may use it.
    pub to_nodes: Vec<NodeId>,
    /// The tags whose nodes may use it. Where neither nodes nor tags are named, everybody may.
    pub to_tags: Vec<String>,
}

impl GatewayTerms {
    fn check(&self) -> Result<(), String> {
        let (nodes, tags) = (self.to_nodes.len(), self.to_tags.len());
        if nodes > MAX_REACH || tags > MAX_REACH {
            return Err(format!(
                "the reach names {nodes} nodes and {tags} tags; at most {MAX_REACH} of each are allowed"
            ));
        }
        self.to_tags
            .iter()
            .try_for_each(|tag| text::check("a tag", tag, MAX_LABEL))?;
        self.published.iter().chain([&self.range]).try_for_each(whole)
    }
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
            Deed::Gateway { terms, .. } => terms.check(),
            Deed::Approve { .. }
            | Deed::RevokeToken { .. }
            | Deed::RevokeTokenAndNodes { .. }
            | Deed::Relay { .. }
            | Deed::Unknown { .. } => Ok(()),
            Deed::WithdrawGateway { range, .. } => whole(range),
            Deed::PodNetwork { terms } => terms.check(),
            Deed::PodPrefixes { prefixes, .. } => prefixes.check(),
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
}

impl From<&PodTerms> for Wire {
    fn from(terms: &PodTerms) -> Self {
        Self {
            text: Some(terms.ipv4.to_string()),
            published: terms.ipv6.map(|ipv6| ipv6.to_string()),
            node_prefix: Some(terms.node_prefix),
            services: terms.services.iter().map(ToString::to_string).collect(),
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
        })
    }

    fn pod_prefixes(&self) -> Result<PodPrefixes, minicbor::decode::Error> {
        let ipv6 = self.published.as_deref();
        Ok(PodPrefixes {
            ipv4: Self::range(self.text.as_deref())?,
            ipv6: ipv6.map(|text| Self::range(Some(text))).transpose()?,
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
            kind => Deed::Unknown { kind },
        };
        Ok(Self {
            network: network.ok_or_else(|| missing("the act names no network"))?,
            serial,
            deed,
        })
    }
}
