//! The program's life: configuration in, everything opened in order, served until a signal, closed in order.
//!
//! 1. The store is opened (on the first start, with keys of its own) and read wholly.
//! 2. All sockets are bound; only then is anything served, and systemd told.
//! 3. A signal stops accepting, ends the map streams, and gives requests two seconds.
//! 4. After a restore all of this happens once more, from the restored store, in the same process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use meshd_core::expose::OwnPort;
use meshd_core::id::RelayId;
use meshd_core::statement::Protocol;
use rustix::process::Resource;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::config::Config;
use crate::coordinator::{Coordinator, Keys, Site, State, first_batch};
use crate::expose::Ingress;
use crate::packets::streams::StreamEntry;
use crate::packets::{Members, PacketPlane};
use crate::serve::connection::TlsService;
use crate::serve::limits::Limits;
use crate::serve::{listen, router};
use crate::store::{RedbStore, Store};
use crate::tls;

/// Threads for work that may block on the disk; writes come one after the other, and each thread keeps memory of its own.
const BLOCKING_THREADS: usize = 3;
/// How long connections may take to end.
const GRACE: Duration = Duration::from_secs(3);

/// Runs until a signal says stop.
pub fn run(config: &Config) -> Result<()> {
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("cannot start the event loop")?;
    match &config.relay_for {
        Some(word) => runtime.block_on(crate::outpost::until_signal(config, word)),
        None => runtime.block_on(until_signal(config)),
    }
}

/// Connections are descriptors: takes as many as the system allows. Where it does not (a sandbox), the limit stays.
fn raise_file_limit() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(cause) = rustix::process::setrlimit(Resource::Nofile, limit) {
        debug!(%cause, "the limit of open files stays as it is");
    }
}

async fn until_signal(config: &Config) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let store = Arc::new(RedbStore::open(&config.state_dir, first_batch)?);
    loop {
        let running = Running::start(config, store.clone()).await?;
        running.announce(config).await?;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        let again = tokio::select! {
            _ = terminate.recv() => false,
            _ = interrupt.recv() => false,
            () = running.coordinator.until_replaced() => true,
            () = running.plane.until_failed() => bail!("the packet relay stopped; the log says why"),
        };
        if !again {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        }
        running.stop().await;
        if !again {
            return Ok(());
        }
        info!("the restored state is taken into service");
    }
}

/// All that listens.
struct Sockets {
    https: Vec<TcpListener>,
    admin: Option<TcpListener>,
    unix: UnixListener,
}

/// A meshrelay in service.
pub struct Running {
    /// Its decisions.
    pub coordinator: Coordinator,
    /// Its packets.
    pub plane: PacketPlane,
    /// TCP addresses of the coordinator.
    pub https: Vec<SocketAddr>,
    /// TCP address for admins only.
    pub admin: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Takes the state in `store` into service.
    pub async fn start(config: &Config, store: Arc<dyn Store>) -> Result<Self> {
        let keys = Keys::load(&*store)?;
        let sockets = open_sockets(config)?;
        let https: Vec<SocketAddr> = sockets.https.iter().filter_map(|l| l.local_addr().ok()).collect();
        let admin = sockets
            .admin
            .as_ref()
            .and_then(|listener| listener.local_addr().ok());
        let members = Members::new(&keys.relay_secret, fresh_seed(), config.limits());
        let plane = PacketPlane::start(&config.listen_udp, members.clone())?;
        plane.set_own_addresses(config.public_addrs.iter().filter_map(|host| host.parse().ok()));
        let tls = Arc::new(tls::server_config(&keys.coordinator)?);
        let site = site_of(config, &keys, (&https, admin), &plane);
        let ingress = Ingress::new(config.public_addrs.clone(), site.own_ports.clone());
        let state = State::load(store, keys.coordinator, site, members)?;
        let coordinator = Coordinator::new(state);
        let (stop, stopped) = watch::channel(false);
        let tasks = serve(
            config,
            sockets,
            (&coordinator, plane.streams(), ingress),
            &tls,
            &stopped,
        );
        Ok(Self {
            coordinator,
            plane,
            https,
            admin,
            stop,
            tasks,
        })
    }

