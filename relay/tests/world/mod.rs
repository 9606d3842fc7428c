//! A meshrelay on loopback, and nodes that speak its real protocols to it.
#![allow(dead_code)] // each test file uses a part of it

pub mod remote;
mod stream;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use meshd_api::Problem;
use meshd_api::client::{ClientError, Connection, LineStream, pinned, unix};
use meshd_api::coordinator::admin::{Done, NetworkCreate, NetworkInfo, NodeInfo, TokenCreate, TokenCreated};
use meshd_api::coordinator::node::{JoinReply, JoinRequest, Leave, RecordUpdate};
use meshd_core::auth::NodeAuthorization;
use meshd_core::id::NodeId;
use meshd_core::keys::{DiscoverySecret, IdentitySecret, WireGuardSecret};
use meshd_core::map::{Death, MapHolder, RemovalProof};
use meshd_core::statement::{Departure, Enrolment, Record, Signed};
use meshd_core::token::JoinToken;
use meshrelay::config::{Config, Listen};
use meshrelay::coordinator::first_batch;
use meshrelay::run::Running;
use meshrelay::store::RedbStore;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

pub use stream::MapStream;

/// Longest wait for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A meshrelay on loopback ports of its own.
pub struct World {
    pub dir: TempDir,
    pub config: Config,
    pub store: Arc<RedbStore>,
    pub relay: Running,
}

/// A port of loopback that nobody has now.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn listen(addr: &str) -> Listen {
    Listen {
        addr: addr.parse().unwrap(),
        required: true,
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With the network `prod`.
    pub async fn with_network() -> Self {
        let world = Self::new().await;
        world.create_network("prod", "10.77.0.0/16").await;
        world
    }

    /// With the network `prod`, and a token of it.
    pub async fn with_token(wanted: TokenCreate) -> (Self, JoinToken) {
        let world = Self::with_network().await;
        let token = world.token("prod", wanted).await;
        (world, token)
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config {
            state_dir: dir.path().join("state"),
            public_addrs: vec!["127.0.0.1".into()],
            listen_https: vec![listen("127.0.0.1:0")],
            listen_udp: vec![listen("127.0.0.1:0"), listen("127.0.0.1:0")],
            admin_socket: dir.path().join("admin.sock"),
            admin_public: false,
            admin_listen: None,
            relay_limit: None,
            relay_capacity: None,
            relay_for: None,
            network_keys: Vec::new(),
            ephemeral_after: Duration::from_secs(3600),
        };
        change(&mut config);
        let store = Arc::new(RedbStore::open(&config.state_dir, first_batch).unwrap());
        let relay = Running::start(&config, store.clone()).await.unwrap();
        Self {
            dir,
            config,
            store,
            relay,
        }
    }

    /// Stops and starts it, on the same ports and state.
    pub async fn restart(self) -> Self {
        let Self {
            dir,
            mut config,
            store,
            relay,
        } = self;
        config.listen_https = relay
            .https
            .iter()
            .map(|addr| Listen {
                addr: *addr,
                required: true,
            })
            .collect();
        relay.stop().await;
        let relay = Running::start(&config, store.clone()).await.unwrap();
        Self {
            dir,
            config,
            store,
            relay,
        }
    }

    pub fn https(&self) -> SocketAddr {
        self.relay.https[0]
    }

    pub async fn admin(&self) -> Connection {
        unix::connect(&self.config.admin_socket).await.unwrap()
    }

    /// A `GET` on the admin API.
    pub async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, ClientError> {
        self.admin().await.get(&format!("/v1/admin{path}")).await
    }

    /// A `POST` on the admin API.
    pub async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, ClientError> {
        self.admin().await.post(&format!("/v1/admin{path}"), body).await
    }

    pub async fn act(&self, path: &str) -> String {
        let done: Done = self.post(path, &serde_json::json!({})).await.unwrap();
        done.message
    }

    pub async fn create_network(&self, name: &str, cidr: &str) -> NetworkInfo {
        let wanted = serde_json::json!({ "name": name, "cidr": cidr });
        let _: NetworkCreate = serde_json::from_value(wanted.clone()).unwrap();
        self.post("/networks", &wanted).await.unwrap()
    }

    pub async fn token(&self, network: &str, wanted: TokenCreate) -> JoinToken {
        let created: TokenCreated = self
            .post(&format!("/networks/{network}/tokens"), &wanted)
            .await
            .unwrap();
        created.token.unwrap().parse().unwrap()
    }

    pub async fn nodes(&self, network: &str) -> Vec<NodeInfo> {
        self.get(&format!("/networks/{network}/nodes")).await.unwrap()
    }
}

/// A node's keys and what it was allotted.
pub struct TestNode {
    pub token: JoinToken,
    pub id: NodeId,
    pub identity: IdentitySecret,
    pub enrolment: Signed<Enrolment>,
    pub facts: BTreeMap<String, String>,
    pub serial: u64,
    pub reply: Option<JoinReply>,
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand_core::RngCore::fill_bytes(&mut rand_core::OsRng, &mut bytes);
    bytes
}

pub fn facts(values: [&str; 3]) -> BTreeMap<String, String> {
    let names = ["machine-id", "dmi-uuid", "root-fs"];
    names
        .iter()
        .zip(values)
        .map(|(n, v)| ((*n).to_owned(), v.to_owned()))
        .collect()
}

