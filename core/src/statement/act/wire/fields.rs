//! The keys of acts about prefixes, gateways and endpoints.

use minicbor::bytes::ByteVec;

use super::Wire;
use crate::statement::GatewayTerms;
use crate::statement::endpoint::{EndpointTerms, Member};
use crate::statement::grant::{Grant, Grantee};
use crate::statement::pods::{PodPrefixes, PodTerms, Tellers};

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
            names: terms.names.iter().map(ToString::to_string).collect(),
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
    pub(super) fn range<P: std::str::FromStr>(text: Option<&str>) -> Result<P, minicbor::decode::Error> {
        let parsed = text.and_then(|text| text.parse().ok());
        parsed.ok_or_else(|| minicbor::decode::Error::message("the act names no range"))
    }

    pub(super) fn terms(&self) -> Result<GatewayTerms, minicbor::decode::Error> {
        let published = self.published.as_deref();
        let names: Result<_, _> = self.names.iter().map(|name| name.parse()).collect();
        Ok(GatewayTerms {
            range: Self::range(self.text.as_deref())?,
            published: published.map(|text| Self::range(Some(text))).transpose()?,
            nat: self.nat.unwrap_or(false),
            priority: self.priority.unwrap_or(0),
            to_nodes: self.to_nodes.clone(),
            to_tags: self.to_tags.clone(),
            pods: self.pods.clone(),
            names: names.map_err(minicbor::decode::Error::message)?,
        })
    }

    pub(super) fn pod_prefixes(&self) -> Result<PodPrefixes, minicbor::decode::Error> {
        let ipv6 = self.published.as_deref();
        Ok(PodPrefixes {
            ipv4: Self::range(self.text.as_deref())?,
            ipv6: ipv6.map(|text| Self::range(Some(text))).transpose()?,
        })
    }

    pub(super) fn grant(&self) -> Result<Grant, minicbor::decode::Error> {
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

    pub(super) fn pod_terms(&self) -> Result<PodTerms, minicbor::decode::Error> {
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

    pub(super) fn endpoint(&self) -> Result<EndpointTerms, minicbor::decode::Error> {
        let odd = minicbor::decode::Error::message;
        if self.to_nodes.len() != self.ports.len() {
            return Err(odd("the act does not name a port for each node"));
        }
        let address = self.published.as_deref();
        let address = address.map(|text| text.parse().map_err(|_| odd("the act names no address")));
        let members = self.to_nodes.iter().zip(&self.ports);
        Ok(EndpointTerms {
            address: address.transpose()?,
            port: self.port.ok_or_else(|| odd("the act names no port"))?,
            members: members
                .map(|(node, port)| Member {
                    node: *node,
                    port: *port,
                })
                .collect(),
            authorities: self.authorities.iter().map(|der| der.to_vec()).collect(),
        })
    }
}

impl From<&EndpointTerms> for Wire {
    fn from(terms: &EndpointTerms) -> Self {
        Self {
            published: terms.address.map(|address| address.to_string()),
            port: Some(terms.port),
            to_nodes: terms.members.iter().map(|member| member.node).collect(),
            ports: terms.members.iter().map(|member| member.port).collect(),
            authorities: terms.authorities.iter().cloned().map(ByteVec::from).collect(),
            ..Self::default()
        }
    }
}
