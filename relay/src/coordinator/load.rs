//! From the store into memory, all of it verified; and what a fresh store starts with.

use std::sync::Arc;

use meshd_core::id::{IdError, NetworkId};
use meshd_core::keys::{CoordinatorSecret, RootSecret};
use meshd_core::map::{Body, Entry, RemovalProof};
use meshd_core::statement::{Delegation, Enrolment, Signed, Statement};
use tokio::sync::{Notify, watch};
use zeroize::Zeroizing;

use super::audit::Audit;
use super::effects::{Block, Effects};
use super::network::{Network, Node, Token};
use super::once::Answers;
use super::refusal::Refusal;
use super::relays::OtherRelays;
use super::state::{Site, State};
use crate::packets::Members;
use crate::store::rows::{self, BlockRow, NetworkRow, NodeRow, TokenRow};
use crate::store::{Batch, Pair, Rows, Store, StoreError, Table};

/// Randomness of the system.
pub(super) fn random<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    rand_core::RngCore::fill_bytes(&mut rand_core::OsRng, &mut *bytes);
    bytes
}

/// What a fresh store starts with: keys of its own.
pub fn first_batch() -> Batch {
    let mut batch = Batch::default();
    batch.put(Table::Meta, rows::SCHEMA, rows::SCHEMA_VERSION.to_le_bytes());
    batch.put(Table::Meta, rows::COORDINATOR_SEED, random::<32>().to_vec());
    batch.put(Table::Meta, rows::RELAY_ID, random::<8>().to_vec());
    batch.put(Table::Meta, rows::RELAY_SECRET, random::<32>().to_vec());
    batch
}

/// The keys in the store.
pub struct Keys {
    /// Signs TLS keys and map headers.
    pub coordinator: CoordinatorSecret,
    /// The relay's id.
    pub relay: [u8; 8],
    /// Makes bind keys.
    pub relay_secret: Zeroizing<[u8; 32]>,
}

impl Keys {
    /// Reads them.
    pub fn load(store: &(impl Rows + ?Sized)) -> Result<Self, StoreError> {
        let meta = store.scan(Table::Meta)?;
        let damaged = |what: &str| store.damaged(format!("{what} is missing or of the wrong size"));
        let schema: [u8; 4] = value(&meta, rows::SCHEMA).ok_or_else(|| damaged("the format version"))?;
        if u32::from_le_bytes(schema) != rows::SCHEMA_VERSION {
            let version = u32::from_le_bytes(schema);
            return Err(store.damaged(format!("it is of format {version}, which another release wrote")));
        }
        let seed: [u8; 32] =
            value(&meta, rows::COORDINATOR_SEED).ok_or_else(|| damaged("the coordinator's key"))?;
        let secret = value(&meta, rows::RELAY_SECRET).ok_or_else(|| damaged("the relay's secret"))?;
        Ok(Self {
            coordinator: CoordinatorSecret::from_seed(&Zeroizing::new(seed)),
            relay: value(&meta, rows::RELAY_ID).ok_or_else(|| damaged("the relay's id"))?,
            relay_secret: Zeroizing::new(secret),
        })
    }
}

fn value<const N: usize>(rows: &[Pair], key: &[u8]) -> Option<[u8; N]> {
    rows.iter().find(|(k, _)| k == key)?.1.as_slice().try_into().ok()
}

impl State {
    /// Reads everything, and publishes each network's map anew.
    pub fn load(
        store: Arc<dyn Store>,
        identity: CoordinatorSecret,
        site: Site,
        members: Members,
    ) -> Result<Self, Refusal> {
        let mut state = Self {
            store,
            identity,
            site,
            networks: Default::default(),
            members,
            answers: Answers::default(),
            audit: Audit::default(),
            others: OtherRelays::default(),
            stale: true,
            retired: false,
            dirty: Arc::new(Notify::new()),
            asks: Default::default(),
            judged: Default::default(),
            exposed: watch::Sender::new(Arc::new([])),
        };
        state.refresh()?;
        Ok(state)
    }

    /// Where memory may differ from the store, reads it again. Streams stay open.
    pub(super) fn refresh(&mut self) -> Result<(), Refusal> {
        if !self.stale {
            return Ok(());
        }
        let mut fresh = read_networks(&*self.store)?;
        self.answers = Answers::load(&*self.store)?;
        self.audit = Audit::load(&*self.store)?;
        self.others = OtherRelays::load(&*self.store, std::mem::take(&mut self.others))?;
        let mut batch = Batch::default();
        for network in fresh.values_mut() {
            let committed = network.map.commit(&self.identity);
            committed.map_err(|error| self.store.damaged(error.to_string()))?;
            batch.put(
                Table::Networks,
                network.id.to_bytes(),
                rows::encode(&network.row()),
            );
        }
        self.take_networks(fresh);
        // should this fail, what was read is served, and no version is told that is not on disk
        self.store.commit(&batch)?;
        self.stale = false;
        self.dirty.notify_one();
        Ok(())
    }

    /// Puts what was read in place of what was held; streams stay open.
    fn take_networks(&mut self, mut fresh: Networks) {
        for (id, mut old) in std::mem::take(&mut self.networks) {
            match fresh.get_mut(&id) {
                Some(network) => std::mem::swap(&mut network.hub, &mut old.hub),
                None => {
                    self.members.remove_network(id);
                    self.others.members_changed(id, std::iter::empty());
                }
            }
        }
        for (id, network) in &fresh {
            self.members.set(*id, network.members());
            self.others.members_changed(*id, network.relay_members());
        }
        self.networks = fresh;
        self.tell_ingress();
    }
}

