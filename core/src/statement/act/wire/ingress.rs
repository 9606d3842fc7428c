//! The keys of acts about what nodes may expose by themselves.

use super::Wire;
use crate::statement::ingress::IngressTerms;
use crate::statement::pods::Tellers;

impl Wire {
    pub(super) fn ingress(&self) -> Result<IngressTerms, minicbor::decode::Error> {
        let odd = minicbor::decode::Error::message;
        let ports = self.ranges.iter().map(|text| text.parse().map_err(odd));
        let pool = self.pool.iter();
        let pool = pool.map(|text| text.parse().map_err(|_| odd("the act names no pool")));
        Ok(IngressTerms {
            askers: Tellers {
                nodes: self.to_nodes.clone(),
                tags: self.to_tags.clone(),
            },
            ports: ports.collect::<Result<_, _>>()?,
            sites: self.sites.clone(),
            namespaces: self.namespaces.clone(),
            pool: pool.collect::<Result<_, _>>()?,
            default_class: self.default_class.unwrap_or(false),
            listeners: self.listeners,
            limits: self.limits(),
        })
    }
}

impl From<&IngressTerms> for Wire {
    fn from(terms: &IngressTerms) -> Self {
        Self {
            to_nodes: terms.askers.nodes.clone(),
            to_tags: terms.askers.tags.clone(),
            ranges: terms.ports.iter().map(ToString::to_string).collect(),
            sites: terms.sites.clone(),
            namespaces: terms.namespaces.clone(),
            pool: terms.pool.iter().map(ToString::to_string).collect(),
            default_class: terms.default_class.then_some(true),
            listeners: terms.listeners,
            ..Self::from(terms.limits)
        }
    }
}
