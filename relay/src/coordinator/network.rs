//! One network in memory: what the store holds of it, verified, and who is connected.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use meshd_api::Base64Bytes;
use meshd_api::coordinator::relay::RelayMember;
use meshd_core::admission::{Facts, Holders, Names, Returning, TokenState};
use meshd_core::id::{NetworkId, NodeId, TokenId};
use meshd_core::keys::{IdentityPublic, RootSecret};
use meshd_core::map::{Body, Entry, MapBuilder, NodeEntry};
use meshd_core::statement::{Act, Delegation, Enrolment, Params, PodPrefixes, Record, Signed};

use super::effects::{Block, Effects};
use super::hub::Hub;
use super::refusal::Refusal;
use super::state::unix_now;
use crate::store::rows::{self, NetworkRow, NodeRow, SecretBytes, TokenRow};
use crate::store::{Batch, Table};

/// A network.
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// Its parameters.
    pub params: Signed<Params>,
    /// Its root key, where it is kept here.
    pub root: Option<RootSecret>,
    /// Its map, published and to come.
    pub map: MapBuilder,
    /// Its tokens.
    pub tokens: BTreeMap<TokenId, Token>,
    /// Its nodes that are in or wait for approval.
    pub nodes: BTreeMap<NodeId, Node>,
    /// What all acts come to.
    pub effects: Effects,
    /// Names blocked without an act that says so.
    pub blocks: BTreeMap<String, Block>,
    /// Highest serial of a root-signed statement.
    pub last_serial: u64,
    /// Who is connected.
    pub hub: Hub,
    /// Parts that Kubernetes gave nodes, which an admin has to sign: the root key is not here.
    pub told: BTreeMap<NodeId, PodPrefixes>,
}

/// A token.
pub struct Token {
    /// What the root delegated.
    pub delegation: Signed<Delegation>,
    /// Joins so far.
    pub used: u32,
}

/// A node that is in, or waits for approval.
pub struct Node {
    /// How it came in.
    pub enrolment: Signed<Enrolment>,
    /// What it last said of itself.
    pub record: Option<Signed<Record>>,
    /// What is stored beside.
    pub row: NodeRow,
    /// The facts that it last gave; what is in the row are the first ones.
    pub facts_now: Facts,
    /// How often it may say something new.
    pub budget: Budget,
}

/// Changes of a node's record are pushed to all others: [`Self::BURST`] at once, one a second in the long run.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    left: u64,
    since: Instant,
}

impl Budget {
    const BURST: u64 = 20;

    /// Takes one; whether it was there.
    pub fn take(&mut self) -> bool {
        let earned = self.since.elapsed().as_secs();
        self.since += Duration::from_secs(earned);
        self.left = self.left.saturating_add(earned).min(Self::BURST);
        let there = self.left > 0;
        self.left = self.left.saturating_sub(1);
        there
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            left: Self::BURST,
            since: Instant::now(),
        }
    }
}

impl Node {
    /// A node as it is stored. The facts that it gave last are taken for the first ones until it gives some.
    pub fn new(enrolment: Signed<Enrolment>, record: Option<Signed<Record>>, row: NodeRow) -> Self {
        let facts_now = Facts(row.facts.clone());
        Self {
            enrolment,
            record,
            row,
            facts_now,
            budget: Budget::default(),
        }
    }

    /// Its identity key.
    pub fn identity(&self) -> IdentityPublic {
        self.enrolment.value().identity
    }

    /// The token that it came by.
    pub fn token(&self) -> TokenId {
        self.enrolment.value().token
    }

    /// Its entry for the map, once it has a record.
    pub fn entry(&self) -> Option<Entry> {
        let (enrolment, record) = (self.enrolment.clone(), self.record.clone()?);
        Some(Body::Node(NodeEntry { enrolment, record }).into())
    }
}

