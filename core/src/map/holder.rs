//! A node's hold on its network: the last map, what was verified, what is remembered, what is believed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::chain::Verdicts;
use super::judge::{Believed, Judge};
use super::{Body, Death, Delta, Entry, MapError, Memory, NetworkMap, Refusal, View};
use crate::id::{NetworkId, NodeId};
use crate::keys::{CoordinatorPublic, RootPublic};
use crate::statement::{MapHeader, Signed};

/// Takes maps and deltas, and says what they come to. A map that is refused changes nothing.
#[derive(Debug)]
pub struct MapHolder {
    pub(super) root: RootPublic,
    pub(super) coordinators: Vec<CoordinatorPublic>,
    pub(super) map: Option<NetworkMap>,
    pub(super) believed: Believed,
    pub(super) verdicts: Verdicts,
    pub(super) memory: Memory,
    pub(super) view: Option<Arc<View>>,
}

/// What a map changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Nodes that are in now, and were not.
    pub joined: Vec<NodeId>,
    /// Nodes that were in, and are not.
    pub left: Vec<NodeId>,
    /// Nodes of which anything changed.
    pub changed: Vec<NodeId>,
    /// Whether the network's parameters changed.
    pub params: bool,
    /// Refusals that were not there before.
    pub refusals: Vec<Refusal>,
}

impl MapHolder {
    /// A hold on the network of `root` with nothing in it yet; `coordinators` may sign its map headers.
    pub fn new(root: RootPublic, coordinators: Vec<CoordinatorPublic>) -> Self {
        Self {
            root,
            coordinators,
            map: None,
            believed: Believed::new(),
            verdicts: Verdicts::default(),
            memory: Memory::default(),
            view: None,
        }
    }

    /// The keys that may sign map headers from now on.
    pub fn set_coordinators(&mut self, coordinators: Vec<CoordinatorPublic>) {
        self.coordinators = coordinators;
    }

    /// Takes a whole map, from the coordinator or from a peer.
    ///
    /// # Errors
    /// Where it is not a newer map of this network signed by a coordinator; what is held stays in force.
    pub fn apply_full(&mut self, map: NetworkMap) -> Result<Changes, MapError> {
        if self.is_known(map.header())? {
            Ok(Changes::default())
        } else {
            self.take(map)
        }
    }

    /// Takes a change of the map held.
    ///
    /// # Errors
    /// As [`apply_full`](Self::apply_full); and where it does not fit the map held, so that the whole map is needed
    /// ([`MapError::wants_full`]).
    pub fn apply_delta(&mut self, delta: &Delta) -> Result<Changes, MapError> {
        if self.is_known(&delta.header)? {
            return Ok(Changes::default());
        }
        let none = MapError::NotFromHere {
            from: delta.from_version,
            held: 0,
        };
        let map = self.map.as_ref().ok_or(none)?.apply(delta)?;
        self.take(map)
    }

    /// What is believed; none before the first map.
    pub fn view(&self) -> Option<&Arc<View>> {
        self.view.as_ref()
    }

    /// (epoch, version) of the map held; (0, 0) before the first.
    pub fn at(&self) -> (u32, u64) {
        self.map.as_ref().map_or((0, 0), |map| map.header().value().at())
    }

    /// The map held, as peers and the coordinator exchange it.
    pub fn map(&self) -> Option<&NetworkMap> {
        self.map.as_ref()
    }

    /// The network.
    pub fn network(&self) -> NetworkId {
        NetworkId::of_root(&self.root)
    }

    /// Why a node is out for good, where it is.
    pub fn death_of(&self, node: NodeId) -> Option<Death> {
        self.view.as_ref()?.removed.get(&node).copied()
    }

    /// How many entries were verified so far.
    pub fn verifications(&self) -> u64 {
        self.verdicts.made()
    }

    /// All that this node can prove, for a coordinator that was restored from an older backup: what the root signed, the
    /// nodes that are in, and who left.
    pub fn testimony(&self) -> Vec<Entry> {
        let memory = &self.memory;
        let mut entries: Vec<Entry> = Vec::new();
        entries.extend(
            memory
                .params
                .iter()
                .cloned()
                .map(|params| Body::Params(params).into()),
        );
        entries.extend(
            memory
                .delegations
                .values()
                .cloned()
                .map(|held| Body::Delegation(held).into()),
        );
        entries.extend(memory.acts.values().cloned().map(|act| Body::Act(act).into()));
        entries.extend(self.believed.values().map(|entry| Entry::clone(entry)));
        entries.extend(
            memory
                .departures
                .values()
                .cloned()
                .map(|gone| Body::Departure(gone).into()),
        );
        entries
    }

    /// Whether a header is of the very map held; else it is newer.
    fn is_known(&self, header: &Signed<MapHeader>) -> Result<bool, MapError> {
        let value = header.value();
        if value.network != self.network() {
            return Err(MapError::WrongNetwork);
        }
        let mut refused = MapError::Malformed("no coordinator key is known to check it with");
        let mut signed = false;
        for coordinator in &self.coordinators {
            match header.verify(coordinator) {
                Ok(_) => signed = true,
                Err(error) => refused = error.into(),
            }
        }
        if !signed {
            return Err(refused);
        }
        match self.memory.seen {
            Some((held, _)) if value.at() < held => Err(MapError::Older {
                got: value.at(),
                held,
            }),
            Some((held, digest)) if value.at() == held && digest != value.digest => {
                Err(MapError::Forked(held))
            }
            Some((held, _)) => Ok(value.at() == held && self.at() == held),
            None => Ok(false),
        }
    }

    fn take(&mut self, map: NetworkMap) -> Result<Changes, MapError> {
        let judge = Judge::new(self.root, &mut self.memory, &mut self.verdicts);
        let (view, believed) = judge.judge(&map, &self.believed)?;
        let header = map.header().value();
        self.memory.seen = Some((header.at(), header.digest));
        let mut keys: BTreeSet<_> = map.entries().keys().copied().collect();
        keys.extend(believed.values().map(|entry| entry.key()));
        keys.extend(self.memory.departures.keys());
        self.verdicts.keep(&keys);
        self.map = Some(map);
        self.believed = believed;
        Ok(self.show(view))
    }

    /// Puts a view in force. Nodes that are as they were stay the same allocation.
    pub(super) fn show(&mut self, mut view: View) -> Changes {
        let mut changes = Changes::default();
        let none = BTreeMap::new();
        let before = self.view.as_ref().map_or(&none, |view| &view.nodes);
        for (id, node) in &mut view.nodes {
            match before.get(id) {
                Some(old) if old == node => *node = Arc::clone(old),
                Some(_) => changes.changed.push(*id),
                None => changes.joined.push(*id),
            }
        }
        changes.left = before
            .keys()
            .filter(|id| !view.nodes.contains_key(id))
            .copied()
            .collect();
        changes.params = self.view.as_ref().is_none_or(|old| old.params != view.params);
        let refused = self.view.as_ref().map_or(&[][..], |old| &old.refusals);
        let fresh = view.refusals.iter().filter(|refusal| !refused.contains(refusal));
        changes.refusals = fresh.cloned().collect();
        self.view = Some(Arc::new(view));
        changes
    }
}
