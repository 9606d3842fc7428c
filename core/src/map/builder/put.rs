//! What is taken into the map, and what it puts out.

use std::sync::Arc;

use super::MapBuilder;
use super::slot::{Slot, serial};
use crate::id::{NetworkId, NodeId};
use crate::map::chain::verify_node;
use crate::map::proof::replacement;
use crate::map::{Body, Cause, Death, Entry, NodeEntry, Place, Put};
use crate::statement::{Act, Deed, Delegation, Departure, Enrolment, Grant, Grantee, Params, Record, Signed};

/// Departures of unknown nodes that are kept aside, should these nodes turn up.
const MAX_UNPROVEN: usize = 4_096;

impl MapBuilder {
    pub(super) fn put_params(&mut self, entry: Entry, params: &Signed<Params>) -> Result<Put, Cause> {
        let what = "set of network parameters";
        params.verify(&self.root).map_err(|_| Cause::NotByRoot(what))?;
        self.put_newer(Slot::Params, entry, what)
    }

    pub(super) fn put_delegation(
        &mut self,
        entry: Entry,
        delegation: &Signed<Delegation>,
    ) -> Result<Put, Cause> {
        let value = delegation
            .verify(&self.root)
            .map_err(|_| Cause::NotByRoot("delegation"))?;
        self.own(value.network)?;
        self.put_newer(Slot::Delegation(value.token), entry, "delegation")
    }

