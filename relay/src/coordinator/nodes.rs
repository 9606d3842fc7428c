//! What nodes say once they are in: records, departures, what they remember, and their streams.

use axum::body::Bytes;
use meshd_api::coordinator::node::StreamLine;
use meshd_core::auth::{EXPORTER_LEN, NodeAuthorization};
use meshd_core::id::{NetworkId, NodeId};
use meshd_core::map::{Body, Cause, Entry};
use meshd_core::statement::{Departure, Record, Signed};
use tokio::sync::mpsc;

use super::clones::{Judged, Newcomer};
use super::hub::PING_SECONDS;
use super::network::Network;
use super::refusal::Refusal;
use super::state::{Effect, State, notice};
use crate::serve::session::Session;
use crate::store::{Batch, Table, rows};

impl From<Cause> for Refusal {
    fn from(cause: Cause) -> Self {
        Self::Invalid(cause.to_string())
    }
}

/// The last line for a node that another one replaced.
pub(super) fn replaced_notice() -> StreamLine {
    notice("removed", "another machine took this node's place")
}

/// A map stream that is to be opened.
pub struct Opening {
    /// The network.
    pub network: NetworkId,
    /// The node.
    pub node: NodeId,
    /// The connection.
    pub session: Session,
    /// The machine.
    pub newcomer: Newcomer,
    /// Whether an older connection answered.
    pub alive: bool,
    /// The (epoch, version) of the map that it has.
    pub holds: (u32, u64),
}

impl State {
    /// Takes a node's record. `alive`: whether an older connection of the identity answered.
    pub fn put_record(
        &mut self,
        network: NetworkId,
        id: NodeId,
        record: Signed<Record>,
        newcomer: &Newcomer,
        alive: bool,
    ) -> Result<(), Refusal> {
        let held = self.network(network)?;
        held.check_record(id, &record)?;
        let judged = held.judge(id, newcomer, alive)?;
        let changed = held.take_facts(id, newcomer, &judged);
        let Some(node) = held.nodes.get_mut(&id) else {
            return Ok(());
        };
        if node.record.as_ref() == Some(&record) && !changed {
            return Ok(());
        }
        if !node.budget.take() {
            return Err(Refusal::TooOften);
        }
        self.write(network, |network, batch| {
            let gone = network.take_record(id, record, batch)?;
            let effect = match &judged.line {
                Some(line) => Effect::audited(network, line),
                None => Effect::default(),
            };
            Ok(((), effect.with_gone(gone, &replaced_notice())))
        })
    }

    /// Takes a node's departure; not a clone's, whose original is alive. `alive`: whether an older connection of the identity
    /// answered.
    pub fn leave(
        &mut self,
        network: NetworkId,
        id: NodeId,
        departure: Signed<Departure>,
        newcomer: &Newcomer,
        alive: bool,
    ) -> Result<(), Refusal> {
        self.network(network)?.judge(id, newcomer, alive)?;
        self.write(network, |network, batch| {
            let Some(node) = network.nodes.get(&id) else {
                return Ok(((), Effect::default()));
            };
            let value = departure.verify(&node.identity())?;
            if value.network != network.id || value.node != id {
                return Err(Refusal::Invalid("the departure is another node's".into()));
            }
            let effect = Effect::audited(
                network,
                &format!("node {} ({id}) left", network.name_of(id, node)),
            );
            let ephemeral = network
                .delegation_of(node)
                .is_some_and(|held| held.terms.ephemeral);
            if ephemeral || network.map.node(id).is_none() {
                network.map.drop_ephemeral(id);
            } else {
                network.map.put(Body::Departure(departure.clone()).into())?;
                batch.put(
                    Table::Departures,
                    rows::node_key(&network.id, &id),
                    departure.bytes(),
                );
            }
            network.forget_nodes(&[id], batch);
            Ok((
                (),
                effect.with_gone([id], &notice("left", "this node left the network")),
            ))
        })
    }

