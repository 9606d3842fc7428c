//! Endpoints: addresses that this node holds for itself, where it listens and hands each connection to a member that is well.
//!
//! Who is well and who is next is decided in [`meshd_core::balance`]; here are the sockets. Connections may carry a lot (a registry's
//! images), so they have a thread of their own with an event loop of its own: the control side never waits for them. There is
//! none where there is no endpoint.
//!
//! 1. the network's task tells what there is ([`Handle::set`]), and holds the addresses on its interface;
//! 2. `keeper.rs` starts and ends a service for each endpoint;
//! 3. `service.rs` listens at its addresses, within a limit, and carries out what its balancer says;
//! 4. `carry.rs` connects to a member and copies both ways until one of the two ends, or the member is dead;
//! 5. `probe.rs` asks members how they are, by `readyz.rs` where their authority is known. Beside it counts whatever comes from a member's
//!    machine through the tunnel ([`Ears`]): a program may take its time, a machine that is silent is gone.

mod carry;
mod keeper;
mod probe;
mod readyz;
mod service;

use meshd_api::local::EndpointStatus;
use meshd_core::id::NodeId;
use meshd_core::statement::Member;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::error;

/// An endpoint as this node has to serve it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Where to listen.
    pub at: Vec<SocketAddr>,
    /// Who is behind it.
    pub members: Vec<Place>,
    /// Certificates (DER) of who issues the members'; none where a connection is proof enough.
    pub authorities: Vec<Vec<u8>>,
}

/// A member, as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The member.
    pub member: Member,
    /// Its node's name.
    pub name: String,
    /// Its place on the mesh.
    pub address: SocketAddr,
}

/// When something authentic last came from a node, if it is a peer.
pub type Ears = Arc<dyn Fn(NodeId) -> Option<Instant> + Send + Sync>;

/// What services tell of themselves.
type Told = Arc<Mutex<Vec<Report>>>;

/// What one service tells of itself.
type Report = Arc<dyn Fn() -> (EndpointStatus, Vec<String>) + Send + Sync>;

/// The endpoints of one network; they end when it is dropped.
pub struct Handle {
    ears: Ears,
    running: Option<Running>,
}

struct Running {
    /// What is wanted, and the how manieth wish that is.
    wanted: watch::Sender<(u64, Vec<Wanted>)>,
    /// The last wish that was carried out.
    done: watch::Receiver<u64>,
    told: Told,
}

/// How long a wish may take to be carried out.
const PATIENCE: Duration = Duration::from_secs(2);

impl Handle {
    /// None yet.
    pub fn new(ears: Ears) -> Self {
        Self { ears, running: None }
    }

    /// These are the endpoints now. What did not change goes on undisturbed; what is no longer wanted has ended when this returns.
    pub async fn set(&mut self, wanted: Vec<Wanted>) {
        if let Some(running) = &mut self.running {
            running.wanted.send_if_modified(|(wish, held)| {
                let new = *held != wanted;
                *wish += u64::from(new);
                *held = wanted;
                new
            });
            let wish = running.wanted.borrow().0;
            let carried_out = running.done.wait_for(|done| *done >= wish);
            let _ = tokio::time::timeout(PATIENCE, carried_out).await;
        } else if !wanted.is_empty() {
            self.running = start(wanted, self.ears.clone());
        }
    }

    /// How they are, and what somebody should know.
    pub fn status(&self) -> (Vec<EndpointStatus>, Vec<String>) {
        let Some(running) = &self.running else {
            return Default::default();
        };
        let reports = running
            .told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let (all, sentences): (Vec<_>, Vec<_>) = reports.iter().map(|report| report()).unzip();
        (all, sentences.concat())
    }
}

/// The thread of a network's endpoints; it ends with the sender.
fn start(wanted: Vec<Wanted>, ears: Ears) -> Option<Running> {
    let (wanted, wishes) = watch::channel((1, wanted));
    let (carried_out, done) = watch::channel(0);
    let told = Told::default();
    let tells = told.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let begun = runtime.and_then(|runtime| {
        std::thread::Builder::new()
            .name("endpoints".into())
            .spawn(move || runtime.block_on(keeper::keep(wishes, carried_out, tells, ears)))
    });
    match begun {
        Ok(_) => Some(Running { wanted, done, told }),
        Err(why) => {
            error!("endpoints are not served: their thread cannot be started: {why}");
            None
        }
    }
}
