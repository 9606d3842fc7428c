//! A coordinator that was broken into: it has the relay's state (`evil-coordinator BACKUP LISTEN`), so its TLS key is the
//! pinned one and its map headers are genuine, but not the network's root key. To whoever asks for the map it gives one
//! with a peer of its own making, and with another WireGuard key for every genuine node. Everything else it answers with
//! the lie that an admin removed the node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use meshd_api::coordinator::node::StreamLine;
use meshd_core::id::{NetworkId, NodeId, TokenId};
use meshd_core::keys::{CoordinatorSecret, IdentitySecret, JoinSecret, RootSecret, WireGuardSecret};
use meshd_core::map::{Body, Entry, EntryKey, NetworkMap, NodeEntry, digest};
use meshd_core::statement::{Delegation, Enrolment, Fixed, Limits, MapHeader, Record, Signed, Terms};
use meshrelay::store::rows::{self, NetworkRow, NodeRow, TokenRow};
use meshrelay::store::{Snapshot, Table};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Seconds between two pings of a stream.
const PING: u16 = 5;
/// What it says to everything else, so that nodes throw their identities away.
const OUT: &str = r#"{"code":"node-removed","message":"an admin removed it"}"#;
/// Above every serial in the genuine map.
const SERIAL: u64 = 1 << 40;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [backup, listen] = arguments.as_slice() else {
        bail!("evil-coordinator BACKUP LISTEN")
    };
    let loot = Loot::read(&std::fs::read_to_string(backup)?)?;
    let map = loot.forged_map()?.encode();
    let acceptor = TlsAcceptor::from(Arc::new(meshrelay::tls::server_config(&loot.coordinator)?));
    let listener = TcpListener::bind(listen).await?;
    println!("ready");
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, map) = (acceptor.clone(), map.clone());
        tokio::spawn(async move { answer(stream, acceptor, map).await });
    }
}

/// One request on a connection: the forged map to whoever asks for it, and to anything else that the node is removed.
async fn answer(stream: TcpStream, acceptor: TlsAcceptor, map: Vec<u8>) -> Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        request.extend_from_slice(&buffer[..length]);
    }
    if !(request.starts_with(b"GET ") && request.windows(5).any(|part| part == b"/map?")) {
        let length = OUT.len();
        let head = "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\nconnection: close";
        stream
            .write_all(format!("{head}\r\ncontent-length: {length}\r\n\r\n{OUT}").as_bytes())
            .await?;
        return Ok(stream.shutdown().await?);
    }
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n\r\n")
        .await?;
    let hello = StreamLine::Hello {
        relays: Vec::new(),
        ping_seconds: PING,
        coordinators: Vec::new(),
    };
    let mut lines = vec![hello, StreamLine::Full { map: map.into() }];
    loop {
        for line in lines.drain(..) {
            stream
                .write_all(format!("{}\n", serde_json::to_string(&line)?).as_bytes())
                .await?;
        }
        stream.flush().await?;
        tokio::time::sleep(Duration::from_secs(u64::from(PING))).await;
        lines.push(StreamLine::Ping {
            nonce: 0,
            answer: false,
        });
    }
}

/// What a backup of the relay holds, of its one network.
struct Loot {
    coordinator: CoordinatorSecret,
    network: NetworkId,
    at: (u32, u64),
    genuine: Vec<Body>,
}

