//! What all admin acts together come to: of two on one thing, the one with the higher serial is in force.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{BlockedName, Death, Memory};
use crate::id::{NodeId, TokenId};
use crate::statement::{
    Act, Deed, EndpointTerms, GatewayTerms, Grant, IngressTerms, PodPrefixes, PodTerms, Signed,
};

/// What all acts together come to.
#[derive(Debug, Default)]
pub struct Effects {
    /// Nodes removed, by serial of the act.
    pub removed: BTreeMap<NodeId, u64>,
    /// Nodes approved.
    pub approved: BTreeSet<NodeId>,
    /// Nodes renamed: serial of the act, and the name.
    pub renamed: BTreeMap<NodeId, (u64, String)>,
    /// Tokens whose nodes are removed with them.
    pub ousted: BTreeSet<TokenId>,
    /// Names blocked by a removal: serial of the act, node, until.
    blocked: BTreeMap<String, (u64, BlockedName)>,
    /// Names freed: serial of the act.
    freed: BTreeMap<String, u64>,
    /// Gateways by node and range.
    pub gateways: BTreeMap<(NodeId, IpNet), GatewayTerms>,
    /// Nodes that relay for others.
    pub relays: BTreeSet<NodeId>,
    /// Prefixes of pods and services.
    pub pods: Option<PodTerms>,
    /// Nodes' parts of the pods' prefixes: serial of the act, and the part.
    pub parts: BTreeMap<NodeId, (u64, PodPrefixes)>,
    /// Prefixes granted to nodes.
    pub grants: BTreeSet<Grant>,
    /// Endpoints by name.
    pub endpoints: BTreeMap<String, EndpointTerms>,
    /// What nodes may expose by themselves, by name.
    pub ingress: BTreeMap<String, IngressTerms>,
}

impl Effects {
    /// Of verified acts in ascending order of their serials.
    pub fn of<'a>(acts: impl IntoIterator<Item = &'a Signed<Act>>) -> Self {
        let mut effects = Self::default();
        for act in acts {
            effects.add(act.value());
        }
        effects
    }

    fn add(&mut self, act: &Act) {
        let serial = act.serial;
        match &act.deed {
            Deed::Remove {
                node,
                name,
                blocked_until,
            } => {
                self.removed.insert(*node, serial);
                if let (Some(name), Some(until)) = (name, *blocked_until) {
                    self.blocked
                        .insert(name.clone(), (serial, BlockedName { node: *node, until }));
                }
            }
            Deed::Approve { node } => drop(self.approved.insert(*node)),
            Deed::Rename { node, name } => drop(self.renamed.insert(*node, (serial, name.clone()))),
            Deed::FreeName { name } => drop(self.freed.insert(name.clone(), serial)),
            Deed::RevokeTokenAndNodes { token } => drop(self.ousted.insert(*token)),
            Deed::Gateway { node, terms } => {
                self.gateways.insert((*node, terms.range), terms.clone());
            }
            Deed::WithdrawGateway { node, range } => drop(self.gateways.remove(&(*node, *range))),
            Deed::Relay { node, on: true } => drop(self.relays.insert(*node)),
            Deed::Relay { node, on: false } => drop(self.relays.remove(node)),
            Deed::PodNetwork { terms } => self.pods = Some(terms.clone()),
            Deed::PodPrefixes { node, prefixes } => drop(self.parts.insert(*node, (serial, *prefixes))),
            Deed::Grant { grant, on: true } => drop(self.grants.insert(grant.clone())),
            Deed::Grant { grant, on: false } => drop(self.grants.remove(grant)),
            Deed::Endpoint { name, terms } => drop(self.endpoints.insert(name.clone(), terms.clone())),
            Deed::WithdrawEndpoint { name } => drop(self.endpoints.remove(name)),
            Deed::Ingress { name, terms } => drop(self.ingress.insert(name.clone(), terms.clone())),
            Deed::WithdrawIngress { name } => drop(self.ingress.remove(name)),
            // what is exposed is the coordinator's host's affair, and no node's
            Deed::RevokeToken { .. }
            | Deed::Expose { .. }
            | Deed::WithdrawExpose { .. }
            | Deed::Unknown { .. } => {}
        }
    }

    /// Why a node that came by `token` is out, where an act put it out.
    pub fn death_of(&self, node: NodeId, token: TokenId) -> Option<Death> {
        let removed = self.removed.contains_key(&node).then_some(Death::Removed);
        removed.or_else(|| self.ousted.contains(&token).then_some(Death::TokenRevoked(token)))
    }

    /// Names that are blocked and were not freed since.
    pub fn blocked_names(&self) -> BTreeMap<String, BlockedName> {
        let blocked = self
            .blocked
            .iter()
            .filter(|(name, (serial, _))| self.freed.get(*name).is_none_or(|freed| freed < serial));
        blocked
            .map(|(name, (_, blocked))| (name.clone(), *blocked))
            .collect()
    }

    /// Whom one act put out.
    pub fn removals_by(&self, act: &Act, memory: &Memory) -> Vec<(NodeId, Death)> {
        match act.deed {
            Deed::Remove { node, .. } => vec![(node, Death::Removed)],
            Deed::RevokeTokenAndNodes { token } => {
                let by_token = memory.nodes.iter().filter(|(_, held)| held.token == token);
                by_token
                    .map(|(node, _)| (*node, Death::TokenRevoked(token)))
                    .collect()
            }
            Deed::Approve { .. }
            | Deed::Rename { .. }
            | Deed::FreeName { .. }
            | Deed::RevokeToken { .. }
            | Deed::Gateway { .. }
            | Deed::WithdrawGateway { .. }
            | Deed::Relay { .. }
            | Deed::PodNetwork { .. }
            | Deed::PodPrefixes { .. }
            | Deed::Grant { .. }
            | Deed::Endpoint { .. }
            | Deed::WithdrawEndpoint { .. }
            | Deed::Expose { .. }
            | Deed::WithdrawExpose { .. }
            | Deed::Ingress { .. }
            | Deed::WithdrawIngress { .. }
            | Deed::Unknown { .. } => Vec::new(),
        }
    }
}
