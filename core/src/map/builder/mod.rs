//! The coordinator's side: statements in, versions of the map and deltas between them out.
//!
//! Everything goes through [`MapBuilder::put`], which verifies as strictly as a node will: what a node would refuse never
//! gets into the map, whether it comes from the store, from a join, or from a node that remembers more than a restored
//! backup does. Each thing has one slot, so that the newer statement on it takes the older one's place.

mod put;
mod slot;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use self::slot::{Slot, serial};
use super::network_map::Entries;
use super::{
    Body, Cause, Death, Delta, Entry, EntryKey, MapError, NetworkMap, NodeEntry, RemovalProof, digest,
};
use crate::id::{NetworkId, NodeId, TokenId};
use crate::keys::{CoordinatorSecret, RootPublic};
use crate::statement::{Delegation, Departure, MapHeader, Signed};

/// Versions between which deltas can be had; who is further behind gets the whole map.
const HISTORY: usize = 256;

/// Makes the versions of a network's map.
#[derive(Debug)]
pub struct MapBuilder {
    root: RootPublic,
    network: NetworkId,
    at: (u32, u64),
    slots: BTreeMap<Slot, Arc<Entry>>,
    /// Nodes whose place another took: which, and what proves it.
    replaced: BTreeMap<NodeId, (NodeId, RemovalProof)>,
    unproven: Vec<Signed<Departure>>,
    published: Option<Arc<NetworkMap>>,
    history: VecDeque<Step>,
}

#[derive(Debug)]
struct Step {
    version: u64,
    add: Vec<EntryKey>,
    drop: Vec<EntryKey>,
}

/// What putting an entry came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// Whether it was news.
    pub changed: bool,
    /// The nodes that it put out.
    pub removed: Vec<NodeId>,
}

impl MapBuilder {
    /// An empty map of the network of `root`, at the (epoch, version) that was last published.
    pub fn new(root: RootPublic, at: (u32, u64)) -> Self {
        Self {
            root,
            network: NetworkId::of_root(&root),
            at,
            slots: BTreeMap::new(),
            replaced: BTreeMap::new(),
            unproven: Vec::new(),
            published: None,
            history: VecDeque::new(),
        }
    }

