//! A member of a network without meshd behind it: it joins, signs its records, binds at relays and speaks discovery messages
//! as a test wants it to. For members that lie, and for a thousand that are idle.
//!
//! Its keys follow from its number: two members of one test have different numbers, and nothing else depends on them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use hyper::Method;
use meshd_api::Done;
use meshd_api::client::{Connection, LineStream, pinned};
use meshd_api::coordinator::node::{JoinReply, JoinRequest, RecordUpdate, Relay, StreamLine};
use meshd_core::auth::NodeAuthorization;
use meshd_core::id::{NetworkId, NodeId, RelayId};
use meshd_core::keys::{BindKey, DiscoveryPublic, DiscoverySecret, IdentitySecret, WireGuardSecret};
use meshd_core::map::{MapHolder, NetworkMap, View};
use meshd_core::path::discovery::End;
use meshd_core::relay::{RelayClient, RelayInfo};
use meshd_core::statement::{Candidate, Enrolment, Record, Signed};
use meshd_core::token::JoinToken;

/// A joined member.
pub struct Member {
    token: JoinToken,
    coordinator: SocketAddr,
    number: u32,
    id: NodeId,
    identity: IdentitySecret,
    reply: JoinReply,
    facts: BTreeMap<String, String>,
    serial: u64,
}

/// What the coordinator says to a member that asks.
pub struct Told {
    /// The relays, with this member's keys there.
    pub relays: Vec<RelayInfo>,
    /// The map.
    pub view: Arc<View>,
}

impl Member {
    /// Joins under a host name. To be called on a thread inside the machine, within a tokio runtime.
    ///
    /// # Errors
    /// What the token or the coordinator does not allow.
    pub async fn join(token: &str, coordinator: SocketAddr, name: &str, number: u32) -> Result<Self> {
        let token: JoinToken = token.parse()?;
        let (identity, id) = (
            IdentitySecret::from_seed(&seed(number, 1)),
            NodeId::from_bytes(half(&seed(number, 2))),
        );
        let enrolment = Enrolment {
            network: token.network(),
            token: token.id,
            node: id,
            identity: identity.public(),
        };
        let enrolment = Signed::sign(enrolment, &token.secret)?;
        let facts = ["machine-id", "dmi-uuid", "root-fs"];
        let facts: BTreeMap<_, _> = facts
            .map(|fact| (fact.to_owned(), format!("{number}")))
            .into_iter()
            .collect();
        let request = JoinRequest {
            enrolment: enrolment.bytes().into(),
            hostname: name.into(),
            ip: None,
            avoid: Vec::new(),
            listen_port: None,
            facts: facts.clone(),
        };
        let mut connection = connect(&token, coordinator, id, &identity).await?;
        let reply: JoinReply = connection.post("/v1/join", &request).await?;
        Ok(Self {
            token,
            coordinator,
            number,
            id,
            identity,
            reply,
            facts,
            serial: 0,
        })
    }

    /// Hands in a record with these candidates and this home, true or not.
    ///
    /// # Errors
    /// What the coordinator does not take.
    pub async fn publish(&mut self, candidates: Vec<Candidate>, home_relay: Option<RelayId>) -> Result<()> {
        self.serial += 1;
        let record = Record {
            network: self.network(),
            node: self.id,
            serial: self.serial,
            wireguard: WireGuardSecret::from_seed(&seed(self.number, 3)).public(),
            discovery: self.discovery().public(),
            ipv4: self.reply.ipv4,
            ipv6: self.reply.ipv6,
            host_name: self.reply.hostname.clone(),
            candidates,
            home_relay,
            system: "linux/x86_64".into(),
            version: "0.1.0".into(),
        };
        let update = RecordUpdate {
            record: Signed::sign(record, &self.identity)?.bytes().into(),
            facts: self.facts.clone(),
        };
        let path = format!("/v1/networks/{}/record", self.network());
        let mut connection = self.connect().await?;
        let _: Done = connection.send(Method::PUT, &path, &update, &[]).await?;
        Ok(())
    }

