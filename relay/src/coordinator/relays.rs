//! Relays on other hosts: made by an admin, in touch by a stream that tells them who may use them, named to all nodes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::body::Bytes;
use meshd_api::coordinator::admin::{Done, RelayCreated, RelayInfo};
use meshd_api::coordinator::node::{Relay, StreamLine};
use meshd_api::coordinator::relay::{RelayLine, RelayMember};
use meshd_core::auth::{EXPORTER_LEN, NodeAuthorization};
use meshd_core::id::{NetworkId, NodeId, RelayId};
use meshd_core::keys::blake2s;
use meshd_core::names::is_label;
use meshd_core::relay::bind_key;
use meshd_core::relay::word::{RelaySecret, RelayWord, relay_of};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::hub::PING_SECONDS;
use super::load::random;
use super::refusal::Refusal;
use super::state::State;
use crate::serve::session::Session;
use crate::store::rows::{self, SecretBytes};
use crate::store::{Batch, Rows, StoreError, Table};

/// Relays beside the coordinator's own; a node uses eight at most.
const MAX_RELAYS: usize = 7;
/// Addresses of one kind that a relay may name.
const MAX_ADDRESSES: usize = 8;
/// Lines that wait for one relay.
const QUEUE: usize = 256;
const OWN_NAME: &str = "coordinator";
/// Keys of relays in the meta table begin so; the id follows.
const KEY: &[u8] = b"relay/";

/// A relay in the store.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct RelayRow {
    name: String,
    secret: SecretBytes,
    #[serde(default)]
    udp: Vec<String>,
    #[serde(default)]
    tls: Vec<String>,
}

/// A relay on another host.
struct OtherRelay {
    name: String,
    secret: RelaySecret,
    udp: Vec<String>,
    tls: Vec<String>,
    stream: Option<(mpsc::Sender<Bytes>, Session)>,
}

impl OtherRelay {
    fn row(&self) -> RelayRow {
        RelayRow {
            name: self.name.clone(),
            secret: SecretBytes::new(self.secret.as_bytes()),
            udp: self.udp.clone(),
            tls: self.tls.clone(),
        }
    }

    fn is_connected(&self) -> bool {
        self.stream.as_ref().is_some_and(|(lines, _)| !lines.is_closed())
    }

    /// Queues a line; a relay that does not read is cut, and gets everything anew when it comes back.
    fn tell(&mut self, line: &Bytes) {
        if let Some((lines, session)) = &self.stream
            && lines.try_send(line.clone()).is_err()
        {
            session.cut();
            self.stream = None;
        }
    }
}

/// All relays on other hosts.
#[derive(Default)]
pub struct OtherRelays {
    relays: BTreeMap<RelayId, OtherRelay>,
    /// What each network's line was when it was last told, as a hash.
    told: BTreeMap<NetworkId, [u8; 32]>,
}

impl OtherRelays {
    /// Reads them; streams of `before` stay.
    pub fn load(store: &(impl Rows + ?Sized), mut before: Self) -> Result<Self, StoreError> {
        let mut relays = BTreeMap::new();
        for (key, value) in store.scan(Table::Meta)? {
            let Some(id) = key.strip_prefix(KEY) else { continue };
            let damaged = |why: &str| store.damaged(format!("a relay: {why}"));
            let id = <[u8; 8]>::try_from(id).map_err(|_| damaged("its id has another size"))?;
            let row: RelayRow = rows::decode(&value).map_err(|why| damaged(&why))?;
            let secret = row
                .secret
                .seed()
                .ok_or_else(|| damaged("its secret has another size"))?;
            let id = RelayId::from_bytes(id);
            let relay = OtherRelay {
                name: row.name,
                secret: RelaySecret::new(secret),
                udp: row.udp,
                tls: row.tls,
                stream: before.relays.remove(&id).and_then(|held| held.stream),
            };
            relays.insert(id, relay);
        }
        let told = before.told;
        Ok(Self { relays, told })
    }

    /// Those that nodes may use: who has said where it is.
    pub fn for_node(&self, network: NetworkId, node: NodeId) -> impl Iterator<Item = Relay> {
        let named = self.relays.iter().filter(|(_, relay)| !relay.udp.is_empty());
        named.map(move |(id, relay)| Relay {
            id: id.to_string(),
            udp: relay.udp.clone(),
            tls: relay.tls.clone(),
            identity: relay.secret.issuer().public().to_string(),
            bind_key: bind_key(&relay.secret.bind_secret(), network, node).as_bytes()[..].into(),
        })
    }

