//! What a node keeps of its network on disk: memory, map, and the entries believed that the map does not have.
//!
//! The bytes belong into a sealed file (see [`crate::sealed`]): what is read back is taken as verified, so that a small
//! machine with a thousand peers is up at once.

use std::sync::Arc;

use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder};

use super::judge::{Believed, Judge};
use super::memory::Remembered;
use super::{Body, Death, Entry, EntryKey, MapError, MapHolder, Memory, NetworkMap};
use crate::id::{NodeId, TokenId};
use crate::keys::{CoordinatorPublic, IdentityPublic, RootPublic, blake2s};
use crate::statement::{Act, Delegation, Departure, Digest, Params, Signed, Statement};

/// The whole of it. Statements, entries and the map are byte strings of their exact bytes.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Saved {
    #[n(0)]
    epoch: u32,
    #[n(1)]
    version: u64,
    #[n(2)]
    digest: Option<Digest>,
    #[n(3)]
    params: Option<Bytes>,
    #[n(4)]
    delegations: Vec<Bytes>,
    #[n(5)]
    acts: Vec<Bytes>,
    #[n(6)]
    departures: Vec<Bytes>,
    #[n(7)]
    nodes: Vec<SavedNode>,
    #[n(8)]
    map: Option<Bytes>,
    #[n(9)]
    extra: Vec<Bytes>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct SavedNode {
    #[n(0)]
    node: NodeId,
    #[n(1)]
    identity: IdentityPublic,
    #[n(2)]
    token: TokenId,
    #[n(3)]
    serial: Option<u64>,
    #[n(4)]
    hash: Option<Digest>,
    #[n(5)]
    name: Option<String>,
    #[n(6)]
    death: Option<u8>,
    #[n(7)]
    replaced_by: Option<NodeId>,
}

struct Bytes(Vec<u8>);

impl<C> Encode<C> for Bytes {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Bytes {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        d.bytes().map(|bytes| Self(bytes.to_vec()))
    }
}

impl MapHolder {
    /// All of it, to be sealed and written.
    pub fn save(&self) -> Vec<u8> {
        let in_map = |entry: &Arc<Entry>| {
            self.map
                .as_ref()
                .is_some_and(|m| m.entries().contains_key(&entry.key()))
        };
        let extra = self.believed.values().filter(|entry| !in_map(entry));
        let memory = &self.memory;
        let saved = Saved {
            epoch: memory.seen.map_or(0, |((epoch, _), _)| epoch),
            version: memory.seen.map_or(0, |((_, version), _)| version),
            digest: memory.seen.map(|(_, digest)| digest),
            params: memory.params.as_ref().map(bytes),
            delegations: memory.delegations.values().map(bytes).collect(),
            acts: memory.acts.values().map(bytes).collect(),
            departures: memory.departures.values().map(bytes).collect(),
            nodes: memory.nodes.iter().map(saved_node).collect(),
            map: self.map.as_ref().map(|map| Bytes(map.encode())),
            extra: extra.map(|entry| Bytes(entry.encode())).collect(),
        };
        minicbor::to_vec(saved).expect("a vector takes all that is written to it")
    }

    /// What [`save`](Self::save) gave, from a sealed file: nothing in it is verified again.
    ///
    /// # Errors
    /// Where the bytes are not what `save` writes, or are another network's.
    pub fn restore(
        root: RootPublic,
        coordinators: Vec<CoordinatorPublic>,
        bytes: &[u8],
    ) -> Result<Self, MapError> {
        let saved: Saved = minicbor::decode(bytes).map_err(|_| MapError::Saved("it is garbled"))?;
        let mut holder = Self::new(root, coordinators);
        let extra = saved
            .extra
            .iter()
            .map(|extra| Entry::decode(&extra.0).map(Arc::new));
        let extra: Vec<_> = extra.collect::<Result<_, _>>()?;
        let map = saved
            .map
            .as_ref()
            .map(|map| NetworkMap::decode(&map.0))
            .transpose()?;
        holder.memory = memory(saved)?;
        let foreign = |params: &Signed<Params>| params.value().root != root;
        if holder.memory.params.as_ref().is_some_and(foreign) {
            return Err(MapError::WrongNetwork);
        }
        let Some(map) = map else { return Ok(holder) };
        holder.trust(map.entries().values().chain(&extra));
        let judge = Judge::new(root, &mut holder.memory, &mut holder.verdicts);
        let (view, believed) = judge.judge(&map, &holder.believed)?;
        holder.map = Some(map);
        holder.believed = believed;
        holder.show(view);
        Ok(holder)
    }