    /// Asks for relays and map.
    ///
    /// # Errors
    /// What the coordinator does not give, or gives in another form than the API has.
    pub async fn look(&self) -> Result<Told> {
        let mut lines = self.stream((0, 0)).await?;
        let mut holder = MapHolder::new(self.token.root, vec![self.token.coordinator]);
        let mut relays = Vec::new();
        loop {
            match lines.next().await?.context("the stream ended")? {
                StreamLine::Hello { relays: told, .. } => relays = infos(&told)?,
                StreamLine::Full { map } => {
                    holder.apply_full(NetworkMap::decode(map.as_ref())?)?;
                    let view = Arc::clone(holder.view().context("no map")?);
                    return Ok(Told { relays, view });
                }
                _ => {}
            }
        }
    }

    /// Asks for the relays alone; `at` is the map's epoch and version, of which nothing is wanted.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub async fn relays(&self, at: (u32, u64)) -> Result<Vec<RelayInfo>> {
        match self.stream(at).await?.next().await? {
            Some(StreamLine::Hello { relays, .. }) => infos(&relays),
            other => bail!("the stream began with {other:?}"),
        }
    }

    /// This end of every pair.
    pub fn end(&self) -> End {
        End {
            node: self.id,
            key: self.public(),
        }
    }

    /// The key of its discovery messages.
    pub fn discovery(&self) -> DiscoverySecret {
        DiscoverySecret::from_seed(&seed(self.number, 4))
    }

    /// The public half.
    pub fn public(&self) -> DiscoveryPublic {
        self.discovery().public()
    }

    /// A client that binds at a relay.
    pub fn client(&self, relay: RelayInfo) -> RelayClient {
        RelayClient::new(
            Instant::now(),
            relay,
            self.network(),
            self.id,
            seed(self.number, 5),
        )
    }

    /// Its network.
    pub fn network(&self) -> NetworkId {
        self.token.network()
    }

    async fn connect(&self) -> Result<Connection> {
        connect(&self.token, self.coordinator, self.id, &self.identity).await
    }

    async fn stream(&self, (epoch, version): (u32, u64)) -> Result<LineStream> {
        let facts: Vec<String> = self
            .facts
            .iter()
            .map(|(name, value)| format!("{name}:{value}"))
            .collect();
        let path = format!(
            "/v1/networks/{}/map?epoch={epoch}&version={version}&facts={}",
            self.network(),
            facts.join(",")
        );
        Ok(self.connect().await?.lines(&path).await?)
    }
}

async fn connect(
    token: &JoinToken,
    at: SocketAddr,
    node: NodeId,
    identity: &IdentitySecret,
) -> Result<Connection> {
    let pins = [*token.coordinator.as_bytes()];
    let mut connection = pinned::connect(&at.ip().to_string(), at.port(), &pins).await?;
    let exporter = connection.exporter().context("TLS 1.3 has an exporter")?;
    let proof = NodeAuthorization::sign(token.network(), node, &exporter, identity);
    connection.authorize(proof.to_string());
    Ok(connection)
}

/// The relays as the core knows them: numeric addresses with the first one's port.
fn infos(relays: &[Relay]) -> Result<Vec<RelayInfo>> {
    let info = |relay: &Relay| -> Result<RelayInfo> {
        let addresses: Vec<SocketAddr> = relay.udp.iter().filter_map(|name| name.parse().ok()).collect();
        let port = addresses.first().context("a relay without an address")?.port();
        let key: [u8; 32] = relay.bind_key.0.as_slice().try_into().context("a bind key")?;
        Ok(RelayInfo {
            id: relay.id.parse()?,
            addresses: addresses.into_iter().filter(|at| at.port() == port).collect(),
            key: BindKey::from_bytes(key),
            node: None,
        })
    };
    relays.iter().map(info).collect()
}

/// 32 bytes of a member's own, for one purpose; the ends are not its own, for X25519 overwrites some bits there.
fn seed(number: u32, purpose: u8) -> [u8; 32] {
    let mut seed = [purpose; 32];
    seed[8..12].copy_from_slice(&number.to_le_bytes());
    seed
}

fn half(seed: &[u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&seed[..16]);
    half
}