    /// Opens a node's map stream; `holds` is the (epoch, version) of the map that it has.
    pub fn open_stream(&mut self, opening: Opening) -> Result<mpsc::Receiver<Bytes>, Refusal> {
        let Opening {
            network: network_id,
            node: id,
            session,
            newcomer,
            alive,
            holds,
        } = opening;
        let reached = session.tls().map(|tls| tls.reached.ip());
        let reached = reached.ok_or(Refusal::Unproven("a map stream needs TLS"))?;
        let relays = self.relays(network_id, id, reached);
        let judged = self.show_facts(network_id, id, &newcomer, alive)?;
        let network = self.network(network_id)?;
        let Some(node) = network.nodes.get(&id) else {
            return Err(Refusal::Unproven("this node is not in the network"));
        };
        let (pending, facts) = (network.is_pending(id, node), node.facts_now.clone());
        let reader = network.hub.open(id, session, facts);
        let relays = if pending { Vec::new() } else { relays };
        let hello = StreamLine::Hello {
            relays,
            ping_seconds: PING_SECONDS,
            coordinators: Vec::new(),
        };
        network.hub.tell(id, &hello);
        if let Some(line) = judged.line {
            network
                .hub
                .tell(id, &notice(if judged.moved { "moved" } else { "clone" }, line));
        }
        if pending {
            let waits = "this node waits for an admin's approval: `meshctl node approve`";
            network.hub.tell(id, &notice("pending", waits));
        } else {
            network.hub.catch_up(id, holds, &network.map);
        }
        Ok(reader)
    }

    /// Judges the facts of who opens a stream; where it gives none, nothing is to be judged.
    fn show_facts(
        &mut self,
        network: NetworkId,
        id: NodeId,
        newcomer: &Newcomer,
        alive: bool,
    ) -> Result<Judged, Refusal> {
        if newcomer.facts.0.is_empty() {
            return Ok(Judged::default());
        }
        let held = self.network(network)?;
        let judged = held.judge(id, newcomer, alive)?;
        if held.take_facts(id, newcomer, &judged) || judged.line.is_some() {
            let line = judged.line.clone();
            self.write(network, |network, batch| {
                network.save_node(id, batch);
                let effect = line.map(|line| Effect::audited(network, &line));
                Ok(((), effect.unwrap_or_default()))
            })?;
        }
        Ok(judged)
    }

    /// A node answers a ping.
    pub fn pong(&mut self, network: NetworkId, id: NodeId, nonce: u64) -> Result<(), Refusal> {
        self.network(network)?.hub.pong(id, nonce);
        Ok(())
    }

    /// Takes what is genuine and newer of what a node remembers; how much that was.
    pub fn absorb(&mut self, network: NetworkId, entries: Vec<Entry>) -> Result<usize, Refusal> {
        let held = self.network(network)?;
        let known: std::collections::BTreeSet<_> = held.map.held().map(|entry| entry.key()).collect();
        let news: Vec<Entry> = entries
            .into_iter()
            .filter(|entry| !known.contains(&entry.key()))
            .collect();
        if news.is_empty() {
            return Ok(0);
        }
        self.write(network, |network, batch| {
            let absorbed = network.map.absorb(news);
            for entry in &absorbed.taken {
                network.take_entry(entry.body(), batch);
            }
            network.forget_nodes(&absorbed.removed, batch);
            super::load::gather_effects(network);
            let count = absorbed.taken.len();
            let line = format!("{count} statement(s) taken back from a node");
            let effect = if count > 0 {
                Effect::audited(network, &line)
            } else {
                Effect::default()
            };
            let last = notice("removed", "this node was removed, as another node remembers");
            Ok((count, effect.with_gone(absorbed.removed, &last)))
        })
    }

