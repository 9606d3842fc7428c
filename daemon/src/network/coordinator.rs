//! The line to the coordinator: one task for each network, that connects, keeps the map stream open, and
//! carries this node's requests.
//!
//! It decides nothing about maps: lines go to the network's task, requests come from it. When the line breaks
//! it says why, in one sentence, and tries again with growing pauses. Traffic never waits for it.

use crate::state::Membership;
use hyper::Method;
use meshd_api::client::{ClientError, Connection, LineStream, pinned};
use meshd_api::coordinator::ingress::{IngressAsk, IngressGiven};
use meshd_api::coordinator::node::{
    Entries, Leave, NodePart, Parts, PartsTaken, Pong, RecordUpdate, StreamLine,
};
use meshd_api::local::Done;
use meshd_api::{Base64Bytes, Problem};
use meshd_core::auth::NodeAuthorization;
use meshd_core::id::{NetworkId, NodeId};
use meshd_core::keys::IdentitySecret;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

/// First pause before another try.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause before another try: a cloud host that comes back is found within it.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Silence on the stream after which it counts as dead, until the coordinator's hello says better.
const FIRST_SILENCE: Duration = Duration::from_secs(25);

/// What the line reports to the network's task.
#[derive(Debug)]
pub enum FromCoordinator {
    /// The stream is open; `local` is our address towards the coordinator.
    Connected {
        /// Our end on the underlay.
        local: Option<SocketAddr>,
    },
    /// A line of the stream.
    Line(StreamLine),
    /// The coordinator took this request.
    Accepted(Request),
    /// It took some of what was told of nodes' parts.
    PartsTaken(PartsTaken),
    /// It took, or refused, what a cluster exposes.
    Ingress(Arc<IngressAsk>, Result<IngressGiven, Problem>),
    /// It refused this request for good.
    Refused(Request, Problem),
    /// The line is down.
    Down {
        /// Why, in one sentence.
        why: String,
        /// The coordinator's own word, where it was the coordinator that refused.
        problem: Option<Problem>,
    },
}

/// What the network's task asks of the coordinator.
#[derive(Debug, Clone)]
pub enum Request {
    /// Publish this signed record, with the machine's facts.
    Record(Vec<u8>, BTreeMap<String, String>),
    /// This node leaves: its signed departure.
    Leave(Vec<u8>),
    /// Answer to a ping.
    Pong(u64),
    /// Entries that the coordinator may lack.
    Entries(Vec<Vec<u8>>),
    /// Parts of the pods' prefixes that Kubernetes gave nodes.
    Parts(Vec<NodePart>),
    /// All that the cluster exposes by itself.
    Ingress(Arc<IngressAsk>),
}

impl Request {
    /// What it is, in a sentence.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Record(..) => "this node's record",
            Self::Leave(_) => "this node's departure",
            Self::Pong(_) => "a sign of life",
            Self::Entries(_) => "what this node can prove",
            Self::Parts(_) => "what Kubernetes says of nodes' pods",
            Self::Ingress(_) => "what the cluster exposes",
        }
    }
}

/// Who we are to the coordinator and where it is.
#[derive(Clone)]
pub struct Identity {
    /// The network.
    pub network: NetworkId,
    /// This node.
    pub node: NodeId,
    /// Proves it.
    pub secret: Arc<IdentitySecret>,
}

/// Where coordinators are and which keys they may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// Hosts and ports, tried in order.
    pub addresses: Vec<(String, u16)>,
    /// Ed25519 identity keys in force.
    pub pins: Vec<[u8; 32]>,
}

/// The line to one network's coordinators.
pub struct Line {
    identity: Identity,
    targets: Targets,
    /// (epoch, version) of the map held, for resuming.
    held: watch::Receiver<(u32, u64)>,
    requests: mpsc::Receiver<Request>,
    events: mpsc::Sender<FromCoordinator>,
}

impl Line {
    /// A line that reports to `events` and takes `requests`.
    pub fn new(
        identity: Identity,
        targets: Targets,
        held: watch::Receiver<(u32, u64)>,
        requests: mpsc::Receiver<Request>,
        events: mpsc::Sender<FromCoordinator>,
    ) -> Self {
        Self {
            identity,
            targets,
            held,
            requests,
            events,
        }
    }

