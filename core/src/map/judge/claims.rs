//! Step 4: what each living node held, and what it now says that may count.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::{Believed, Judge};
use crate::admission::{is_for_nodes_v4, is_for_nodes_v6};
use crate::id::NodeId;
use crate::map::acts::Effects;
use crate::map::places::Claim;
use crate::map::{Cause, Entry, NodeEntry};
use crate::statement::Params;

impl Judge<'_> {
    /// Step 4: what each living node held, and what it now says that may count.
    pub(super) fn claims(
        &mut self,
        params: &Params,
        effects: &Effects,
        genuine: &[Arc<Entry>],
        held: &Believed,
    ) -> Vec<Claim> {
        let mut claims: BTreeMap<NodeId, Claim> = BTreeMap::new();
        for (node, entry) in held {
            if self
                .memory
                .nodes
                .get(node)
                .is_some_and(|held| held.death.is_none())
            {
                let rank = self.rank(entry);
                let held = Some(Arc::clone(entry));
                claims.insert(
                    *node,
                    Claim {
                        node: *node,
                        held,
                        fresh: None,
                        rank,
                    },
                );
            }
        }
        let mut present = BTreeSet::new();
        for entry in genuine {
            let Some(node) = entry.as_node() else { continue };
            let id = node.node();
            let was_held = held.get(&id).is_some_and(|held| held.key() == entry.key());
            let fit = if was_held {
                Ok(())
            } else {
                self.fit(params, effects, node)
            };
            if let Err(cause) = self.alive(id).and(fit) {
                self.refuse(id, cause);
                continue;
            }
            present.insert(id);
            if was_held {
                continue;
            }
            let rank = self.rank(entry);
            let claim = claims.entry(id).or_insert(Claim {
                node: id,
                held: None,
                fresh: None,
                rank,
            });
            if newer_than(node, claim.fresh.as_deref()) {
                claim.fresh = Some(Arc::clone(entry));
            }
        }
        self.omit(&mut claims, &present, genuine);
        claims.into_values().collect()
    }

    fn alive(&self, node: NodeId) -> Result<(), Cause> {
        let death = self.memory.nodes.get(&node).and_then(|held| held.death);
        death.map_or(Ok(()), |death| Err(Cause::Dead(death)))
    }

    fn fit(&self, params: &Params, effects: &Effects, node: &NodeEntry) -> Result<(), Cause> {
        let (enrolment, record) = (node.enrolment.value(), node.record.value());
        let delegation = self
            .memory
            .delegations
            .get(&enrolment.token)
            .map(|held| held.value());
        let approval = delegation.is_none_or(|delegation| delegation.terms.approval);
        if approval && !effects.approved.contains(&enrolment.node) {
            return Err(Cause::NotApproved);
        }
        self.memory
            .record_counts(enrolment.node, record.serial, node.record.bytes())?;
        let unfit = |address: IpAddr, prefix: IpNet| Err(Cause::AddressUnfit { address, prefix });
        if !is_for_nodes_v4(params.ipv4, record.ipv4) {
            return unfit(record.ipv4.into(), params.ipv4.into());
        }
        if !is_for_nodes_v6(params.ipv4, params.ipv6, record.ipv6) {
            return unfit(record.ipv6.into(), params.ipv6.into());
        }
        Ok(())
    }

    pub(super) fn rank(&self, entry: &Entry) -> (bool, u64) {
        let token = entry.as_node().map(|node| node.enrolment.value().token);
        let delegation = token
            .and_then(|token| self.memory.delegations.get(&token))
            .map(|held| held.value());
        delegation.map_or((true, u64::MAX), |held| (held.fixed.ipv4.is_none(), held.serial))
    }

    /// Nodes that the map does not show at all: an ephemeral one is gone, another stays.
    fn omit(
        &mut self,
        claims: &mut BTreeMap<NodeId, Claim>,
        present: &BTreeSet<NodeId>,
        genuine: &[Arc<Entry>],
    ) {
        let shown: BTreeSet<_> = genuine
            .iter()
            .filter_map(|entry| Some(entry.as_node()?.node()))
            .collect();
        let absent: Vec<_> = claims
            .keys()
            .copied()
            .filter(|node| !present.contains(node) && !shown.contains(node))
            .collect();
        for node in absent {
            let token = self.memory.nodes.get(&node).map(|held| held.token);
            let delegation = token.and_then(|token| self.memory.delegations.get(&token));
            if delegation.is_some_and(|held| held.value().terms.ephemeral) {
                claims.remove(&node);
                self.memory.nodes.remove(&node);
            } else if !self.refusals.iter().any(|refusal| refusal.node == Some(node)) {
                self.refuse(node, Cause::Omitted);
            }
        }
    }
}

fn newer_than(node: &NodeEntry, other: Option<&Entry>) -> bool {
    let other = other
        .and_then(Entry::as_node)
        .map(|other| other.record.value().serial);
    other.is_none_or(|other| node.record.value().serial > other)
}
