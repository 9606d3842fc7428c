//! What a coordinator restored from an older backup takes from nodes that remember more.
//!
//! Every node hands over all it holds ([`MapHolder::testimony`](super::MapHolder::testimony)); each entry proves itself
//! by its chain, so it does not matter who brings it. Removals are taken before nodes: a node that was removed after
//! the backup does not come back for a moment.

use std::sync::Arc;

use super::{Body, Cause, Entry, MapBuilder, Refusal};
use crate::id::NodeId;

/// What a testimony came to.
#[derive(Clone, Debug, Default)]
pub struct Absorbed {
    /// Entries that were news, to be stored.
    pub taken: Vec<Arc<Entry>>,
    /// Nodes that are out by it.
    pub removed: Vec<NodeId>,
    /// What is refused and should not have been there.
    pub refused: Vec<Refusal>,
}

impl MapBuilder {
    /// Takes what is genuine and newer of `entries`, in the order in which one makes the next credible. What is merely
    /// older, or of nodes that are out, is passed over in silence.
    pub fn absorb(&mut self, entries: impl IntoIterator<Item = Entry>) -> Absorbed {
        let mut entries: Vec<Entry> = entries.into_iter().collect();
        entries.sort_by_key(order);
        let mut absorbed = Absorbed::default();
        for entry in entries {
            let node = entry.as_node().map(|node| node.node());
            let name = entry.as_node().map(|node| node.record.value().host_name.clone());
            let kept = Arc::new(entry.clone());
            match self.put(entry) {
                Ok(put) => {
                    absorbed.removed.extend(put.removed);
                    if put.changed {
                        absorbed.taken.push(kept);
                    }
                }
                Err(
                    Cause::StaleRecord { .. }
                    | Cause::Superseded { .. }
                    | Cause::Dead(_)
                    | Cause::UnprovenDeparture
                    | Cause::NotApproved,
                ) => {}
                Err(cause) => absorbed.refused.push(Refusal { node, name, cause }),
            }
        }
        absorbed
    }
}

fn order(entry: &Entry) -> u8 {
    match entry.body() {
        Body::Params(_) => 0,
        Body::Delegation(_) => 1,
        Body::Act(_) => 2,
        Body::Node(_) => 3,
        Body::Departure(_) => 4,
        Body::Newer(_) | Body::Broken { .. } => 5,
    }
}
