//! Grants: prefixes in which routes of other programs lead through nodes.

use ipnet::IpNet;
use meshd_api::coordinator::admin::{Done, GrantSet};
use meshd_core::adopted::check;
use meshd_core::gateway::Published;
use meshd_core::id::{NetworkId, NodeId};
use meshd_core::statement::{Deed, Grant, Grantee, PodTerms};

use super::gateways::prefix;
use crate::coordinator::network::{Network, Node};
use crate::coordinator::refusal::Refusal;
use crate::coordinator::state::{Effect, State};

impl State {
    /// Grants a prefix, or takes a grant back.
    pub fn set_grant(&mut self, network: NetworkId, wanted: &GrantSet) -> Result<Done, Refusal> {
        self.write(network, |network, batch| {
            let (grant, on) = (network.grant(wanted)?, wanted.on);
            let whose = network.grantee_shown(&grant.to);
            let held = network.effects.grants().contains(&grant);
            if on {
                network.check_grant(grant.prefix)?;
            } else if !held {
                let text = format!("{} is not granted to {whose}", grant.prefix);
                return Err(Refusal::Conflict(text));
            }
            let message = match on {
                true => format!(
                    "routes of other programs inside {} count where they lead through {whose}",
                    grant.prefix
                ),
                false => format!("{} is no longer granted to {whose}", grant.prefix),
            };
            let act = network.act(Deed::Grant { grant, on }, wanted.statement.as_ref())?;
            network.take_act(&act, batch)?;
            let effect = Effect::audited(network, &message);
            Ok((Done { message }, effect))
        })
    }
}

impl Network {
    fn grant(&self, wanted: &GrantSet) -> Result<Grant, Refusal> {
        let to = match (&wanted.node, &wanted.tag) {
            (Some(name), None) => Grantee::Node(self.node_named(name)?),
            (None, Some(tag)) => Grantee::Tag(tag.clone()),
            (None, None) => Grantee::Everybody,
            (Some(_), Some(_)) => {
                let text = "a prefix is granted to a node or to a tag, not to both at once";
                return Err(Refusal::Invalid(text.into()));
            }
        };
        Ok(Grant {
            to,
            prefix: prefix(&wanted.prefix)?,
        })
    }

    fn check_grant(&self, prefix: IpNet) -> Result<(), Refusal> {
        let params = self.params.value();
        let mesh: [IpNet; 2] = [params.ipv4.into(), params.ipv6.into()];
        let published: Vec<_> = self
            .gateways()
            .map(|(node, terms)| Published {
                prefix: terms.published.unwrap_or(terms.range),
                range: terms.range,
                gateway: self.shown_name(node),
            })
            .collect();
        let pods = self.effects.pods().into_iter().flat_map(PodTerms::all);
        check(prefix, &mesh, pods, &published).map_err(|why| Refusal::Invalid(why.to_string()))
    }

    /// Why a gateway cannot publish a range: it was granted.
    pub(super) fn apart_from_grants(&self, range: IpNet) -> Result<(), Refusal> {
        let overlaps = |grant: &&Grant| grant.prefix.contains(&range) || range.contains(&grant.prefix);
        let met = self
            .effects
            .grants()
            .iter()
            .find(|grant| range.prefix_len() > 0 && self.counts(&grant.to) && overlaps(grant));
        match met {
            Some(grant) => Err(Refusal::Conflict(format!(
                "{range} overlaps {}, which is granted to {}; a range is either a gateway's or granted",
                grant.prefix,
                self.grantee_shown(&grant.to)
            ))),
            None => Ok(()),
        }
    }

    fn counts(&self, to: &Grantee) -> bool {
        !matches!(to, Grantee::Node(node) if !self.nodes.contains_key(node))
    }

    /// What is granted to a node, as an admin sees it.
    pub(super) fn granted_shown(&self, id: NodeId, node: &Node) -> Vec<String> {
        let tags = self.delegation_of(node).map(|held| held.terms.tags.clone());
        let tags = tags.unwrap_or_default();
        let grants = self.effects.grants().iter();
        let granted = grants
            .filter(|grant| grant.is_to(id, &tags))
            .map(|grant| grant.prefix);
        let mut granted: Vec<IpNet> = granted.collect();
        granted.sort();
        granted.dedup();
        granted.iter().map(ToString::to_string).collect()
    }

    fn grantee_shown(&self, to: &Grantee) -> String {
        match to {
            Grantee::Everybody => "every node".into(),
            Grantee::Tag(tag) => format!("nodes with the tag \"{tag}\""),
            Grantee::Node(node) => format!("\"{}\"", self.shown_name(*node)),
        }
    }
}
