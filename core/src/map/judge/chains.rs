//! Step 2: chains, and the identity that each node id is bound to.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Judge;
use crate::id::NodeId;
use crate::map::chain::verify_node;
use crate::map::network_map::Entries;
use crate::map::{Cause, Entry, EntryKey, NodeEntry};

impl Judge<'_> {
    /// Step 2: the entries whose chain is good and whose identity is the one that their node id is bound to.
    pub(super) fn genuine(&mut self, entries: &Entries) -> Vec<Arc<Entry>> {
        let mut good: BTreeMap<NodeId, Vec<(&Arc<Entry>, &NodeEntry)>> = BTreeMap::new();
        for (key, entry) in entries {
            let Some(node) = entry.as_node() else { continue };
            match self.chain(*key, node) {
                Ok(()) => good.entry(node.node()).or_default().push((entry, node)),
                Err(cause) => self.refuse(node.node(), cause),
            }
        }
        let mut genuine = Vec::new();
        for (id, shown) in good {
            if let Some(contested) = self.contested(id, &shown) {
                self.refuse(id, contested);
                continue;
            }
            for (entry, node) in shown {
                let enrolment = node.enrolment.value();
                match self.memory.note_identity(id, enrolment.identity, enrolment.token) {
                    Ok(()) => genuine.push(Arc::clone(entry)),
                    Err(cause) => self.refuse(id, cause),
                }
            }
        }
        genuine
    }

    fn chain(&mut self, key: EntryKey, node: &NodeEntry) -> Result<(), Cause> {
        let token = node.enrolment.value().token;
        let delegation = self.memory.delegation(token).ok_or(Cause::NoDelegation(token))?;
        let network = self.network;
        self.verdicts
            .on(key, &delegation.join, || verify_node(node, delegation, network))
    }

    fn contested(&self, id: NodeId, shown: &[(&Arc<Entry>, &NodeEntry)]) -> Option<Cause> {
        let mut identities = shown.iter().map(|(_, node)| node.enrolment.value().identity);
        let first = identities.next()?;
        let other = identities.find(|identity| *identity != first)?;
        (!self.memory.nodes.contains_key(&id)).then_some(Cause::Contested(first, other))
    }
}