    /// Runs until the network's task drops its ends. Each round tries every address; then comes a pause.
    pub async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut failure: Option<ClientError> = None;
            for (host, port) in self.targets.addresses.clone() {
                match self.session(&host, port, &mut pause).await {
                    Ok(()) => return,
                    // A coordinator's own word says more than an address that this machine has no route to.
                    Err(error) if failure.as_ref().is_none_or(|f| says_more(&error, f)) => {
                        failure = Some(error)
                    }
                    Err(_) => {}
                }
            }
            let down = FromCoordinator::Down {
                problem: match &failure {
                    Some(ClientError::Refused { problem, .. }) => Some(problem.clone()),
                    _ => None,
                },
                why: failure.map_or_else(|| "no address of it is known".to_owned(), |f| f.to_string()),
            };
            if self.events.send(down).await.is_err() {
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One connection from start to end; `Ok` when the network's task is gone.
    async fn session(&mut self, host: &str, port: u16, pause: &mut Duration) -> Result<(), ClientError> {
        let mut stream = self.open_stream(host, port).await?;
        let mut requests = connect(&self.identity, &self.targets.pins, host, port).await?;
        let local = requests.local_addr();
        *pause = FIRST_PAUSE;
        if self
            .events
            .send(FromCoordinator::Connected { local })
            .await
            .is_err()
        {
            return Ok(());
        }
        let mut silence = FIRST_SILENCE;
        loop {
            tokio::select! {
                line = timeout(silence, stream.next::<StreamLine>()) => {
                    let line = line.map_err(|_| ClientError::Timeout { address: format!("{host}:{port}"), seconds: silence.as_secs() })??;
                    let Some(line) = line else {
                        return Err(ClientError::Broken { address: format!("{host}:{port}"), cause: "the coordinator ended the stream".into() });
                    };
                    if let StreamLine::Hello { ping_seconds, .. } = &line {
                        silence = Duration::from_secs(u64::from(*ping_seconds).clamp(1, 300) * 5 / 2);
                    }
                    if self.events.send(FromCoordinator::Line(line)).await.is_err() {
                        return Ok(());
                    }
                }
                request = self.requests.recv() => {
                    let Some(request) = request else { return Ok(()) };
                    self.carry(&mut requests, request).await?;
                }
            }
        }
    }

    async fn open_stream(&self, host: &str, port: u16) -> Result<LineStream, ClientError> {
        let connection = connect(&self.identity, &self.targets.pins, host, port).await?;
        let (epoch, version) = *self.held.borrow();
        let network = self.identity.network;
        // the machine's facts: by them the coordinator tells a clone from the original
        let facts: Vec<String> = crate::machine::hashed_facts(network)
            .iter()
            .map(|(name, value)| format!("{name}:{value}"))
            .collect();
        let facts = facts.join(",");
        connection
            .lines(&format!(
                "/v1/networks/{network}/map?epoch={epoch}&version={version}&facts={facts}"
            ))
            .await
    }

    /// Carries one request; a refusal is reported, a broken line ends the session.
    async fn carry(&self, connection: &mut Connection, request: Request) -> Result<(), ClientError> {
        let network = self.identity.network;
        if let Request::Parts(parts) = &request {
            return self.carry_parts(connection, parts.clone()).await;
        }
        if let Request::Ingress(ask) = request {
            return self.carry_ingress(connection, ask).await;
        }
        let event = match deliver(connection, network, &request).await {
            Ok(()) => FromCoordinator::Accepted(request),
            Err(ClientError::Refused { problem, .. }) => FromCoordinator::Refused(request, problem),
            Err(broken) => return Err(broken),
        };
        let _ = self.events.send(event).await;
        Ok(())
    }
}

impl Line {
    async fn carry_ingress(
        &self,
        connection: &mut Connection,
        ask: Arc<IngressAsk>,
    ) -> Result<(), ClientError> {
        let path = format!("/v1/networks/{}/ingress", self.identity.network);
        let sent = connection
            .send::<_, IngressGiven>(Method::PUT, &path, &*ask, &[])
            .await;
        let event = match sent {
            Ok(given) => FromCoordinator::Ingress(ask, Ok(given)),
            Err(ClientError::Refused { problem, .. }) => FromCoordinator::Ingress(ask, Err(problem)),
            Err(broken) => return Err(broken),
        };
        let _ = self.events.send(event).await;
        Ok(())
    }