impl TestNode {
    pub fn new(token: &JoinToken) -> Self {
        let identity = IdentitySecret::from_seed(&random());
        let id = NodeId::from_bytes(random());
        let value = Enrolment {
            network: token.network(),
            token: token.id,
            node: id,
            identity: identity.public(),
        };
        let enrolment = Signed::sign(value, &token.secret).unwrap();
        let facts = facts(["m", "d", "r"]);
        Self {
            token: token.clone(),
            id,
            identity,
            enrolment,
            facts,
            serial: 0,
            reply: None,
        }
    }

    /// A connection that proves who this is.
    pub async fn connect(&self, at: SocketAddr) -> Connection {
        let pins = [*self.token.coordinator.as_bytes()];
        let mut connection = pinned::connect(&at.ip().to_string(), at.port(), &pins)
            .await
            .unwrap();
        let exporter = connection.exporter().unwrap();
        let proof = NodeAuthorization::sign(self.token.network(), self.id, &exporter, &self.identity);
        connection.authorize(proof.to_string());
        connection
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/networks/{}/{rest}", self.token.network())
    }

    pub fn join_request(&self, hostname: &str) -> JoinRequest {
        JoinRequest {
            enrolment: self.enrolment.bytes().into(),
            hostname: hostname.into(),
            ip: None,
            avoid: Vec::new(),
            listen_port: None,
            facts: self.facts.clone(),
        }
    }

    pub async fn try_join(&mut self, at: SocketAddr, hostname: &str) -> Result<JoinReply, ClientError> {
        let reply: JoinReply = self
            .connect(at)
            .await
            .post("/v1/join", &self.join_request(hostname))
            .await?;
        self.reply = Some(reply.clone());
        Ok(reply)
    }

    /// Joins and hands in a record.
    pub async fn enter(token: &JoinToken, at: SocketAddr, hostname: &str) -> Self {
        let mut node = Self::new(token);
        node.try_join(at, hostname).await.unwrap();
        node.put_record(at).await.unwrap();
        node
    }

    pub fn record(&mut self) -> Signed<Record> {
        let reply = self.reply.as_ref().unwrap();
        self.serial += 1;
        let record = Record {
            network: self.token.network(),
            node: self.id,
            serial: self.serial,
            wireguard: WireGuardSecret::from_seed(&self.identity.seed()).public(),
            discovery: DiscoverySecret::from_seed(&self.identity.seed()).public(),
            ipv4: reply.ipv4,
            ipv6: reply.ipv6,
            host_name: reply.hostname.clone(),
            candidates: Vec::new(),
            home_relay: None,
            system: "linux/x86_64".into(),
            version: "0.1.0".into(),
        };
        Signed::sign(record, &self.identity).unwrap()
    }

    /// The same identity on a copy of its disk, in a machine with other facts.
    pub fn cloned(&self, values: [&str; 3]) -> Self {
        Self {
            token: self.token.clone(),
            identity: self.identity.clone(),
            enrolment: self.enrolment.clone(),
            facts: facts(values),
            reply: self.reply.clone(),
            ..*self
        }
    }

    /// What a refusal proves to this node.
    pub fn proven_death(&self, problem: &Problem) -> Option<Death> {
        let proof = RemovalProof::decode(&problem.proof.as_ref()?.0).unwrap();
        proof.death_of(&self.token.root, self.enrolment.value())
    }

    /// Its word that it leaves.
    pub fn departure(&self) -> Leave {
        let departure = Departure {
            network: self.token.network(),
            node: self.id,
            serial: 99,
        };
        Leave {
            departure: Signed::sign(departure, &self.identity).unwrap().bytes().into(),
            facts: self.facts.clone(),
        }
    }

    /// Answers a ping.
    pub async fn pong(&self, at: SocketAddr, nonce: u64) {
        let pong = meshd_api::coordinator::node::Pong { nonce };
        let _: Done = self.post(at, "pong", &pong).await.unwrap();
    }

    pub async fn put_record(&mut self, at: SocketAddr) -> Result<Done, ClientError> {
        let update = RecordUpdate {
            record: self.record().bytes().into(),
            facts: self.facts.clone(),
        };
        self.connect(at)
            .await
            .send(Method::PUT, &self.path("record"), &update, &[])
            .await
    }

    pub async fn post<A: DeserializeOwned>(
        &self,
        at: SocketAddr,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, ClientError> {
        self.connect(at).await.post(&self.path(path), body).await
    }

    pub async fn put<A: DeserializeOwned>(
        &self,
        at: SocketAddr,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, ClientError> {
        let mut connection = self.connect(at).await;
        connection.send(Method::PUT, &self.path(path), body, &[]).await
    }

    /// The lines of a map stream, unread.
    pub async fn lines(&self, at: SocketAddr) -> LineStream {
        self.connect(at).await.lines(&self.path("map")).await.unwrap()
    }

    pub async fn stream(&self, at: SocketAddr) -> MapStream {
        self.stream_from(at, (0, 0)).await.unwrap()
    }

    pub async fn stream_from(
        &self,
        at: SocketAddr,
        (epoch, version): (u32, u64),
    ) -> Result<MapStream, ClientError> {
        let facts: Vec<String> = self
            .facts
            .iter()
            .map(|(name, value)| format!("{name}:{value}"))
            .collect();
        let path = self.path(&format!(
            "map?epoch={epoch}&version={version}&facts={}",
            facts.join(",")
        ));
        let lines = self.connect(at).await.lines(&path).await?;
        let holder = MapHolder::new(self.token.root, vec![self.token.coordinator]);
        Ok(MapStream {
            lines,
            holder,
            relays: Vec::new(),
            notices: Vec::new(),
            pings: Vec::new(),
        })
    }
}
