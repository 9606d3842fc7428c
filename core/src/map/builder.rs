//! The coordinator's side: statements in, versions of the map and deltas between them out.
//!
//! Everything goes through [`MapBuilder::put`], which verifies as strictly as a node will: what a node would refuse never
//! gets into the map, whether it comes from the store, from a join, or from a node that remembers more than a restored
//! backup does. Each thing has one slot, so that the newer statement on it takes the older one's place.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::chain::verify_node;
use super::network_map::Entries;
use super::{Body, Cause, Death, Delta, Entry, EntryKey, MapError, NetworkMap, NodeEntry, digest};
use crate::id::{NetworkId, NodeId, TokenId};
use crate::keys::{CoordinatorSecret, RootPublic};
use crate::statement::{Act, Deed, Delegation, Departure, MapHeader, Params, Signed};

/// Versions between which deltas can be had; who is further behind gets the whole map.
const HISTORY: usize = 256;
/// Departures of unknown nodes that are kept aside, should these nodes turn up.
const MAX_UNPROVEN: usize = 4_096;

/// Makes the versions of a network's map.
#[derive(Debug)]
pub struct MapBuilder {
    root: RootPublic,
    network: NetworkId,
    at: (u32, u64),
    slots: BTreeMap<Slot, Arc<Entry>>,
    unproven: Vec<Signed<Departure>>,
    published: Option<Arc<NetworkMap>>,
    history: VecDeque<Step>,
}