    pub(super) fn put_act(&mut self, entry: Entry, act: &Signed<Act>) -> Result<Put, Cause> {
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
            Deed::Gateway { node, .. } | Deed::WithdrawGateway { node, .. } | Deed::Relay { node, .. }
                if self.death_of(node).is_some() =>
            {
                Ok(Put::default())
            }
            Deed::Gateway { node, terms } => {
                self.put_newer(Slot::Gateway(node, terms.range), entry, "gateway")
            }
            Deed::WithdrawGateway { node, range } => {
                self.put_newer(Slot::Gateway(node, range), entry, "gateway")
            }
            Deed::Relay { node, .. } => self.put_newer(Slot::Relay(node), entry, "admin act"),
            Deed::PodNetwork { .. } => self.put_newer(Slot::PodNetwork, entry, "set of pod prefixes"),
            Deed::PodPrefixes { node, .. } if self.death_of(node).is_some() => Ok(Put::default()),
            Deed::PodPrefixes { node, .. } => {
                self.put_newer(Slot::PodPrefixes(node), entry, "pod prefix of a node")
            }
            Deed::Grant { grant, .. } if self.is_for_the_dead(&grant) => Ok(Put::default()),
            Deed::Grant { grant, .. } => self.put_newer(Slot::Grant(grant), entry, "grant"),
            Deed::Endpoint { name, .. } | Deed::WithdrawEndpoint { name } => {
                self.put_newer(Slot::Endpoint(name), entry, "endpoint")
            }
            Deed::Expose { name, .. } | Deed::WithdrawExpose { name } => {
                self.put_newer(Slot::Expose(name), entry, "exposure")
            }
            Deed::Ingress { name, .. } | Deed::WithdrawIngress { name } => {
                self.put_newer(Slot::Ingress(name), entry, "allowance")
            }
            Deed::Unknown { .. } => {
                let slot = Slot::OtherAct(entry.key());
                self.put_newer(slot, entry, "admin act")
            }
        }
    }

    fn is_for_the_dead(&self, grant: &Grant) -> bool {
        matches!(grant.to, Grantee::Node(node) if self.death_of(node).is_some())
    }

    pub(super) fn put_node(&mut self, entry: Entry, node: &NodeEntry) -> Result<Put, Cause> {
        let Enrolment {
            token,
            node: id,
            identity,
            ..
        } = *node.enrolment.value();
        let delegation = self.delegation(token).ok_or(Cause::NoDelegation(token))?.clone();
        verify_node(node, &delegation, self.network)?;
        let gone = |gone: &Signed<Departure>| gone.value().node == id && gone.verify(&identity).is_ok();
        if let Some(proof) = self.unproven.iter().position(gone) {
            let departure = self.unproven.swap_remove(proof);
            self.bury(
                Slot::Departed(id),
                Entry::from(Body::Departure(departure)),
                vec![id],
            );
        }
        self.may_be_in(id, &delegation)?;
        self.is_newer(node)?;
        self.keys_free(id, node, delegation.fixed.replaces)?;
        let replaced: Vec<_> = delegation
            .fixed
            .replaces
            .into_iter()
            .filter(|old| *old != id)
            .collect();
        for old in &replaced {
            self.note_replaced(*old, node);
        }
        Ok(self.bury(Slot::Node(id), entry, replaced))
    }

    fn note_replaced(&mut self, old: NodeId, by: &NodeEntry) {
        let id = by.node();
        let held = |slot: &Slot| self.slots.get(slot).map(|entry| Entry::clone(entry));
        let Some(delegation) = held(&Slot::Delegation(by.enrolment.value().token)) else {
            return;
        };
        let proof = replacement(delegation, held(&Slot::Approved(id)), by);
        self.replaced.entry(old).or_insert((id, proof));
    }

    /// Neither out nor waiting.
    fn may_be_in(&self, id: NodeId, delegation: &Delegation) -> Result<(), Cause> {
        let ousted = self.slots.contains_key(&Slot::Ousted(delegation.token));
        let ousted = ousted.then_some(Death::TokenRevoked(delegation.token));
        if let Some(death) = ousted.or_else(|| self.death_of(id)) {
            return Err(Cause::Dead(death));
        }
        if delegation.terms.approval && !self.slots.contains_key(&Slot::Approved(id)) {
            return Err(Cause::NotApproved);
        }
        Ok(())
    }

    /// Of the identity held for its node, and no older than the record held.
    fn is_newer(&self, node: &NodeEntry) -> Result<(), Cause> {
        let Some(old) = self.node(node.node()) else {
            return Ok(());
        };
        let identity = |node: &NodeEntry| node.enrolment.value().identity;
        let (held, got) = (identity(old), identity(node));
        if held != got {
            return Err(Cause::ChangedIdentity { held, got });
        }
        let (held, got) = (old.record.value().serial, node.record.value().serial);
        if got < held || (got == held && old.record != node.record) {
            return Err(Cause::StaleRecord { got, held });
        }
        Ok(())
    }

    pub(super) fn put_departure(
        &mut self,
        entry: Entry,
        departure: &Signed<Departure>,
    ) -> Result<Put, Cause> {
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

    /// Addresses are the coordinator's to allot; keys are the nodes' own, and nobody may show another's.
    fn keys_free(&self, id: NodeId, node: &NodeEntry, replaced: Option<NodeId>) -> Result<(), Cause> {
        let keys = |record: &Record| (record.wireguard, record.discovery);
        let (wireguard, discovery) = keys(node.record.value());
        for other in self
            .nodes()
            .filter(|other| other.node() != id && Some(other.node()) != replaced)
        {
            let held = keys(other.record.value());
            let place = match held {
                _ if held.0 == wireguard => Place::WireGuard(wireguard),
                _ if held.1 == discovery => Place::Discovery(discovery),
                _ => continue,
            };
            return Err(Cause::Held {
                place,
                holder: other.record.value().host_name.clone(),
            });
        }
        Ok(())
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
    pub(super) fn bury(&mut self, slot: Slot, entry: Entry, nodes: Vec<NodeId>) -> Put {
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
            if final_word {
                self.slots.remove(&Slot::Relay(node));
            }
            self.slots.remove(&Slot::PodPrefixes(node));
            self.slots.retain(|slot, _| match slot {
                Slot::Gateway(gateway, _) => *gateway != node || !final_word,
                Slot::Grant(grant) => grant.to != Grantee::Node(node) || !final_word,
                _ => true,
            });
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
