//! From a map to what is believed of it, in the order in which one thing makes the next credible:
//!
//! 1. what the root signed: parameters, delegations, acts; the older never undoes the newer;
//! 2. the chains of nodes, and the identity that each node id is bound to;
//! 3. who is out: acts, departures under a known identity, replacements;
//! 4. who waits for approval, and whose record is stale or of unfit addresses;
//! 5. who has which address and name;
//! 6. the view, and what is to be remembered.
//!
//! Each step reads what the steps before it put into memory, never the map alone: what was proven once needs no map.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::acts::Effects;
use super::chain::{Verdicts, verify_node};
use super::network_map::Entries;
use super::places::{self, Claim, NotNamed, Wish};
use super::{
    Body, Cause, Death, Entry, EntryKey, MapError, Membership, Memory, NetworkMap, Node, NodeEntry, NodeKeys,
    Refusal, View,
};
use crate::admission::{is_for_nodes_v4, is_for_nodes_v6};
use crate::id::{NetworkId, NodeId};
use crate::keys::RootPublic;
use crate::statement::{Departure, Params, Signed};

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
        let params = self
            .memory
            .params
            .as_ref()
            .ok_or(MapError::NoParams)?
            .value()
            .clone();
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
                Cause::AddressHeld {
                    address: taken.address,
                    holder,
                },
            );
        }
        let nodes = self.nodes(&effects, &believed);
        let mut removed: BTreeMap<_, _> = effects
            .removed
            .keys()
            .map(|node| (*node, Death::Removed))
            .collect();
        let dead = self
            .memory
            .nodes
            .iter()
            .filter_map(|(node, held)| Some((*node, held.death?)));
        removed.extend(dead);
        let view = View {
            at: map.header().value().at(),
            params,
            nodes,
            removed,
            blocked_names: effects.blocked_names(),
            refusals: self.refusals,
        };
        Ok((view, believed))
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

    /// Step 1: parameters, delegations and acts; and what cannot be read at all.
    fn hear_root(&mut self, entries: &Entries) {
        let root = self.root;
        for (key, entry) in entries {
            let (what, network, genuine): (_, _, &dyn Fn() -> bool) = match entry.body() {
                Body::Params(params) => ("set of network parameters", params.value().network(), &|| {
                    params.verify(&root).is_ok()
                }),
                Body::Delegation(delegation) => ("delegation", delegation.value().network, &|| {
                    delegation.verify(&root).is_ok()
                }),
                Body::Act(act) => ("admin act", act.value().network, &|| act.verify(&root).is_ok()),
                Body::Broken { why, .. } => {
                    self.refuse_map(Err(Cause::Unreadable {
                        key: *key,
                        why: why.clone(),
                    }));
                    continue;
                }
                Body::Node(_) | Body::Departure(_) | Body::Newer(_) => continue,
            };
            let foreign = network != self.network;
            let verdict = self.verdicts.on(*key, &root, || match genuine() {
                true if foreign => Err(Cause::WrongNetwork),
                true => Ok(()),
                false => Err(Cause::NotByRoot(what)),
            });
            let noted = verdict.and_then(|()| match entry.body() {
                Body::Params(params) => self.memory.note_params(params),
                Body::Delegation(delegation) => self.memory.note_delegation(delegation),
                Body::Act(act) => {
                    self.memory.note_act(*key, act);
                    Ok(())
                }
                Body::Node(_) | Body::Departure(_) | Body::Newer(_) | Body::Broken { .. } => Ok(()),
            });
            self.refuse_map(noted);
        }
    }

    /// Step 2: the entries whose chain is good and whose identity is the one that their node id is bound to.
    fn genuine(&mut self, entries: &Entries) -> Vec<Arc<Entry>> {
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
        let delegation = self
            .memory
            .delegations
            .get(&token)
            .ok_or(Cause::NoDelegation(token))?
            .value();
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

    /// Step 3, first part: departures that are proven, or may be once their node is known.
    fn hear_departures(&mut self, entries: &Entries) {
        let mut room = self.memory.room_for_unproven();
        for (key, entry) in entries {
            let Body::Departure(departure) = entry.body() else {
                continue;
            };
            let Departure { node, network, .. } = *departure.value();
            if network != self.network || self.memory.departures.contains_key(key) {
                continue;
            }
            if self.memory.nodes.contains_key(&node) {
                if self.departed(*key, departure) {
                    self.memory.note_departure(*key, departure);
                } else {
                    self.refuse(node, Cause::FalseDeparture);
                }
            } else if room > 0 {
                room -= 1;
                self.memory.note_departure(*key, departure);
            }
        }
        let known = self.memory.departures.clone();
        for (key, departure) in &known {
            if self.departed(*key, departure) {
                self.memory.note_death(departure.value().node, Death::Departed);
            }
        }
    }

    /// Whether a departure is its node's own.
    fn departed(&mut self, key: EntryKey, departure: &Signed<Departure>) -> bool {
        let Some(held) = self.memory.nodes.get(&departure.value().node) else {
            return false;
        };
        let verify = || {
            departure
                .verify(&held.identity)
                .map(drop)
                .map_err(|_| Cause::FalseDeparture)
        };
        self.verdicts.on(key, &held.identity, verify).is_ok()
    }

    /// Step 3, second part: who is out, by acts and by being replaced.
    fn bury(&mut self, effects: &Effects, genuine: &[Arc<Entry>]) {
        let dying: Vec<_> = (self.memory.nodes.iter())
            .filter_map(|(node, held)| Some((*node, effects.death_of(*node, held.token)?)))
            .collect();
        dying
            .into_iter()
            .for_each(|(node, death)| self.memory.note_death(node, death));
        let mut replaced = Vec::new();
        for node in genuine.iter().filter_map(|entry| entry.as_node()) {
            let enrolment = node.enrolment.value();
            let delegation = self
                .memory
                .delegations
                .get(&enrolment.token)
                .map(|held| held.value());
            let Some(old) = delegation.and_then(|delegation| delegation.fixed.replaces) else {
                continue;
            };
            let waits =
                delegation.is_some_and(|d| d.terms.approval) && !effects.approved.contains(&enrolment.node);
            let dead = self
                .memory
                .nodes
                .get(&enrolment.node)
                .is_none_or(|held| held.death.is_some());
            if old != enrolment.node && !waits && !dead {
                replaced.push((old, Death::ReplacedBy(enrolment.node)));
            }
        }
        replaced
            .into_iter()
            .for_each(|(node, death)| self.memory.note_death(node, death));
    }

    /// Says so where the map lacks the proof of a removal that this node has.
    fn miss_removals(&mut self, entries: &Entries, effects: &Effects) {
        let acts = self
            .memory
            .acts
            .iter()
            .filter(|((_, key), _)| !entries.contains_key(key));
        let mut missed: BTreeSet<(NodeId, Death)> = BTreeSet::new();
        for (_, act) in acts {
            missed.extend(effects.removals_by(act.value(), self.memory));
        }
        for (key, departure) in &self.memory.departures {
            let node = departure.value().node;
            let left = self
                .memory
                .nodes
                .get(&node)
                .is_some_and(|held| held.death == Some(Death::Departed));
            if left && !entries.contains_key(key) {
                missed.insert((node, Death::Departed));
            }
        }
        for (node, death) in missed {
            self.refuse(node, Cause::RemovalOmitted(death));
        }
    }

    /// Step 4: what each living node held, and what it now says that may count.
    fn claims(
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

    fn rank(&self, entry: &Entry) -> (bool, u64) {
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

    /// Steps 5 and 6: names, and the nodes as the rest of the program sees them.
    fn nodes(&mut self, effects: &Effects, believed: &Believed) -> BTreeMap<NodeId, Arc<Node>> {
        let before: BTreeMap<NodeId, String> = believed
            .keys()
            .filter_map(|node| Some((*node, self.called(*node)?)))
            .collect();
        let wishes = believed.iter().filter_map(|(id, entry)| {
            let own = entry.as_node()?.record.value().host_name.as_str();
            let renamed = effects.renamed.get(id).map(|(_, name)| name.as_str());
            let rank = self.rank(entry);
            let before = before.get(id).map(String::as_str);
            Some(Wish {
                node: *id,
                wanted: renamed.unwrap_or(own),
                before,
                by_admin: renamed.is_some(),
                rank,
            })
        });
        let wishes: Vec<_> = wishes.collect();
        let wanted: BTreeMap<NodeId, String> = wishes
            .iter()
            .map(|wish| (wish.node, wish.wanted.to_owned()))
            .collect();
        let mut nodes = BTreeMap::new();
        for named in places::name(wishes) {
            let Some(node) = believed.get(&named.node).and_then(|entry| entry.as_node()) else {
                continue;
            };
            let name = wanted.get(&named.node).cloned().unwrap_or_default();
            let instead = named.name.clone();
            match named.refused {
                Some(NotNamed::Unfit) => self.refuse(named.node, Cause::NameUnfit { name, instead }),
                Some(NotNamed::Held(holder)) => {
                    self.refuse(
                        named.node,
                        Cause::NameHeld {
                            name,
                            holder,
                            instead,
                        },
                    );
                }
                None => {}
            }
            let record = node.record.value();
            self.memory
                .note_believed(named.node, record.serial, node.record.bytes(), &named.name);
            nodes.insert(named.node, Arc::new(self.node(node, named.name)));
        }
        nodes
    }

    fn node(&self, node: &NodeEntry, name: String) -> Node {
        let (enrolment, record) = (node.enrolment.value(), node.record.value());
        let delegation = self
            .memory
            .delegations
            .get(&enrolment.token)
            .map(|held| held.value());
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

fn newer_than(node: &NodeEntry, other: Option<&Entry>) -> bool {
    let other = other
        .and_then(Entry::as_node)
        .map(|other| other.record.value().serial);
    other.is_none_or(|other| node.record.value().serial > other)
}