    /// Whether a node that is not known here proves, by its own chain among `entries`, that it made this proof.
    pub fn recognise(
        &mut self,
        proof: &NodeAuthorization,
        exporter: &[u8; EXPORTER_LEN],
        entries: &[Entry],
    ) -> Result<(), Refusal> {
        let own = entries
            .iter()
            .filter_map(Entry::as_node)
            .find(|entry| entry.node() == proof.node);
        let own = own.filter(|own| proof.verify(exporter, &own.enrolment.value().identity));
        let own = own.ok_or(Refusal::Unproven(
            "the signature does not prove that you are this node",
        ))?;
        let token = own.enrolment.value().token;
        match self
            .network(proof.network)?
            .map
            .removal_of(proof.node, Some(token))
        {
            Some((death, proof)) => Err(Refusal::Removed { death, proof }),
            None => Ok(()),
        }
    }
}

impl Network {
    /// A record must be the node's own, newer, and say what was allotted.
    fn check_record(&self, id: NodeId, record: &Signed<Record>) -> Result<(), Refusal> {
        let Some(node) = self.nodes.get(&id) else {
            return Err(Refusal::Unproven("this node is not in the network"));
        };
        let value = record.verify(&node.identity())?;
        if value.network != self.id || value.node != id {
            return Err(Refusal::Invalid("the record is another node's".into()));
        }
        if let Some(held) = &node.record
            && held != record
            && value.serial <= held.value().serial
        {
            return Err(Refusal::StaleSerial {
                got: value.serial,
                held: held.value().serial,
            });
        }
        let allotted = (value.ipv4, value.ipv6) == (node.row.ipv4, node.row.ipv6);
        if !allotted || self.is_held(id, value.ipv4) && self.map.node(id).is_none() {
            return Err(Refusal::Reallotted {
                name: node.row.name.clone(),
                ipv4: node.row.ipv4,
            });
        }
        if value.host_name != node.row.name && Some(&*value.host_name) != self.effects.renamed(id) {
            return Err(Refusal::Reallotted {
                name: node.row.name.clone(),
                ipv4: node.row.ipv4,
            });
        }
        Ok(())
    }

    /// Takes a record that was checked; the nodes that it puts out.
    fn take_record(
        &mut self,
        id: NodeId,
        record: Signed<Record>,
        batch: &mut Batch,
    ) -> Result<Vec<NodeId>, Refusal> {
        let Some(node) = self.nodes.get_mut(&id) else {
            return Ok(Vec::new());
        };
        let before = node.record.replace(record);
        let put = self.put_in_map(id);
        if let (Err(_), Some(node)) = (&put, self.nodes.get_mut(&id)) {
            node.record = before;
        }
        let gone = put?;
        self.save_node(id, batch);
        self.forget_nodes(&gone, batch);
        Ok(gone)
    }

    /// Puts a node into the map, if it is approved and has a record; the nodes that this puts out, one whose place it
    /// takes also where that had no record yet.
    pub(super) fn put_in_map(&mut self, id: NodeId) -> Result<Vec<NodeId>, Refusal> {
        let Some(node) = self.nodes.get(&id) else {
            return Ok(Vec::new());
        };
        let replaced = self
            .delegation_of(node)
            .and_then(|delegation| delegation.fixed.replaces);
        let Some(entry) = node.entry().filter(|_| !self.is_pending(id, node)) else {
            return Ok(Vec::new());
        };
        let mut gone = self.map.put(entry)?.removed;
        gone.extend(replaced.filter(|old| *old != id && self.nodes.contains_key(old) && !gone.contains(old)));
        Ok(gone)
    }

    /// Writes down an entry that the map took from a node.
    fn take_entry(&mut self, body: &Body, batch: &mut Batch) {
        match body {
            Body::Params(params) => {
                self.last_serial = self.last_serial.max(params.value().serial);
                self.params = params.clone();
            }
            Body::Delegation(delegation) => self.take_delegation(delegation, batch),
            Body::Act(act) => {
                self.last_serial = self.last_serial.max(act.value().serial);
                self.save_act(act, batch);
            }
            Body::Node(entry) => self.take_node(entry, batch),
            Body::Departure(departure) => {
                let key = rows::node_key(&self.id, &departure.value().node);
                batch.put(Table::Departures, key, departure.bytes());
            }
            Body::Newer(_) | Body::Broken { .. } => {}
        }
    }
}