impl Loot {
    fn read(backup: &str) -> Result<Self> {
        let snapshot = Snapshot::from_text(backup)?;
        let meta = snapshot
            .rows(Table::Meta)
            .iter()
            .find(|(key, _)| key == rows::COORDINATOR_SEED);
        let seed: [u8; 32] = meta.context("no coordinator key")?.1.as_slice().try_into()?;
        let (key, value) = snapshot.rows(Table::Networks).first().context("no network")?;
        let (network, _) = rows::split_key(key).context("a network's id")?;
        let row: NetworkRow = rows::decode(value).map_err(anyhow::Error::msg)?;
        if row.root_seed.is_some() {
            bail!("this relay holds the root key: whoever breaks in is the admin");
        }
        let mut genuine = vec![Body::Params(Signed::decode(row.params.as_ref())?)];
        for (_, value) in snapshot.rows(Table::Tokens) {
            let token: TokenRow = rows::decode(value).map_err(anyhow::Error::msg)?;
            genuine.push(Body::Delegation(Signed::decode(token.delegation.as_ref())?));
        }
        for (_, value) in snapshot.rows(Table::Nodes) {
            let node: NodeRow = rows::decode(value).map_err(anyhow::Error::msg)?;
            let record = node.record.context("a node that never said its keys")?;
            genuine.push(Body::Node(NodeEntry {
                enrolment: Signed::decode(node.enrolment.as_ref())?,
                record: Signed::decode(record.as_ref())?,
            }));
        }
        Ok(Self {
            coordinator: CoordinatorSecret::from_seed(&seed),
            network,
            at: (row.epoch, row.version),
            genuine,
        })
    }

    /// Everything genuine but the nodes' keys, a peer more, and a header that is right.
    fn forged_map(&self) -> Result<NetworkMap> {
        let mut bodies = self.forged_peer()?;
        for body in &self.genuine {
            bodies.push(match body {
                Body::Node(node) => Body::Node(with_another_key(node)?),
                other => other.clone(),
            });
        }
        let entries: BTreeMap<EntryKey, Arc<Entry>> = bodies
            .into_iter()
            .map(|body| {
                let entry = Entry::from(body);
                (entry.key(), Arc::new(entry))
            })
            .collect();
        let header = MapHeader {
            network: self.network,
            epoch: self.at.0,
            version: self.at.1 + 1_000,
            digest: digest(entries.keys()),
        };
        Ok(NetworkMap::new(
            Signed::sign(header, &self.coordinator)?,
            entries,
        )?)
    }

    /// A peer `evil` by a token that only the attacker's own root delegated.
    fn forged_peer(&self) -> Result<Vec<Body>> {
        let (root, join) = (RootSecret::from_seed(&[66; 32]), JoinSecret::from_seed(&[67; 32]));
        let (identity, token, node) = (
            IdentitySecret::from_seed(&[68; 32]),
            TokenId::from([66; 8]),
            NodeId::from([66; 16]),
        );
        let delegation = Delegation {
            network: self.network,
            token,
            join: join.public(),
            serial: SERIAL,
            terms: Terms::default(),
            fixed: Fixed::default(),
            limits: Limits::default(),
        };
        let enrolment = Enrolment {
            network: self.network,
            token,
            node,
            identity: identity.public(),
        };
        let pattern = self.genuine.iter().find_map(|body| match body {
            Body::Node(node) => Some(node.record.value().clone()),
            _ => None,
        });
        let record = Record {
            node,
            serial: SERIAL,
            wireguard: WireGuardSecret::from_seed(&[69; 32]).public(),
            ipv4: [10, 77, 66, 66].into(),
            host_name: "evil".into(),
            ..pattern.context("no node to imitate")?
        };
        Ok(vec![
            Body::Delegation(Signed::sign(delegation, &root)?),
            Body::Node(NodeEntry {
                enrolment: Signed::sign(enrolment, &join)?,
                record: Signed::sign(record, &identity)?,
            }),
        ])
    }
}

/// The node with a key of the attacker's, which its identity did not sign.
fn with_another_key(node: &NodeEntry) -> Result<NodeEntry> {
    let record = Record {
        serial: SERIAL,
        wireguard: WireGuardSecret::from_seed(&[70; 32]).public(),
        ..node.record.value().clone()
    };
    let record = Signed::sign(record, &IdentitySecret::from_seed(&[71; 32]))?;
    Ok(NodeEntry {
        enrolment: node.enrolment.clone(),
        record,
    })
}