    fn tell_all(&mut self, line: &RelayLine) {
        let line = line_bytes(line);
        self.relays.values_mut().for_each(|relay| relay.tell(&line));
    }

    /// Tells of a network's members where they changed; of none where it was deleted.
    pub fn members_changed(&mut self, network: NetworkId, members: impl Iterator<Item = RelayMember>) {
        if !self.relays.values().any(OtherRelay::is_connected) {
            return;
        }
        let line = network_line(network, members);
        let hash = blake2s(&[&line_bytes(&line)]);
        if self.told.insert(network, hash) != Some(hash) {
            self.tell_all(&line);
        }
    }

    /// Shows that the coordinator is there.
    pub fn ping_all(&mut self) {
        self.tell_all(&RelayLine::Ping);
    }

    /// Ends all streams.
    pub fn end_all(&mut self) {
        self.relays.values_mut().for_each(|relay| relay.stream = None);
    }

    fn find(&self, name: &str) -> Option<RelayId> {
        let is = |(id, relay): &(&RelayId, &OtherRelay)| relay.name == name || id.to_string() == name;
        self.relays.iter().find(is).map(|(id, _)| *id)
    }
}

fn network_line(network: NetworkId, members: impl Iterator<Item = RelayMember>) -> RelayLine {
    RelayLine::Network {
        id: network.to_string(),
        nodes: members.collect(),
    }
}

fn line_bytes(line: &RelayLine) -> Bytes {
    let mut bytes = rows::encode(line);
    bytes.push(b'\n');
    bytes.into()
}

fn row_key(id: RelayId) -> Vec<u8> {
    [KEY, &id.to_bytes()].concat()
}