    /// Stops accepting, ends the streams, and waits a little for the rest.
    pub async fn stop(mut self) {
        info!("stopping");
        let _ = self.stop.send(true);
        self.coordinator.retire().await;
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            warn!("tasks did not end in time and are cut");
        }
    }

    /// Says what runs where, and, while there is no network, what to do next.
    async fn announce(&self, config: &Config) -> Result<()> {
        let shown = |addrs: &[SocketAddr]| {
            addrs
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let (https, udp) = (shown(&self.https), shown(&self.plane.local_addrs()));
        if let Err(unknown) = self.coordinator.call(|state| state.addresses().map(drop)).await {
            warn!("{unknown}; until then no token can be made");
        }
        let identity = self.coordinator.identity().await?;
        info!(https, udp, %identity, "meshrelay is up");
        if self
            .coordinator
            .call(|state| state.list_networks(None))
            .await?
            .is_empty()
        {
            let socket = match config.admin_socket.to_str() {
                Some(meshd_api::coordinator::DEFAULT_ADMIN_SOCKET) | None => String::new(),
                Some(path) => format!(" --relay-socket {path}"),
            };
            println!(
                "meshrelay is up and has no network yet. Next, on this host:\n  \
                 meshctl{socket} network create NAME --cidr 10.77.0.0/16\n  \
                 meshctl{socket} token create --network NAME --uses 20 --expires 7d\n\
                 and on each node: meshctl join TOKEN"
            );
        }
        Ok(())
    }
}

/// Randomness for a relay's decisions.
pub(crate) fn fresh_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    rand_core::RngCore::fill_bytes(&mut rand_core::OsRng, &mut seed);
    seed
}

fn open_sockets(config: &Config) -> Result<Sockets> {
    let https = listen::bind_tcp(&config.listen_https)?;
    let admin = config.admin_listen.map(listen::bind_tcp_early).transpose()?;
    Ok(Sockets {
        https,
        admin,
        unix: listen::bind_unix(&config.admin_socket)?,
    })
}

fn site_of(
    config: &Config,
    keys: &Keys,
    (https, admin): (&[SocketAddr], Option<SocketAddr>),
    plane: &PacketPlane,
) -> Site {
    let mut udp_ports = Vec::new();
    for port in plane.local_addrs().iter().map(SocketAddr::port) {
        if !udp_ports.contains(&port) {
            udp_ports.push(port);
        }
    }
    // without --public-addr, an address that is listened on by name will do
    let named = https
        .iter()
        .filter(|addr| !addr.ip().is_unspecified())
        .map(|addr| addr.ip().to_string());
    let hosts = if config.public_addrs.is_empty() {
        named.collect()
    } else {
        config.public_addrs.clone()
    };
    Site {
        relay: RelayId::from_bytes(keys.relay),
        relay_secret: keys.relay_secret.clone(),
        hosts,
        https_port: https.first().map_or(0, SocketAddr::port),
        udp_ports,
        network_keys: config.network_keys.clone(),
        ephemeral_after: config.ephemeral_after,
        own_ports: own_ports(https, admin, &plane.local_addrs()),
    }
}

/// What meshrelay itself listens on.
fn own_ports(https: &[SocketAddr], admin: Option<SocketAddr>, udp: &[SocketAddr]) -> Vec<OwnPort> {
    let own = |protocol, what, shared| {
        move |addr: &SocketAddr| OwnPort {
            protocol,
            port: addr.port(),
            what,
            shared,
        }
    };
    let coordinator = own(Protocol::Tcp, "the coordinator", true);
    let for_admins = own(Protocol::Tcp, "requests of admins", false);
    let relay = own(Protocol::Udp, "relay and STUN", false);
    let tcp = https.iter().map(coordinator).chain(admin.iter().map(for_admins));
    tcp.chain(udp.iter().map(relay)).collect()
}

fn serve(
    config: &Config,
    sockets: Sockets,
    (coordinator, streams, ingress): (&Coordinator, StreamEntry, Ingress),
    tls: &Arc<rustls::ServerConfig>,
    stop: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let limits = Limits::default();
    let router = router(coordinator.clone(), streams, ingress.clone());
    tasks.spawn(ingress.clone().run(coordinator.exposed(), stop.clone()));
    let service = |admin| TlsService {
        tls: tls.clone(),
        router: router.clone(),
        admin,
        ingress: Some(ingress.clone()),
        stop: stop.clone(),
    };
    for listener in sockets.https {
        tasks.spawn(listen::accept_tls(
            listener,
            service(config.admin_public),
            limits.clone(),
        ));
    }
    if let Some(listener) = sockets.admin {
        tasks.spawn(listen::accept_tls(listener, service(true), limits));
    }
    tasks.spawn(listen::accept_unix(sockets.unix, router, stop.clone()));
    let (streams, mut stop) = (coordinator.clone(), stop.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = streams.keep_streams() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    });
    tasks
}