    /// Takes an entry that this coordinator stored itself: a departure is taken without its node, which is gone.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn restore(&mut self, entry: Entry) -> Result<Put, Cause> {
        match entry.body() {
            Body::Departure(departure) => {
                let node = departure.value().node;
                Ok(self.bury(Slot::Departed(node), entry, vec![node]))
            }
            _ => self.put(entry),
        }
    }

    /// Takes an entry, where it is genuine and newer than what is held. It is published by the next
    /// [`commit`](Self::commit).
    ///
    /// # Errors
    /// What a node would say of it.
    pub fn put(&mut self, entry: Entry) -> Result<Put, Cause> {
        match entry.body().clone() {
            Body::Params(params) => self.put_params(entry, &params),
            Body::Delegation(delegation) => self.put_delegation(entry, &delegation),
            Body::Act(act) => self.put_act(entry, &act),
            Body::Node(node) => self.put_node(entry, &node),
            Body::Departure(departure) => self.put_departure(entry, &departure),
            Body::Broken { why, .. } => Err(Cause::Unreadable {
                key: entry.key(),
                why,
            }),
            Body::Newer(_) => Err(Cause::Unreadable {
                key: entry.key(),
                why: "it is of a newer release".into(),
            }),
        }
    }

    /// Drops a node without a removal, which only an ephemeral node's peers take for one.
    pub fn drop_ephemeral(&mut self, node: NodeId) -> bool {
        self.slots.remove(&Slot::PodPrefixes(node));
        self.slots.remove(&Slot::Node(node)).is_some()
    }

    /// Opens a new epoch, as a restored backup must. The next [`commit`](Self::commit) publishes it.
    pub fn open_epoch(&mut self) {
        self.at.0 = self.at.0.saturating_add(1);
        self.published = None;
        self.history.clear();
    }

    /// Signs the next version, where anything changed or nothing was published yet. To be called, and its (epoch,
    /// version) stored, before anybody is told.
    ///
    /// # Errors
    /// [`MapError::NoParams`] where there are none to publish.
    pub fn commit(&mut self, key: &CoordinatorSecret) -> Result<bool, MapError> {
        if !self.slots.contains_key(&Slot::Params) {
            return Err(MapError::NoParams);
        }
        let entries = self.entries();
        let (add, drop) = match &self.published {
            Some(old) => (missing(&entries, old.entries()), missing(old.entries(), &entries)),
            None => (Vec::new(), Vec::new()),
        };
        if self.published.is_some() && add.is_empty() && drop.is_empty() {
            return Ok(false);
        }
        let at = (self.at.0, self.at.1 + 1);
        let header = MapHeader {
            network: self.network,
            epoch: at.0,
            version: at.1,
            digest: digest(entries.keys()),
        };
        let map = NetworkMap::new(Signed::sign(header, key)?, entries)?;
        if self.published.replace(Arc::new(map)).is_some() {
            self.history.push_back(Step {
                version: at.1,
                add,
                drop,
            });
            let over = self.history.len().saturating_sub(HISTORY);
            self.history.drain(..over);
        }
        self.at = at;
        Ok(true)
    }

    /// (epoch, version) of what was last published.
    pub fn at(&self) -> (u32, u64) {
        self.at
    }

    /// What was last published since this process started.
    pub fn published(&self) -> Option<&Arc<NetworkMap>> {
        self.published.as_ref()
    }

    /// The change from `version` of this epoch to what was last published; none where it is too long ago, not of this
    /// process's time, or no change: then the whole map does.
    pub fn delta_since(&self, version: u64) -> Option<Delta> {
        let map = self.published.as_ref()?;
        let first = self.history.iter().position(|step| step.version == version + 1)?;
        let (mut add, mut drop) = (BTreeSet::new(), BTreeSet::new());
        for step in self.history.iter().skip(first) {
            for key in &step.drop {
                if !add.remove(key) {
                    drop.insert(*key);
                }
            }
            for key in &step.add {
                if !drop.remove(key) {
                    add.insert(*key);
                }
            }
        }
        let add = add
            .iter()
            .filter_map(|key| map.entries().get(key).cloned())
            .collect();
        let drop = drop.into_iter().collect();
        Some(Delta {
            from_version: version,
            header: map.header().clone(),
            add,
            drop,
        })
    }

    /// The node's entry.
    pub fn node(&self, node: NodeId) -> Option<&NodeEntry> {
        self.slots.get(&Slot::Node(node))?.as_node()
    }

    /// The entries of all nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeEntry> {
        self.slots
            .range(Slot::Node(NodeId::from_bytes([0; 16]))..)
            .filter_map(|(_, entry)| entry.as_node())
    }

    /// Why a node that is not in can never be again.
    pub fn death_of(&self, node: NodeId) -> Option<Death> {
        if self.slots.contains_key(&Slot::Removed(node)) {
            return Some(Death::Removed);
        }
        if self.slots.contains_key(&Slot::Departed(node)) {
            return Some(Death::Departed);
        }
        self.replaced.get(&node).map(|(by, _)| Death::ReplacedBy(*by))
    }

    /// The highest serial of the root that is held; what the root signs next has a higher one.
    pub fn last_serial(&self) -> u64 {
        self.slots.values().map(|entry| serial(entry)).max().unwrap_or(0)
    }

    /// Why a node that is not in can never be again, and what proves it to that node. `token`: by which it came, where
    /// that is known; only then can it have been put out with all who came by it.
    pub fn removal_of(&self, node: NodeId, token: Option<TokenId>) -> Option<(Death, RemovalProof)> {
        let alone = |slot: &Slot| {
            let entry = self.slots.get(slot)?;
            Some(RemovalProof::new([Entry::clone(entry)]))
        };
        let ousted = token.and_then(|token| Some((Death::TokenRevoked(token), alone(&Slot::Ousted(token))?)));
        let removed = alone(&Slot::Removed(node)).map(|proof| (Death::Removed, proof));
        let departed = alone(&Slot::Departed(node)).map(|proof| (Death::Departed, proof));
        let replaced = self.replaced.get(&node);
        let replaced = replaced.map(|(by, proof)| (Death::ReplacedBy(*by), proof.clone()));
        removed.or(ousted).or(departed).or(replaced)
    }

    /// What proves that another node took this one's place, to be stored: it counts also when that node is out.
    pub fn replacement_of(&self, node: NodeId) -> Option<&RemovalProof> {
        self.replaced.get(&node).map(|(_, proof)| proof)
    }

    /// Takes such a proof from the store; whether it is one.
    pub fn restore_replacement(&mut self, old: NodeId, proof: RemovalProof) -> bool {
        let by = proof.replacement_of(&self.root, old);
        by.map(|by| self.replaced.insert(old, (by, proof))).is_some()
    }

    /// All that is held, for the store: the entries of the map, and delegations that no node uses yet.
    pub fn held(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.slots.values()
    }

    /// The entries of the next version: delegations only where a node came by them.
    fn entries(&self) -> Entries {
        let used: BTreeSet<TokenId> = self.nodes().map(|node| node.enrolment.value().token).collect();
        let shown = self.slots.iter().filter(|(slot, _)| match slot {
            Slot::Delegation(token) => used.contains(token),
            _ => true,
        });
        shown.map(|(_, entry)| (entry.key(), Arc::clone(entry))).collect()
    }

    fn delegation(&self, token: TokenId) -> Option<&Delegation> {
        match self.slots.get(&Slot::Delegation(token))?.body() {
            Body::Delegation(delegation) => Some(delegation.value()),
            _ => None,
        }
    }
}

/// The keys in `these` that `those` lack.
fn missing(these: &Entries, those: &Entries) -> Vec<EntryKey> {
    these
        .keys()
        .filter(|key| !those.contains_key(key))
        .copied()
        .collect()
}