impl Network {
    /// A network of which only the parameters are known.
    pub fn new(params: Signed<Params>, root: Option<RootSecret>, at: (u32, u64)) -> Self {
        let map = MapBuilder::new(params.value().root, at);
        Self {
            id: params.value().network(),
            root,
            map,
            tokens: BTreeMap::new(),
            nodes: BTreeMap::new(),
            effects: Effects::default(),
            blocks: BTreeMap::new(),
            last_serial: params.value().serial,
            hub: Hub::default(),
            told: BTreeMap::new(),
            params,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.params.value().name
    }

    /// The node's name in force: an admin's, or the one allotted.
    pub fn name_of<'a>(&'a self, id: NodeId, node: &'a Node) -> &'a str {
        self.effects.renamed(id).unwrap_or(&node.row.name)
    }

    /// The terms on which a node is in.
    pub fn delegation_of(&self, node: &Node) -> Option<&Delegation> {
        self.tokens
            .get(&node.token())
            .map(|token| token.delegation.value())
    }

    /// Whether a node waits for approval.
    pub fn is_pending(&self, id: NodeId, node: &Node) -> bool {
        let wanted = self
            .delegation_of(node)
            .is_none_or(|delegation| delegation.terms.approval);
        wanted && !self.effects.approved(id)
    }

    /// The nodes that may use the relay and are in the map once they have a record.
    pub fn members(&self) -> impl Iterator<Item = NodeId> {
        self.nodes
            .iter()
            .filter(|(id, node)| !self.is_pending(**id, node))
            .map(|(id, _)| *id)
    }

    /// The same, as a relay on another host is told of them.
    pub fn relay_members(&self) -> impl Iterator<Item = RelayMember> {
        self.members().filter_map(|id| {
            Some(RelayMember {
                node: id.to_string(),
                identity: self.nodes.get(&id)?.identity().to_string(),
            })
        })
    }

    /// The token as admission judges it.
    pub fn token_state(&self, token: TokenId) -> Option<TokenState> {
        let held = self.tokens.get(&token)?;
        Some(TokenState {
            delegation: held.delegation.value().clone(),
            used: held.used,
            revoked: self.effects.revoked(token),
        })
    }

    /// Whether an identity was here before, and under which node id.
    pub fn returning(&self, enrolment: &Enrolment) -> (Returning, NodeId) {
        let known = self
            .nodes
            .iter()
            .find(|(_, node)| node.identity() == enrolment.identity);
        if let Some((id, node)) = known {
            return (
                Returning::Known {
                    pending: self.is_pending(*id, node),
                },
                *id,
            );
        }
        match self.map.death_of(enrolment.node) {
            Some(death) => (Returning::Dead(death), enrolment.node),
            None => (Returning::New, enrolment.node),
        }
    }

    /// Who holds which address, `except` one node.
    pub fn holders(&self, except: &[NodeId]) -> Holders {
        let others = self.nodes.iter().filter(|(id, _)| !except.contains(id));
        others
            .map(|(id, node)| (node.row.ipv4, self.name_of(*id, node).to_owned()))
            .collect()
    }

    /// Whether another node than `id`, and than the one whose place it takes, holds an address.
    pub fn is_held(&self, id: NodeId, address: Ipv4Addr) -> bool {
        let delegation = self.nodes.get(&id).and_then(|node| self.delegation_of(node));
        let replaces = delegation.and_then(|delegation| delegation.fixed.replaces);
        let mut others = self
            .nodes
            .iter()
            .filter(|(other, _)| **other != id && Some(**other) != replaces);
        others.any(|(_, node)| node.row.ipv4 == address)
    }

    /// The names as admission asks for them, `except` those of some nodes.
    pub fn names<'a>(&'a self, except: &'a [NodeId]) -> NamesOf<'a> {
        NamesOf {
            network: self,
            except,
        }
    }

    /// The serial for the next root-signed statement; fails where the root is elsewhere.
    pub fn root_and_serial(&self) -> Result<(&RootSecret, u64), Refusal> {
        let elsewhere = || Refusal::RootElsewhere(self.name().to_owned());
        Ok((self.root.as_ref().ok_or_else(elsewhere)?, self.last_serial + 1))
    }

    /// Its row.
    pub fn row(&self) -> NetworkRow {
        let (epoch, version) = self.map.at();
        NetworkRow {
            params: self.params.bytes().into(),
            root_seed: self.root.as_ref().map(|root| SecretBytes::new(&*root.seed())),
            epoch,
            version,
            last_serial: self.last_serial,
        }
    }

    /// Puts a node's row into `batch`.
    pub fn save_node(&self, id: NodeId, batch: &mut Batch) {
        if let Some(node) = self.nodes.get(&id) {
            let row = NodeRow {
                enrolment: node.enrolment.bytes().into(),
                record: node
                    .record
                    .as_ref()
                    .map(|record| Base64Bytes::from(record.bytes())),
                ..node.row.clone()
            };
            batch.put(Table::Nodes, rows::node_key(&self.id, &id), rows::encode(&row));
        }
    }

    /// Puts a token's row into `batch`.
    pub fn save_token(&self, id: TokenId, batch: &mut Batch) {
        if let Some(token) = self.tokens.get(&id) {
            let row = TokenRow {
                delegation: token.delegation.bytes().into(),
                used: token.used,
            };
            batch.put(Table::Tokens, rows::token_key(&self.id, &id), rows::encode(&row));
        }
    }

    /// Puts an act into `batch`; one that is in its place is replaced.
    pub fn save_act(&self, act: &Signed<Act>, batch: &mut Batch) {
        batch.put(Table::Acts, rows::act_key(act.value(), act.bytes()), act.bytes());
    }

    /// Takes a delegation that this store did not have.
    pub fn take_delegation(&mut self, delegation: &Signed<Delegation>, batch: &mut Batch) {
        let id = delegation.value().token;
        self.last_serial = self.last_serial.max(delegation.value().serial);
        let used = self.tokens.get(&id).map_or(0, |token| token.used);
        self.tokens.insert(
            id,
            Token {
                delegation: delegation.clone(),
                used,
            },
        );
        self.save_token(id, batch);
    }

    /// Takes a node that this store did not have, or a newer record of one that it has. It counts against its token.
    pub fn take_node(&mut self, entry: &NodeEntry, batch: &mut Batch) {
        let (id, token) = (entry.node(), entry.enrolment.value().token);
        let record = entry.record.value();
        if let Some(node) = self.nodes.get_mut(&id) {
            node.record = Some(entry.record.clone());
        } else {
            let row = NodeRow {
                enrolment: entry.enrolment.bytes().into(),
                record: None,
                name: record.host_name.clone(),
                ipv4: record.ipv4,
                ipv6: record.ipv6,
                facts: BTreeMap::new(),
                moved: false,
                joined: unix_now(),
            };
            let (enrolment, record) = (entry.enrolment.clone(), Some(entry.record.clone()));
            self.nodes.insert(id, Node::new(enrolment, record, row));
            if let Some(token) = self.tokens.get_mut(&token) {
                token.used = token.used.saturating_add(1);
            }
            self.save_token(token, batch);
        }
        self.save_node(id, batch);
    }

    /// Forgets nodes that are out: their rows, and the acts that are only about them being in.
    pub fn forget_nodes(&mut self, gone: &[NodeId], batch: &mut Batch) {
        for id in gone {
            self.nodes.remove(id);
            self.effects.forget_part(*id);
            batch.delete(Table::Nodes, rows::node_key(&self.id, id));
            if let Some(proof) = self.map.replacement_of(*id) {
                batch.put(Table::Departures, rows::node_key(&self.id, id), proof.encode());
            }
            for key in rows::act_keys_about(&self.id, id) {
                batch.delete(Table::Acts, key);
            }
        }
    }
}

/// The names of a network without those of some nodes.
pub struct NamesOf<'a> {
    network: &'a Network,
    except: &'a [NodeId],
}

impl Names for NamesOf<'_> {
    fn holder(&self, name: &str) -> Option<String> {
        let network = self.network;
        let mut others = network.nodes.iter().filter(|(id, _)| !self.except.contains(id));
        let holder = others.find(|(id, node)| network.name_of(**id, node) == name);
        holder.map(|(id, _)| id.to_string())
    }

    fn host(&self, name: &str) -> Option<String> {
        self.network.host_named(name)
    }

    fn blocked_until(&self, name: &str) -> Option<u64> {
        let blocks = [
            self.network.effects.block(name),
            self.network.blocks.get(name).copied(),
        ];
        let others = blocks
            .into_iter()
            .flatten()
            .filter(|block| !self.except.contains(&block.node));
        others.map(|block| block.until).max()
    }
}
