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
        let mut claims = self.held(held);
        let mut shown = BTreeSet::new();
        for entry in genuine {
            let Some(node) = entry.as_node() else { continue };
            let id = node.node();
            shown.insert(id);
            let was_held = held.get(&id).is_some_and(|held| held.key() == entry.key());
            let fit = if was_held {
                Ok(())
            } else {
                self.fit(params, effects, node)
            };
            if let Err(cause) = self.alive(id).and(fit) {
                self.refuse(id, cause);
            } else if !was_held {
                let rank = self.rank(entry);
                let newcomer = Claim {
                    node: id,
                    held: None,
                    fresh: None,
                    rank,
                };
                let claim = claims.entry(id).or_insert(newcomer);
                if newer_than(node, claim.fresh.as_deref()) {
                    claim.fresh = Some(Arc::clone(entry));
                }
            }
        }
        self.omit(&mut claims, &shown);
        claims.into_values().collect()
    }

    /// What each living node held.
    fn held(&self, held: &Believed) -> BTreeMap<NodeId, Claim> {
        let alive = held.iter().filter(|(node, _)| self.memory.is_alive(**node));
        let claim = |(node, entry): (&NodeId, &Arc<Entry>)| {
            let (held, rank) = (Some(Arc::clone(entry)), self.rank(entry));
            (
                *node,
                Claim {
                    node: *node,
                    held,
                    fresh: None,
                    rank,
                },
            )
        };
        alive.map(claim).collect()
    }

    fn alive(&self, node: NodeId) -> Result<(), Cause> {
        self.memory
            .death(node)
            .map_or(Ok(()), |death| Err(Cause::Dead(death)))
    }

    fn fit(&self, params: &Params, effects: &Effects, node: &NodeEntry) -> Result<(), Cause> {
        let (enrolment, record) = (node.enrolment.value(), node.record.value());
        let delegation = self.memory.delegation(enrolment.token);
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
        let delegation = token.and_then(|token| self.memory.delegation(token));
        delegation.map_or((true, u64::MAX), |held| (held.fixed.ipv4.is_none(), held.serial))
    }

    /// Nodes that the map does not show: an ephemeral one is gone, another stays.
    fn omit(&mut self, claims: &mut BTreeMap<NodeId, Claim>, shown: &BTreeSet<NodeId>) {
        let absent = claims.keys().copied().filter(|node| !shown.contains(node));
        for node in absent.collect::<Vec<_>>() {
            let token = self.memory.nodes.get(&node).map(|held| held.token);
            let delegation = token.and_then(|token| self.memory.delegation(token));
            if delegation.is_some_and(|held| held.terms.ephemeral) {
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