/// Networks by id.
pub(super) type Networks = std::collections::BTreeMap<NetworkId, Network>;

/// Reads all networks and verifies all of them.
pub(super) fn read_networks(store: &(impl Rows + ?Sized)) -> Result<Networks, StoreError> {
    let mut networks = Networks::new();
    for (key, value) in store.scan(Table::Networks)? {
        let network = read_network(&value).map_err(|why| store.damaged(format!("a network: {why}")))?;
        if key != network.id.as_bytes() {
            return Err(store.damaged("a network is not the one that its key says".into()));
        }
        networks.insert(network.id, network);
    }
    for table in [
        Table::Tokens,
        Table::Acts,
        Table::Nodes,
        Table::Departures,
        Table::Blocks,
    ] {
        for (key, value) in store.scan(table)? {
            let network = rows::split_key(&key).and_then(|(id, _)| networks.get_mut(&id));
            let network =
                network.ok_or_else(|| store.damaged(format!("a row of {} has no network", table.name())))?;
            read_row(network, table, &key[16..], &value).map_err(|why| {
                store.damaged(format!(
                    "a row of {} of network {}: {why}",
                    table.name(),
                    network.name()
                ))
            })?;
        }
    }
    networks.values_mut().for_each(gather_effects);
    for network in networks.values_mut() {
        put_nodes(network).map_err(|why| store.damaged(why))?;
    }
    Ok(networks)
}

fn read_network(value: &[u8]) -> Result<Network, String> {
    let row: NetworkRow = rows::decode(value)?;
    let params = signed(row.params.as_ref())?;
    let root = match row.root_seed {
        None => None,
        Some(seed) => Some(RootSecret::from_seed(
            &*seed.seed().ok_or("its root key has not 32 bytes")?,
        )),
    };
    let mut network = Network::new(params, root, (row.epoch, row.version));
    network.last_serial = row.last_serial;
    let params = Body::Params(network.params.clone());
    restore(&mut network, params)?;
    Ok(network)
}

fn read_row(network: &mut Network, table: Table, key: &[u8], value: &[u8]) -> Result<(), String> {
    match table {
        Table::Tokens => read_token(network, value),
        Table::Acts => restore(network, Body::Act(signed(value)?)),
        Table::Nodes => read_node(network, value),
        Table::Departures => read_departure(network, key, value),
        Table::Blocks => read_block(network, key, value),
        Table::Meta | Table::Networks | Table::Answers | Table::Audit => Ok(()),
    }
}

/// What a node left by: its own departure, or the proof that another took its place.
fn read_departure(network: &mut Network, key: &[u8], value: &[u8]) -> Result<(), String> {
    let Ok(proof) = RemovalProof::decode(value) else {
        return restore(network, Body::Departure(signed(value)?));
    };
    let node = <[u8; 16]>::try_from(key).map_err(|_| "its key is not a node id")?;
    match network.map.restore_replacement(node.into(), proof) {
        true => Ok(()),
        false => Err("it does not prove that another node took this one's place".into()),
    }
}

fn read_token(network: &mut Network, value: &[u8]) -> Result<(), String> {
    let row: TokenRow = rows::decode(value)?;
    let delegation: Signed<Delegation> = signed(row.delegation.as_ref())?;
    restore(network, Body::Delegation(delegation.clone()))?;
    let token = delegation.value().token;
    network.tokens.insert(
        token,
        Token {
            delegation,
            used: row.used,
        },
    );
    Ok(())
}

fn read_node(network: &mut Network, value: &[u8]) -> Result<(), String> {
    let row: NodeRow = rows::decode(value)?;
    let enrolment: Signed<Enrolment> = signed(row.enrolment.as_ref())?;
    let record = row
        .record
        .as_ref()
        .map(|bytes| signed(bytes.as_ref()))
        .transpose()?;
    network
        .nodes
        .insert(enrolment.value().node, Node::new(enrolment, record, row));
    Ok(())
}

fn read_block(network: &mut Network, key: &[u8], value: &[u8]) -> Result<(), String> {
    let row: BlockRow = rows::decode(value)?;
    let name = std::str::from_utf8(key).map_err(|_| "its name is not text")?;
    let node = row.node.parse().map_err(|error: IdError| error.to_string())?;
    network.blocks.insert(
        name.to_owned(),
        Block {
            node,
            until: row.until,
        },
    );
    Ok(())
}

/// Nodes last: what they are depends on delegations and acts.
fn put_nodes(network: &mut Network) -> Result<(), String> {
    let entries: Vec<Entry> = network
        .nodes
        .iter()
        .filter(|(id, node)| !network.is_pending(**id, node))
        .filter_map(|(_, node)| node.entry())
        .collect();
    for entry in entries {
        network
            .map
            .restore(entry)
            .map_err(|cause| format!("a node of network {}: {cause}", network.name()))?;
    }
    Ok(())
}

fn restore(network: &mut Network, body: Body) -> Result<(), String> {
    network
        .map
        .restore(body.into())
        .map(drop)
        .map_err(|cause| cause.to_string())
}

fn signed<T: Statement>(bytes: &[u8]) -> Result<Signed<T>, String> {
    Signed::decode(bytes).map_err(|error| error.to_string())
}

/// What all acts held come to, in the order of their serials.
pub(super) fn gather_effects(network: &mut Network) {
    let acts = network.map.held().filter_map(|entry| match entry.body() {
        Body::Act(act) => Some(act.value()),
        _ => None,
    });
    let mut acts: Vec<_> = acts.collect();
    acts.sort_by_key(|act| act.serial);
    let mut effects = Effects::default();
    acts.into_iter().for_each(|act| effects.add(act));
    network.effects = effects;
}
