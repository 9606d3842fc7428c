//! The ingress: public ports of this host, and what comes there carried to nodes of the mesh, through the meshd beside meshrelay.
//!
//! What is exposed the coordinator tells ([`Wanted`]), from what the root signed. Who is let in, to whom one goes and which site is
//! meant is decided in [`meshd_core::expose`] and [`meshd_core::balance`]; here are the sockets. What is carried may be a lot, so the ingress has threads of
//! its own with an event loop of their own, made when something is exposed first: neither coordinator nor packets wait for it.
//!
//! 1. `keeper.rs` starts and ends a service for each exposure, and listens at its port (`ports.rs`; `owner.rs` says who else has it);
//! 2. `tunnels.rs` watches which interfaces lead into meshes: sockets to targets are bound to one, so that nothing leaves by another way;
//! 3. `service.rs` lets in, counts, probes (`probe.rs`), and carries out what its balancer says;
//! 4. `carry.rs` connects to a target and moves the bytes of a TCP connection (`pump.rs`); `udp.rs` moves datagrams.
//!
//! Port 443 is the coordinator's: it looks at the ClientHello, and what asks for a site that is exposed there comes here ([`Ingress::site`]).

mod carry;
mod keeper;
mod owner;
mod ports;
mod probe;
mod pump;
mod service;
mod status;
mod tunnels;
mod udp;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use ipnet::Ipv4Net;
use meshd_core::expose::{OwnPort, Sites};
use meshd_core::id::NetworkId;
use meshd_core::statement::{ExposeTerms, Member, Protocol};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Semaphore, oneshot, watch};
use tracing::error;

pub use service::Service;
pub use status::{Status, no_tunnel};
use tunnels::Tunnel;

/// How long what is carried may go on when the program stops.
const GRACE: Duration = Duration::from_millis(500);
/// Threads of the ingress, at most: more do not help before the tunnel is the limit.
const MAX_THREADS: usize = 4;

/// Connections and flows of all that is exposed, at once; the unit allows 65,536 descriptors.
const MAX_OPEN: usize = 24_576;

/// Something exposed, as this host has to serve it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Whose it is.
    pub network: NetworkId,
    /// The network's name.
    pub network_name: String,
    /// The prefix of its nodes.
    pub prefix: Ipv4Net,
    /// Its own name.
    pub name: String,
    /// The allowance under which a node asked for it, and not an admin.
    pub allowance: Option<String>,
    /// What the root says of it, or allowed.
    pub terms: ExposeTerms,
    /// Those of its targets that are in.
    pub places: Vec<Place>,
}

/// Where what comes to an exposure goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A port of a node, which the root named.
    Node(Member),
    /// An address that a node asked for: a pod's, or a node's.
    Address(SocketAddrV4),
}

/// A target, as this host knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The target.
    pub target: Target,
    /// Its node's name, with the pod's address where it is a pod.
    pub name: String,
    /// Its place on the mesh.
    pub address: SocketAddr,
    /// Its node's address on the mesh.
    pub node: Ipv4Addr,
}

/// Whose, and what it is called.
type Key = (NetworkId, String);

/// Which exposure a port of TCP is for.
#[derive(Clone)]
enum Route {
    /// One alone.
    Whole(Arc<Service>),
    /// Those of the sites that clients ask for.
    Sites(Sites<Arc<Service>>),
}

/// The ingress; clones are the same.
#[derive(Clone)]
pub struct Ingress(Arc<Inner>);

struct Inner {
    public: Vec<String>,
    own: Vec<OwnPort>,
    /// Where TCP connections go, by port.
    routes: RwLock<BTreeMap<u16, Route>>,
    /// What is served, and what is not, with the reason.
    services: RwLock<BTreeMap<Key, Result<Arc<Service>, String>>>,
    ports: ports::Ports,
    tunnels: watch::Sender<Arc<[Tunnel]>>,
    /// For all connections and flows together: each is two descriptors.
    room: Arc<Semaphore>,
    runtime: OnceLock<Handle>,
}

impl Ingress {
    /// For a host with these public names and addresses, on which meshrelay itself has these ports.
    pub fn new(public: Vec<String>, own: Vec<OwnPort>) -> Self {
        Self(Arc::new(Inner {
            public,
            own,
            routes: RwLock::default(),
            services: RwLock::default(),
            ports: ports::Ports::default(),
            tunnels: watch::Sender::new(Arc::new([])),
            room: Arc::new(Semaphore::new(MAX_OPEN)),
            runtime: OnceLock::new(),
        }))
    }

    /// Serves what is wanted until the program stops.
    pub async fn run(self, mut wanted: watch::Receiver<Arc<[Wanted]>>, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            something = wanted.wait_for(|wanted| !wanted.is_empty()) => if something.is_err() { return },
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let (ended, end) = oneshot::channel::<()>();
        let begun = runtime().and_then(|runtime| {
            let _ = self.0.runtime.set(runtime.handle().clone());
            std::thread::Builder::new().name("ingress".into()).spawn(move || {
                runtime.block_on(keeper::keep(self.0, wanted, stop));
                runtime.shutdown_timeout(GRACE);
                drop(ended);
            })
        });
        match begun {
            Ok(_) => drop(end.await),
            Err(why) => error!("what is exposed is not served: its threads cannot be started: {why}"),
        }
    }

    /// Who serves this site at a port of meshrelay's own.
    pub fn site(&self, port: u16, name: Option<&str>) -> Option<Arc<Service>> {
        let routes = self.0.routes.read().unwrap_or_else(PoisonError::into_inner);
        match routes.get(&port)? {
            Route::Sites(sites) => sites.find(name?).cloned(),
            Route::Whole(_) => None,
        }
    }

    /// Whether a port can be listened on, or already is; else a sentence that says who has it.
    pub fn can_listen(&self, protocol: Protocol, port: u16) -> Result<(), String> {
        let mut own = self.0.own.iter();
        if self.0.ports.is_open(protocol, port) || own.any(|own| (own.protocol, own.port) == (protocol, port))
        {
            return Ok(());
        }
        self.addresses()
            .into_iter()
            .try_for_each(|ip| ports::try_bind(protocol, SocketAddr::new(ip, port)))
    }

    /// How an exposure goes on; none where it is not known here yet.
    pub fn status(&self, network: NetworkId, name: &str) -> Option<Status> {
        let services = self.0.services.read().unwrap_or_else(PoisonError::into_inner);
        match services.get(&(network, name.to_owned()))? {
            Ok(service) => Some(service.status()),
            Err(why) => Some(Status::refused(why.clone())),
        }
    }

    /// Whether meshd has a tunnel of the network with this prefix on this machine, and its address there.
    pub async fn beside(&self, prefix: Ipv4Net) -> Option<Ipv4Addr> {
        let now = tunnels::read().await;
        let mut all = now.iter().flat_map(|all| all.iter());
        all.find(|tunnel| prefix.contains(&tunnel.address))
            .map(|tunnel| tunnel.address)
    }

    /// Names and addresses under which this host is reached.
    pub fn public(&self) -> Vec<String> {
        self.0.public.clone()
    }

    fn addresses(&self) -> Vec<IpAddr> {
        ports::addresses(&self.0.public)
    }
}

fn runtime() -> std::io::Result<Runtime> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread()
        .worker_threads(threads.min(MAX_THREADS))
        .thread_name("ingress")
        .enable_all()
        .build()
}
