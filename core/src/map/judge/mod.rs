//! From a map to what is believed of it, in the order in which one thing makes the next credible:
//!
//! 1. what the root signed: parameters, delegations, acts; the older never undoes the newer;
//! 2. the chains of nodes, and the identity that each node id is bound to;
//! 3. who is out: acts, departures under a known identity, replacements;
//! 4. who waits for approval, and whose record is stale or of unfit addresses;
//! 5. who has which address, key and name;
//! 6. the view, and what is to be remembered.
//!
//! Each step reads what the steps before it put into memory, never the map alone: what was proven once needs no map.

mod chains;
mod claims;
mod deaths;
mod endpoints;
mod gateways;
mod grants;
mod pods;
mod root;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::acts::Effects;
use super::chain::Verdicts;
use super::places::{self, Named, NotNamed, Wish};
use super::{
    Cause, Death, Entry, MapError, Membership, Memory, NetworkMap, Node, NodeEntry, NodeKeys, Refusal, View,
};
use crate::id::{NetworkId, NodeId};
use crate::keys::RootPublic;

/// Entries that were believed, by node.
pub type Believed = BTreeMap<NodeId, Arc<Entry>>;

/// One judgement of one map.
pub struct Judge<'a> {
    root: RootPublic,
    network: NetworkId,
    memory: &'a mut Memory,
    verdicts: &'a mut Verdicts,
    refusals: Vec<Refusal>,
}

impl<'a> Judge<'a> {
    /// For the network of `root`, with what is remembered and what was verified.
    pub fn new(root: RootPublic, memory: &'a mut Memory, verdicts: &'a mut Verdicts) -> Self {
        Self {
            root,
            network: NetworkId::of_root(&root),
            memory,
            verdicts,
            refusals: Vec::new(),
        }
    }

    /// What is believed of `map`, given what was believed before; and the entries that it rests on.
    ///
    /// # Errors
    /// Where there are no parameters by the root.
    pub fn judge(mut self, map: &NetworkMap, held: &Believed) -> Result<(View, Believed), MapError> {
        let entries = map.entries();
        self.hear_root(entries);
        let params = self.memory.params.as_ref().ok_or(MapError::NoParams)?;
        let params = params.value().clone();
        let genuine = self.genuine(entries);
        self.hear_departures(entries);
        let effects = Effects::of(self.memory.acts.values());
        self.bury(&effects, &genuine);
        self.miss_removals(entries, &effects);
        let claims = self.claims(&params, &effects, &genuine, held);
        let (believed, taken) = places::settle(claims);
        for taken in taken {
            let holder = self
                .called(taken.holder)
                .unwrap_or_else(|| taken.holder.to_string());
            self.refuse(
                taken.node,
                Cause::Held {
                    place: taken.place,
                    holder,
                },
            );
        }
        let nodes = self.nodes(&effects, &believed);
        let relays = &effects.relays;
        let relays = relays
            .iter()
            .copied()
            .filter(|node| nodes.contains_key(node))
            .collect();
        let pods = self.pods(&effects, &params);
        let parts = self.parts(&effects, pods.as_ref(), &nodes);
        let gateways = self.gateways(&effects, &params, &nodes, &parts);
        let grants = self.grants(&effects, &params, pods.as_ref(), &gateways);
        let endpoints = self.endpoints(&effects, &params, pods.as_ref());
        let removed = self.removed(&effects);
        let (at, blocked_names) = (map.header().value().at(), effects.blocked_names());
        let view = View {
            at,
            params,
            nodes,
            removed,
            gateways,
            relays,
            pods,
            parts,
            grants,
            endpoints,
            ingress: effects.ingress,
            blocked_names,
            refusals: self.refusals,
        };
        Ok((view, believed))
    }

    fn removed(&self, effects: &Effects) -> BTreeMap<NodeId, Death> {
        let by_act = effects.removed.keys().map(|node| (*node, Death::Removed));
        let dead = self
            .memory
            .nodes
            .iter()
            .filter_map(|(node, held)| Some((*node, held.death?)));
        by_act.chain(dead).collect()
    }

    fn called(&self, node: NodeId) -> Option<String> {
        self.memory.name(node)
    }

    fn refuse(&mut self, node: NodeId, cause: Cause) {
        let name = self.called(node);
        self.refusals.push(Refusal::about(node, name, cause));
    }

    fn refuse_map(&mut self, result: Result<(), Cause>) {
        self.refusals.extend(result.err().map(Refusal::of_map));
    }

    /// Steps 5 and 6: names, and the nodes as the rest of the program sees them.
    fn nodes(&mut self, effects: &Effects, believed: &Believed) -> BTreeMap<NodeId, Arc<Node>> {
        let mut nodes = BTreeMap::new();
        for named in self.named(effects, believed) {
            let Named {
                node: id,
                name,
                wanted,
                refused,
            } = named;
            let Some(node) = believed.get(&id).and_then(|entry| entry.as_node()) else {
                continue;
            };
            let instead = name.clone();
            let cause = refused.map(|why| match why {
                NotNamed::Unfit => Cause::NameUnfit {
                    name: wanted,
                    instead,
                },
                NotNamed::Held(holder) => Cause::NameHeld {
                    name: wanted,
                    holder,
                    instead,
                },
                NotNamed::OfHost => Cause::NameOfHost {
                    name: wanted,
                    instead,
                },
            });
            if let Some(cause) = cause {
                self.refuse(id, cause);
            }
            self.memory
                .note_believed(id, node.record.value().serial, node.record.bytes(), &name);
            nodes.insert(id, Arc::new(self.node(node, name)));
        }
        nodes
    }

    fn named(&self, effects: &Effects, believed: &Believed) -> Vec<Named> {
        let wishes = believed.iter().filter_map(|(id, entry)| {
            let own = entry.as_node()?.record.value().host_name.as_str();
            let renamed = effects.renamed.get(id).map(|(_, name)| name.as_str());
            Some(Wish {
                node: *id,
                wanted: renamed.unwrap_or(own),
                before: self.memory.nodes.get(id).and_then(|held| held.name.as_deref()),
                by_admin: renamed.is_some(),
                rank: self.rank(entry),
            })
        });
        let gateways = effects.gateways.iter();
        let hosts = gateways
            .filter(|((node, _), _)| believed.contains_key(node))
            .flat_map(|(_, terms)| terms.names.iter().map(|host| host.label.as_str()));
        places::name(wishes.collect(), &hosts.collect())
    }

    fn node(&self, node: &NodeEntry, name: String) -> Node {
        let (enrolment, record) = (node.enrolment.value(), node.record.value());
        let delegation = self.memory.delegation(enrolment.token);
        let terms = delegation.map(|held| held.terms.clone()).unwrap_or_default();
        let listen_port = delegation.and_then(|held| held.fixed.listen_port);
        Node {
            id: enrolment.node,
            name,
            keys: NodeKeys {
                identity: enrolment.identity,
                wireguard: record.wireguard,
                discovery: record.discovery,
            },
            ipv4: record.ipv4,
            ipv6: record.ipv6,
            candidates: record.candidates.clone(),
            home_relay: record.home_relay,
            membership: Membership {
                token: enrolment.token,
                terms,
                listen_port,
            },
            serial: record.serial,
            system: record.system.clone(),
            version: record.version.clone(),
        }
    }
}