    async fn carry_parts(
        &self,
        connection: &mut Connection,
        parts: Vec<NodePart>,
    ) -> Result<(), ClientError> {
        let path = format!("/v1/networks/{}/parts", self.identity.network);
        let told = Parts { parts };
        let event = match connection.post::<_, PartsTaken>(&path, &told).await {
            Ok(taken) => FromCoordinator::PartsTaken(taken),
            Err(ClientError::Refused { problem, .. }) => {
                FromCoordinator::Refused(Request::Parts(told.parts), problem)
            }
            Err(broken) => return Err(broken),
        };
        let _ = self.events.send(event).await;
        Ok(())
    }
}

/// Whether `new` tells a person more than `old`: whoever was reached says more than who was not.
fn says_more(new: &ClientError, old: &ClientError) -> bool {
    let weight = |error: &ClientError| match error {
        ClientError::Unreachable { .. } => 0,
        ClientError::Refused { .. } => 2,
        _ => 1,
    };
    weight(new) > weight(old)
}

/// Connects to the first coordinator address of a membership that answers.
///
/// # Errors
/// What is wrong with each address.
pub async fn connect_any(m: &Membership) -> Result<Connection, Vec<ClientError>> {
    let identity = Identity {
        network: m.network,
        node: m.node,
        secret: m.identity.clone(),
    };
    let mut failures = Vec::new();
    for (host, port) in &m.addresses {
        match connect(&identity, &m.coordinators, host, *port).await {
            Ok(connection) => return Ok(connection),
            Err(error) => failures.push(error),
        }
    }
    Err(failures)
}

/// Connects and proves this node's identity, bound to the TLS session.
pub async fn connect(
    identity: &Identity,
    pins: &[[u8; 32]],
    host: &str,
    port: u16,
) -> Result<Connection, ClientError> {
    let mut connection = pinned::connect(host, port, pins).await?;
    let exporter = connection.exporter().unwrap_or_default();
    let proof = NodeAuthorization::sign(identity.network, identity.node, &exporter, &identity.secret);
    connection.authorize(proof.to_string());
    Ok(connection)
}

/// Carries one request over an authorized connection.
pub async fn deliver(
    connection: &mut Connection,
    network: NetworkId,
    request: &Request,
) -> Result<(), ClientError> {
    let path = |what: &str| format!("/v1/networks/{network}/{what}");
    let _: Done = match request {
        Request::Record(record, facts) => {
            let body = RecordUpdate {
                record: record.as_slice().into(),
                facts: facts.clone(),
            };
            connection.send(Method::PUT, &path("record"), &body, &[]).await?
        }
        Request::Leave(departure) => {
            connection
                .post(
                    &path("leave"),
                    &Leave {
                        departure: departure.as_slice().into(),
                        facts: crate::machine::hashed_facts(network),
                    },
                )
                .await?
        }
        Request::Pong(nonce) => connection.post(&path("pong"), &Pong { nonce: *nonce }).await?,
        Request::Entries(entries) => {
            let entries = entries.iter().map(|e| Base64Bytes::from(e.as_slice())).collect();
            connection.post(&path("statements"), &Entries { entries }).await?
        }
        Request::Ingress(ask) => {
            let given: IngressGiven = connection
                .send(Method::PUT, &path("ingress"), &**ask, &[])
                .await?;
            Done {
                message: format!("{} ports were asked for", given.ports.len()),
            }
        }
        Request::Parts(parts) => {
            let told = Parts { parts: parts.clone() };
            let taken: PartsTaken = connection.post(&path("parts"), &told).await?;
            Done {
                message: format!("{} are taken", taken.taken),
            }
        }
    };
    Ok(())
}