/// What there can be only one of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Params,
    Delegation(TokenId),
    Ousted(TokenId),
    Revoked(TokenId),
    Removed(NodeId),
    Departed(NodeId),
    Approved(NodeId),
    Renamed(NodeId),
    Freed(String),
    OtherAct(EntryKey),
    Node(NodeId),
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
            Some(old) => {
                let add: Vec<_> = entries
                    .keys()
                    .filter(|key| !old.entries().contains_key(key))
                    .copied()
                    .collect();
                let drop: Vec<_> = old
                    .entries()
                    .keys()
                    .filter(|key| !entries.contains_key(key))
                    .copied()
                    .collect();
                if add.is_empty() && drop.is_empty() {
                    return Ok(false);
                }
                (add, drop)
            }
            None => (Vec::new(), Vec::new()),
        };
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
        let replacing = self.nodes().find(|other| {
            let delegation = self.delegation(other.enrolment.value().token);
            delegation.is_some_and(|held| held.fixed.replaces == Some(node))
        });
        replacing.map(|other| Death::ReplacedBy(other.node()))
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

    fn put_params(&mut self, entry: Entry, params: &Signed<Params>) -> Result<Put, Cause> {
        let what = "set of network parameters";
        params.verify(&self.root).map_err(|_| Cause::NotByRoot(what))?;
        self.put_newer(Slot::Params, entry, what)
    }

    fn put_delegation(&mut self, entry: Entry, delegation: &Signed<Delegation>) -> Result<Put, Cause> {
        let value = delegation
            .verify(&self.root)
            .map_err(|_| Cause::NotByRoot("delegation"))?;
        self.own(value.network)?;
        self.put_newer(Slot::Delegation(value.token), entry, "delegation")
    }

    fn put_act(&mut self, entry: Entry, act: &Signed<Act>) -> Result<Put, Cause> {
        let act = act
            .verify(&self.root)
            .map_err(|_| Cause::NotByRoot("admin act"))?;
        self.own(act.network)?;
        match act.deed.clone() {
            Deed::Remove { node, .. } => Ok(self.bury(Slot::Removed(node), entry, vec![node])),
            Deed::RevokeTokenAndNodes { token } => {
                let came_by = self.nodes().filter(|node| node.enrolment.value().token == token);
                let nodes = came_by.map(NodeEntry::node).collect();
                Ok(self.bury(Slot::Ousted(token), entry, nodes))
            }
            Deed::Approve { node } => self.put_newer(Slot::Approved(node), entry, "admin act"),
            Deed::Rename { node, .. } => self.put_newer(Slot::Renamed(node), entry, "admin act"),
            Deed::FreeName { name } => self.put_newer(Slot::Freed(name), entry, "admin act"),
            Deed::RevokeToken { token } => self.put_newer(Slot::Revoked(token), entry, "admin act"),
            Deed::Unknown { .. } => {
                let slot = Slot::OtherAct(entry.key());
                self.put_newer(slot, entry, "admin act")
            }
        }
    }

    fn put_node(&mut self, entry: Entry, node: &NodeEntry) -> Result<Put, Cause> {
        let enrolment = node.enrolment.value().clone();
        let id = enrolment.node;
        let delegation = self
            .delegation(enrolment.token)
            .ok_or(Cause::NoDelegation(enrolment.token))?
            .clone();
        verify_node(node, &delegation, self.network)?;
        if let Some(proof) = self
            .unproven
            .iter()
            .position(|gone| gone.value().node == id && gone.verify(&enrolment.identity).is_ok())
        {
            let departure = self.unproven.swap_remove(proof);
            self.bury(
                Slot::Departed(id),
                Entry::from(Body::Departure(departure)),
                vec![id],
            );
        }
        if self.slots.contains_key(&Slot::Ousted(enrolment.token)) {
            return Err(Cause::Dead(Death::TokenRevoked(enrolment.token)));
        }
        if let Some(death) = self.death_of(id) {
            return Err(Cause::Dead(death));
        }
        if delegation.terms.approval && !self.slots.contains_key(&Slot::Approved(id)) {
            return Err(Cause::NotApproved);
        }
        if let Some(held) = self.node(id) {
            let (held_identity, got) = (held.enrolment.value().identity, enrolment.identity);
            if held_identity != got {
                return Err(Cause::ChangedIdentity {
                    held: held_identity,
                    got,
                });
            }
            let (held_serial, got) = (held.record.value().serial, node.record.value().serial);
            if got < held_serial || (got == held_serial && held.record != node.record) {
                return Err(Cause::StaleRecord {
                    got,
                    held: held_serial,
                });
            }
        }
        let replaced: Vec<_> = delegation
            .fixed
            .replaces
            .into_iter()
            .filter(|old| *old != id)
            .collect();
        Ok(self.bury(Slot::Node(id), entry, replaced))
    }

    fn put_departure(&mut self, entry: Entry, departure: &Signed<Departure>) -> Result<Put, Cause> {
        let Departure { node, network, .. } = *departure.value();
        self.own(network)?;
        if self.slots.contains_key(&Slot::Departed(node)) {
            return Ok(Put::default());
        }
        match self.node(node).map(|held| held.enrolment.value().identity) {
            Some(identity) if departure.verify(&identity).is_ok() => {
                Ok(self.bury(Slot::Departed(node), entry, vec![node]))
            }
            Some(_) => Err(Cause::FalseDeparture),
            None => {
                if self.unproven.len() < MAX_UNPROVEN && !self.unproven.contains(departure) {
                    self.unproven.push(departure.clone());
                }
                Err(Cause::UnprovenDeparture)
            }
        }
    }

    fn own(&self, network: NetworkId) -> Result<(), Cause> {
        if network == self.network {
            Ok(())
        } else {
            Err(Cause::WrongNetwork)
        }
    }

    /// Fills a slot of the root's, where nothing newer is in it.
    fn put_newer(&mut self, slot: Slot, entry: Entry, what: &'static str) -> Result<Put, Cause> {
        if let Some(old) = self.slots.get(&slot) {
            let (held, got) = (serial(old), serial(&entry));
            if **old == entry {
                return Ok(Put::default());
            }
            if got <= held {
                return Err(Cause::Superseded { what, got, held });
            }
        }
        self.slots.insert(slot, Arc::new(entry));
        Ok(Put {
            changed: true,
            removed: Vec::new(),
        })
    }

    /// Fills a slot, and drops the nodes that this puts out with all that was said about them.
    fn bury(&mut self, slot: Slot, entry: Entry, nodes: Vec<NodeId>) -> Put {
        let final_word = !matches!(slot, Slot::Node(_));
        let known = self
            .slots
            .get(&slot)
            .is_some_and(|old| final_word || **old == entry);
        if !known {
            self.slots.insert(slot, Arc::new(entry));
        }
        let mut removed = Vec::new();
        for node in nodes {
            self.slots.remove(&Slot::Approved(node));
            self.slots.remove(&Slot::Renamed(node));
            if self.slots.remove(&Slot::Node(node)).is_some() {
                removed.push(node);
            }
        }
        Put {
            changed: !known || !removed.is_empty(),
            removed,
        }
    }
}

/// The serial of what the root signed.
fn serial(entry: &Entry) -> u64 {
    match entry.body() {
        Body::Params(params) => params.value().serial,
        Body::Delegation(delegation) => delegation.value().serial,
        Body::Act(act) => act.value().serial,
        Body::Node(_) | Body::Departure(_) | Body::Newer(_) | Body::Broken { .. } => 0,
    }
}