/// What a relay says of where it listens, with `from` where it does not know its own host.
fn addresses(given: &str, from: IpAddr) -> Result<Vec<String>, Refusal> {
    let from = from.to_canonical();
    let complete = |text: &str| match (text.strip_prefix(':'), from) {
        (Some(port), IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
        (Some(port), IpAddr::V4(ip)) => format!("{ip}:{port}"),
        (None, _) => text.to_owned(),
    };
    let named: Vec<String> = given
        .split(',')
        .filter(|text| !text.is_empty())
        .map(complete)
        .collect();
    let good = |text: &String| text.parse::<meshd_core::token::CoordinatorAddress>().is_ok();
    if named.len() > MAX_ADDRESSES || !named.iter().all(good) {
        return Err(Refusal::Invalid(
            "a relay says where it listens as at most 8 times host:port".into(),
        ));
    }
    Ok(named)
}

impl State {
    /// Makes a relay; the word is in the answer and nowhere else.
    pub fn create_relay(&mut self, name: &str) -> Result<RelayCreated, Refusal> {
        if !is_label(name) || name == OWN_NAME {
            return Err(Refusal::Invalid(format!(
                "\"{name}\" cannot be a relay's name; use up to 63 lower-case letters, digits and inner hyphens"
            )));
        }
        if self.others.find(name).is_some() {
            return Err(Refusal::Invalid(format!(
                "there is a relay \"{name}\" already; take another name, or remove it first: meshctl relay remove {name}"
            )));
        }
        if self.others.relays.len() >= MAX_RELAYS {
            return Err(Refusal::Invalid(format!(
                "there are {MAX_RELAYS} relays already; remove one that is not needed: meshctl relay list"
            )));
        }
        let id = RelayId::from_bytes(*random::<8>());
        let secret = RelaySecret::new(random::<32>());
        let word = RelayWord {
            id,
            secret: secret.clone(),
            coordinator: self.identity(),
            addresses: self.addresses()?,
        };
        let word = word
            .encode()
            .map_err(|error| Refusal::Invalid(error.to_string()))?;
        let relay = OtherRelay {
            name: name.to_owned(),
            secret,
            udp: Vec::new(),
            tls: Vec::new(),
            stream: None,
        };
        let created = RelayCreated {
            id: id.to_string(),
            name: name.to_owned(),
            word: word.to_string(),
        };
        let mut batch = Batch::default();
        batch.put(Table::Meta, row_key(id), rows::encode(&relay.row()));
        self.audit.add(&format!("relay {name} ({id}) made"), &mut batch);
        self.commit(&created, batch)?;
        self.others.relays.insert(id, relay);
        Ok(created)
    }

    /// All relays, this host's own first.
    pub fn list_relays(&mut self) -> Result<Vec<RelayInfo>, Refusal> {
        let own = RelayInfo {
            id: self.site.relay.to_string(),
            name: OWN_NAME.into(),
            connected: true,
            udp: self.own_addresses(&self.site.udp_ports),
            tls: self.own_addresses(&[self.site.https_port]),
        };
        let others = self.others.relays.iter().map(|(id, relay)| RelayInfo {
            id: id.to_string(),
            name: relay.name.clone(),
            connected: relay.is_connected(),
            udp: relay.udp.clone(),
            tls: relay.tls.clone(),
        });
        Ok([own].into_iter().chain(others).collect())
    }

    /// Removes a relay: nodes leave it at once, and its word is worth nothing any more.
    pub fn remove_relay(&mut self, name: &str) -> Result<Done, Refusal> {
        let id = self.others.find(name).ok_or_else(|| Refusal::Unknown {
            what: "relay",
            name: name.to_owned(),
            hint: "`meshctl relay list` shows those that are; the coordinator's own cannot be removed",
        })?;
        let done = Done {
            message: format!("relay {name} is removed; its meshrelay can be stopped"),
        };
        let mut batch = Batch::default();
        batch.delete(Table::Meta, row_key(id));
        self.audit
            .add(&format!("relay {name} ({id}) removed"), &mut batch);
        self.commit(&done, batch)?;
        if let Some((_, session)) = self.others.relays.remove(&id).and_then(|relay| relay.stream) {
            session.cut();
        }
        self.tell_relays();
        Ok(done)
    }

    /// The relay that made this proof in this session.
    pub fn authenticate_relay(
        &self,
        proof: &NodeAuthorization,
        exporter: &[u8; EXPORTER_LEN],
    ) -> Result<RelayId, Refusal> {
        let id = relay_of(proof).ok_or(Refusal::Unproven("this path is for relays"))?;
        match self.others.relays.get(&id) {
            Some(relay) if relay.secret.verify(proof, exporter) => Ok(id),
            Some(_) => Err(Refusal::Unproven(
                "the signature does not prove that you are this relay",
            )),
            None => Err(Refusal::Unknown {
                what: "relay",
                name: id.to_string(),
                hint: "it was removed; make a new word with `meshctl relay create`",
            }),
        }
    }

    /// Opens a relay's stream in place of an older one; every network is told first.
    pub fn open_relay_stream(
        &mut self,
        id: RelayId,
        session: Session,
        (udp, tls): (&str, &str),
    ) -> Result<mpsc::Receiver<Bytes>, Refusal> {
        let from = session.tls().map(|tls| tls.from.ip());
        let from = from.ok_or(Refusal::Unproven("a relay's stream needs TLS"))?;
        let (udp, tls) = (addresses(udp, from)?, addresses(tls, from)?);
        let (sender, reader) = mpsc::channel(QUEUE.max(self.networks.len() + 2));
        let networks = self.networks.iter().map(|(id, network)| {
            let line = network_line(*id, network.relay_members());
            (*id, line_bytes(&line))
        });
        let told: Vec<_> = networks.collect();
        for (_, line) in &told {
            let _ = sender.try_send(line.clone()); // there is room for all
        }
        let _ = sender.try_send(line_bytes(&RelayLine::Complete));
        let hashes = told.into_iter().map(|(id, line)| (id, blake2s(&[&line])));
        self.others.told = hashes.collect();
        let Some(relay) = self.others.relays.get_mut(&id) else {
            return Err(Refusal::Unproven("this relay was removed"));
        };
        if let Some((_, older)) = relay.stream.replace((sender, session)) {
            older.cut();
        }
        let moved = (&relay.udp, &relay.tls) != (&udp, &tls);
        if moved {
            (relay.udp, relay.tls) = (udp, tls);
            let row = rows::encode(&relay.row());
            let mut batch = Batch::default();
            batch.put(Table::Meta, row_key(id), row);
            self.commit(&(), batch)?;
            self.tell_relays();
        }
        Ok(reader)
    }

    /// Tells every connected node which relays there are.
    fn tell_relays(&mut self) {
        let ids: Vec<NetworkId> = self.networks.keys().copied().collect();
        for id in ids {
            let connected = self.networks.get(&id).map(|network| network.hub.reached());
            for (node, reached) in connected.unwrap_or_default() {
                let relays = self.relays(id, node, reached);
                let Some(network) = self.networks.get_mut(&id) else {
                    continue;
                };
                let pending = network
                    .nodes
                    .get(&node)
                    .is_none_or(|held| network.is_pending(node, held));
                if !pending {
                    let hello = StreamLine::Hello {
                        relays,
                        ping_seconds: PING_SECONDS,
                        coordinators: Vec::new(),
                    };
                    network.hub.tell(node, &hello);
                }
            }
        }
    }
}
