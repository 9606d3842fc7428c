//! The keys of acts about what is exposed.

use super::Wire;
use crate::statement::endpoint::Member;
use crate::statement::expose::{ExposeLimits, ExposeTerms, Protocol, ProxyVersion};

impl Wire {
    pub(super) fn expose(&self) -> Result<ExposeTerms, minicbor::decode::Error> {
        let odd = minicbor::decode::Error::message;
        if self.to_nodes.len() != self.ports.len() {
            return Err(odd("the act does not name a port for each node"));
        }
        let targets = self.to_nodes.iter().zip(&self.ports);
        let proxy = self.proxy.map(|version| match version {
            1 => Ok(ProxyVersion::V1),
            2 => Ok(ProxyVersion::V2),
            _ => Err(odd("the act names no version of the PROXY protocol")),
        });
        Ok(ExposeTerms {
            protocol: match self.protocol {
                Some(1) => Protocol::Tcp,
                Some(2) => Protocol::Udp,
                _ => return Err(odd("the act names neither TCP nor UDP")),
            },
            port: self.port.ok_or_else(|| odd("the act names no port"))?,
            targets: targets
                .map(|(node, port)| Member {
                    node: *node,
                    port: *port,
                })
                .collect(),
            sites: self.sites.clone(),
            proxy: proxy.transpose()?,
            limits: self.limits(),
        })
    }
}

impl Wire {
    pub(super) fn limits(&self) -> ExposeLimits {
        ExposeLimits {
            connections: self.connections,
            per_second: self.per_second,
            idle: self.idle,
        }
    }
}

impl From<ExposeLimits> for Wire {
    fn from(limits: ExposeLimits) -> Self {
        Self {
            connections: limits.connections,
            per_second: limits.per_second,
            idle: limits.idle,
            ..Self::default()
        }
    }
}

impl From<&ExposeTerms> for Wire {
    fn from(terms: &ExposeTerms) -> Self {
        Self {
            protocol: Some(match terms.protocol {
                Protocol::Tcp => 1,
                Protocol::Udp => 2,
            }),
            port: Some(terms.port),
            to_nodes: terms.targets.iter().map(|target| target.node).collect(),
            ports: terms.targets.iter().map(|target| target.port).collect(),
            sites: terms.sites.clone(),
            proxy: terms.proxy.map(|version| match version {
                ProxyVersion::V1 => 1,
                ProxyVersion::V2 => 2,
            }),
            ..Self::from(terms.limits)
        }
    }
}
