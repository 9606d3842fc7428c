//! A meshrelay that only relays, on a host of its own: `meshrelay run --relay-for WORD`.
//!
//! It answers STUN and forwards frames for the networks of the coordinator that its word names, over UDP and TLS, and keeps
//! nothing on disk. Who may use it, it learns from the coordinator by a stream (`follow`); while that is away, it goes
//! on for those it knows. The word's secret makes its bind keys and its TLS certificate, so that nodes which know it from the
//! coordinator need nothing else.

mod follow;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Result;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use meshd_core::id::{NetworkId, NodeId};
use meshd_core::keys::IdentityPublic;
use meshd_core::relay::word::RelayWord;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

use crate::config::Config;
use crate::packets::{Members, PacketPlane};
use crate::run::fresh_seed;
use crate::serve::answer::{Answer, Failure, not_found};
use crate::serve::connection::TlsService;
use crate::serve::limits::Limits;
use crate::serve::proof::Claim;
use crate::serve::{listen, over_tls};
use crate::tls;

/// Nodes of all networks with their identity keys; clones are the same.
#[derive(Clone)]
pub struct Guests {
    identities: Arc<RwLock<BTreeMap<NetworkId, BTreeMap<NodeId, IdentityPublic>>>>,
    members: Members,
}

impl Guests {
    /// Nobody yet.
    pub fn new(members: Members) -> Self {
        Self {
            identities: Arc::default(),
            members,
        }
    }

    /// Makes these all nodes of a network that may use the relay; whoever is gone loses binding and sessions at once.
    pub fn set(&self, network: NetworkId, nodes: BTreeMap<NodeId, IdentityPublic>) {
        let mut identities = self.identities.write().unwrap_or_else(PoisonError::into_inner);
        if nodes.is_empty() {
            self.members.remove_network(network);
            identities.remove(&network);
        } else {
            self.members.set(network, nodes.keys().copied());
            identities.insert(network, nodes);
        }
    }

    /// Ends all networks but these.
    pub fn retain(&self, keep: impl Fn(&NetworkId) -> bool) {
        let held = self.identities.read().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<NetworkId> = held.keys().filter(|id| !keep(id)).copied().collect();
        drop(held);
        gone.into_iter().for_each(|id| self.set(id, BTreeMap::new()));
    }

    fn identity(&self, network: NetworkId, node: NodeId) -> Option<IdentityPublic> {
        let identities = self.identities.read().unwrap_or_else(PoisonError::into_inner);
        identities.get(&network)?.get(&node).copied()
    }
}

/// Runs until a signal says stop.
pub async fn until_signal(config: &Config, word: &RelayWord) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let running = Running::start(config, word)?;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = running.plane.until_failed() => anyhow::bail!("the packet relay stopped; the log says why"),
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    info!("stopping");
    let _ = running.stop.send(true);
    Ok(())
}

/// A relay in service.
pub struct Running {
    /// Its packets.
    pub plane: PacketPlane,
    /// TCP addresses for TLS.
    pub tls: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Running {
    /// Opens everything and begins to follow the coordinator.
    pub fn start(config: &Config, word: &RelayWord) -> Result<Self> {
        let listeners = listen::bind_tcp(&config.listen_https)?;
        let tls: Vec<SocketAddr> = listeners.iter().filter_map(|l| l.local_addr().ok()).collect();
        let members = Members::new(&word.secret.bind_secret(), fresh_seed(), config.limits());
        let plane = PacketPlane::start(&config.listen_udp, members.clone())?;
        let guests = Guests::new(members);
        let (stop, stopped) = watch::channel(false);
        let service = TlsService {
            tls: Arc::new(tls::server_config(&word.secret.issuer())?),
            router: router(guests.clone(), &plane),
            admin: false,
            ingress: None,
            stop: stopped,
        };
        let limits = Limits::default();
        let mut tasks = JoinSet::new();
        for listener in listeners {
            tasks.spawn(listen::accept_tls(listener, service.clone(), limits.clone()));
        }
        let udp = plane.local_addrs();
        info!(relay = %word.id, ?udp, ?tls, "meshrelay is up, as a relay of another coordinator");
        let listens = follow::listens(&config.public_addrs, &udp, &tls);
        tasks.spawn(follow::follow(word.clone(), listens, guests));
        Ok(Self {
            plane,
            tls,
            stop,
            _tasks: tasks,
        })
    }
}

fn router(guests: Guests, plane: &PacketPlane) -> Router {
    Router::new()
        .route("/v1/relay", get(relay))
        .fallback(not_found)
        .layer(Extension(plane.streams()))
        .with_state(guests)
}

/// `GET /v1/relay`, for the nodes that the coordinator named.
async fn relay(
    State(guests): State<Guests>,
    Extension(streams): Extension<crate::packets::streams::StreamEntry>,
    claim: Claim,
    request: Request,
) -> Answer<Response> {
    let Claim {
        proof,
        exporter,
        session,
    } = claim;
    let who = (proof.network, proof.node);
    let known = guests.identity(who.0, who.1);
    if !known.is_some_and(|identity| proof.verify(&exporter, &identity)) {
        return Err(Failure::unproven(
            "this relay does not know you as a node, or the signature does not prove it",
        ));
    }
    over_tls::upgrade(request, session, who, &streams)
}