    /// Takes as verified, and as believed, what memory says was.
    fn trust<'a>(&mut self, entries: impl Iterator<Item = &'a Arc<Entry>>) {
        let memory = &self.memory;
        let mut believed = Believed::new();
        for entry in entries {
            match entry.body() {
                Body::Params(params) if memory.params.as_ref() == Some(params) => {
                    self.verdicts.trust(entry.key(), &self.root);
                }
                Body::Delegation(held) if memory.delegations.get(&held.value().token) == Some(held) => {
                    self.verdicts.trust(entry.key(), &self.root);
                }
                Body::Act(act) if memory.acts.contains_key(&(act.value().serial, entry.key())) => {
                    self.verdicts.trust(entry.key(), &self.root);
                }
                Body::Node(node) => {
                    let Some(held) = memory.nodes.get(&node.node()) else {
                        continue;
                    };
                    let record = (node.record.value().serial, blake2s(&[node.record.bytes()]));
                    let own = held.identity == node.enrolment.value().identity;
                    if !own || held.record != Some(record) || held.death.is_some() {
                        continue;
                    }
                    if let Some(delegation) = memory.delegations.get(&node.enrolment.value().token) {
                        self.verdicts.trust(entry.key(), &delegation.value().join);
                        believed.insert(node.node(), Arc::clone(entry));
                    }
                }
                _ => {}
            }
        }
        self.believed = believed;
    }
}

fn bytes<T: Statement>(statement: &Signed<T>) -> Bytes {
    Bytes(statement.bytes().to_vec())
}

fn saved_node((node, held): (&NodeId, &Remembered)) -> SavedNode {
    let (death, token, replaced_by) = match held.death {
        None => (None, held.token, None),
        Some(Death::Removed) => (Some(1), held.token, None),
        Some(Death::TokenRevoked(token)) => (Some(2), token, None),
        Some(Death::Departed) => (Some(3), held.token, None),
        Some(Death::ReplacedBy(by)) => (Some(4), held.token, Some(by)),
    };
    SavedNode {
        node: *node,
        identity: held.identity,
        token,
        serial: held.record.map(|(serial, _)| serial),
        hash: held.record.map(|(_, hash)| Digest(hash)),
        name: held.name.clone(),
        death,
        replaced_by,
    }
}

fn remembered(saved: SavedNode) -> Result<(NodeId, Remembered), MapError> {
    let death = match (saved.death, saved.replaced_by) {
        (None, _) => None,
        (Some(1), _) => Some(Death::Removed),
        (Some(2), _) => Some(Death::TokenRevoked(saved.token)),
        (Some(3), _) => Some(Death::Departed),
        (Some(4), Some(by)) => Some(Death::ReplacedBy(by)),
        _ => return Err(MapError::Saved("a node in it is garbled")),
    };
    let record = saved.serial.zip(saved.hash.map(|hash| hash.0));
    let SavedNode {
        node,
        identity,
        token,
        name,
        ..
    } = saved;
    Ok((
        node,
        Remembered {
            identity,
            token,
            record,
            name,
            death,
        },
    ))
}

fn memory(saved: Saved) -> Result<Memory, MapError> {
    let params = saved
        .params
        .map(|params| Signed::<Params>::decode(&params.0))
        .transpose()?;
    let delegations = statements::<Delegation>(&saved.delegations)?.into_iter();
    let acts = statements::<Act>(&saved.acts)?.into_iter();
    let departures = statements::<Departure>(&saved.departures)?.into_iter();
    let act = |act: Signed<Act>| ((act.value().serial, key(Body::Act(act.clone()))), act);
    let gone = |gone: Signed<Departure>| (key(Body::Departure(gone.clone())), gone);
    Ok(Memory {
        seen: saved.digest.map(|digest| ((saved.epoch, saved.version), digest)),
        params,
        delegations: delegations.map(|held| (held.value().token, held)).collect(),
        acts: acts.map(act).collect(),
        departures: departures.map(gone).collect(),
        nodes: saved
            .nodes
            .into_iter()
            .map(remembered)
            .collect::<Result<_, _>>()?,
    })
}

fn key(body: Body) -> EntryKey {
    Entry::from(body).key()
}

fn statements<T: Statement>(all: &[Bytes]) -> Result<Vec<Signed<T>>, MapError> {
    Ok(all
        .iter()
        .map(|bytes| Signed::decode(&bytes.0))
        .collect::<Result<_, _>>()?)
}
