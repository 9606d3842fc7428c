//! What all admin acts and departures of a network come to.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use meshd_core::id::{NodeId, TokenId};
use meshd_core::map::Death;
use meshd_core::statement::{
    Act, Deed, EndpointTerms, ExposeTerms, GatewayTerms, Grant, IngressTerms, PodPrefixes, PodTerms,
};

/// A name that is blocked, and by whose removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Whose name it was.
    pub node: NodeId,
    /// Unix time in s until when.
    pub until: u64,
}

/// What all acts come to; of two on one thing the one with the higher serial is in force.
#[derive(Debug, Default)]
pub struct Effects {
    removed: BTreeSet<NodeId>,
    approved: BTreeSet<NodeId>,
    renamed: BTreeMap<NodeId, String>,
    revoked: BTreeSet<TokenId>,
    ousted: BTreeSet<TokenId>,
    blocked: BTreeMap<String, Block>,
    gateways: BTreeMap<(NodeId, IpNet), GatewayTerms>,
    relays: BTreeSet<NodeId>,
    pods: Option<PodTerms>,
    parts: BTreeMap<NodeId, PodPrefixes>,
    grants: BTreeSet<Grant>,
    endpoints: BTreeMap<String, (u64, EndpointTerms)>,
    exposures: BTreeMap<String, (u64, ExposeTerms)>,
    ingress: BTreeMap<String, (u64, IngressTerms)>,
}

impl Effects {
    /// Takes the next act; they come in the order of their serials.
    pub fn add(&mut self, act: &Act) {
        match &act.deed {
            Deed::Remove {
                node,
                name,
                blocked_until,
            } => {
                self.removed.insert(*node);
                if let (Some(name), Some(until)) = (name, *blocked_until) {
                    self.blocked.insert(name.clone(), Block { node: *node, until });
                }
            }
            Deed::Approve { node } => drop(self.approved.insert(*node)),
            Deed::Rename { node, name } => drop(self.renamed.insert(*node, name.clone())),
            Deed::FreeName { name } => drop(self.blocked.remove(name)),
            Deed::RevokeToken { token } => drop(self.revoked.insert(*token)),
            Deed::RevokeTokenAndNodes { token } => {
                self.revoked.insert(*token);
                self.ousted.insert(*token);
            }
            Deed::Gateway { node, terms } => {
                self.gateways.insert((*node, terms.range), terms.clone());
            }
            Deed::WithdrawGateway { node, range } => drop(self.gateways.remove(&(*node, *range))),
            Deed::Relay { node, on: true } => drop(self.relays.insert(*node)),
            Deed::Relay { node, on: false } => drop(self.relays.remove(node)),
            Deed::PodNetwork { terms } => self.pods = Some(terms.clone()),
            Deed::PodPrefixes { node, prefixes } => drop(self.parts.insert(*node, *prefixes)),
            Deed::Grant { grant, on: true } => drop(self.grants.insert(grant.clone())),
            Deed::Grant { grant, on: false } => drop(self.grants.remove(grant)),
            Deed::Endpoint { name, terms } => {
                self.endpoints.insert(name.clone(), (act.serial, terms.clone()));
            }
            Deed::WithdrawEndpoint { name } => drop(self.endpoints.remove(name)),
            Deed::Expose { name, terms } => {
                self.exposures.insert(name.clone(), (act.serial, terms.clone()));
            }
            Deed::WithdrawExpose { name } => drop(self.exposures.remove(name)),
            Deed::Ingress { name, terms } => {
                self.ingress.insert(name.clone(), (act.serial, terms.clone()));
            }
            Deed::WithdrawIngress { name } => drop(self.ingress.remove(name)),
            Deed::Unknown { .. } => {}
        }
    }

    /// Why a node that came by `token` is out, where an act put it out.
    pub fn death(&self, node: NodeId, token: TokenId) -> Option<Death> {
        let removed = self.removed.contains(&node).then_some(Death::Removed);
        removed.or_else(|| self.ousted.contains(&token).then_some(Death::TokenRevoked(token)))
    }

    /// Whether an admin approved the node.
    pub fn approved(&self, node: NodeId) -> bool {
        self.approved.contains(&node)
    }

    /// What an admin renamed the node to.
    pub fn renamed(&self, node: NodeId) -> Option<&str> {
        self.renamed.get(&node).map(String::as_str)
    }

    /// Whether an admin revoked the token.
    pub fn revoked(&self, token: TokenId) -> bool {
        self.revoked.contains(&token)
    }

    /// Gateways that were not withdrawn, by node and range; of nodes that are out, too.
    pub fn gateways(&self) -> impl Iterator<Item = (NodeId, &GatewayTerms)> {
        self.gateways.iter().map(|((node, _), terms)| (*node, terms))
    }

    /// Whether the node relays for others.
    pub fn relays(&self, node: NodeId) -> bool {
        self.relays.contains(&node)
    }

    /// Prefixes of pods and services.
    pub fn pods(&self) -> Option<&PodTerms> {
        self.pods.as_ref()
    }

    /// A node's part of the pods' prefixes.
    pub fn part(&self, node: NodeId) -> Option<PodPrefixes> {
        self.parts.get(&node).copied()
    }

    /// A node is out, and its part free.
    pub fn forget_part(&mut self, node: NodeId) {
        self.parts.remove(&node);
    }

    /// Grants that were not revoked; to nodes that are out, too.
    pub fn grants(&self) -> &BTreeSet<Grant> {
        &self.grants
    }

    /// Endpoints that were not withdrawn, by name: serial of the act, and what it says.
    pub fn endpoints(&self) -> &BTreeMap<String, (u64, EndpointTerms)> {
        &self.endpoints
    }

    /// What is exposed, by name: serial of the act, and what it says.
    pub fn exposures(&self) -> &BTreeMap<String, (u64, ExposeTerms)> {
        &self.exposures
    }

    /// What nodes may expose by themselves, by name: serial of the act, and what it says.
    pub fn ingress(&self) -> &BTreeMap<String, (u64, IngressTerms)> {
        &self.ingress
    }

    /// The block on a name.
    pub fn block(&self, name: &str) -> Option<Block> {
        self.blocked.get(name).copied()
    }
}
