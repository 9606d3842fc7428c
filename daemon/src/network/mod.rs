//! One joined network: its interface, its data plane, its map and its paths, owned by one task.
//!
//! [`start`] makes the interface with its addresses, starts the data plane, and spawns the task; from then on everything is a
//! message: commands from the supervisor, lines from the coordinator, datagrams from the data plane, changes from the
//! kernel, and the path agent's timers. The task's loop is in `task.rs`, one handler per message.

mod adopted;
mod beacons;
mod believed;
mod candidates;
mod carrier;
mod checks;
pub mod coordinator;
mod endpoints;
mod exchange;
mod floods;
mod from_coordinator;
mod from_kernel;
mod from_plane;
pub mod gateways;
mod hints;
mod ingress;
mod interface;
mod line;
mod map;
mod parts;
mod paths;
mod pending;
mod pods;
mod port_mapping;
mod questions;
mod record;
mod relaying;
mod sockets;
mod standby;
mod status;
mod task;
mod waiting;

pub use from_coordinator::depart_at_last;

use crate::config::Config;
use crate::descriptors::Descriptors;
use crate::firewall::Firewall;
use crate::machine::KernelNews;
use crate::names::Names;
use meshd_net::settle::Settle;

use crate::state::{Membership, NetworkFiles};
use crate::supervisor::{self, Reply};
use anyhow::Context;
use map::MapKeeper;
use meshd_api::Problem;
use meshd_api::local::{Done, JoinReply, Netcheck, NetworkStatus, PingReply, Why};
use meshd_net::netlink::Netlink;
use pending::Approval;
use standby::Silence;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use waiting::{Reason, Waiting};

/// How many commands may wait for a network's task.
const QUEUE: usize = 16;
/// How long a status or a stop waits for a network's task.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a join waits for the coordinator to take the first record and for names to be written, so that when it returns others
/// know us, and we them.
const FIRST_RECORD: Duration = Duration::from_secs(5);

/// What all networks of this process share.
#[derive(Clone)]
pub struct Shared {
    /// The arguments.
    pub config: Arc<Config>,
    /// The kernel's network configuration.
    pub netlink: Netlink,
    /// Tick when the kernel's network configuration changed.
    pub kernel: KernelNews,
    /// The hosts file.
    pub names: Names,
    /// Descriptors that outlive this process.
    pub descriptors: Arc<Descriptors>,
    /// The supervisor's address.
    pub supervisor: supervisor::Handle,
    /// The machine's firewall.
    pub firewall: Firewall,
    /// To be told of what is rarely done.
    pub settle: Settle,
    /// Why mesh DNS does not answer, where it does not.
    pub dns: watch::Receiver<Option<String>>,
}

/// How a network stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The process ends and comes back: interface, routes and names stay.
    Restart,
    /// Interface, routes and names go.
    Down,
}

/// What a network's task is asked.
pub enum NetworkCommand {
    /// Its status.
    Status(oneshot::Sender<NetworkStatus>),
    /// What a person wants to know of paths.
    Question(Question),
    /// The first pod comes: let pods' packets through, then answer.
    Pods(oneshot::Sender<()>),
    /// Leave for good.
    Leave(Reply<Done>),
    /// Stop; the reply comes when it has let go.
    Stop(Stop, oneshot::Sender<()>),
}

/// What a person wants to know of paths.
pub enum Question {
    /// What is between this node and the internet.
    Netcheck(Reply<Netcheck>),
    /// One pong of the peer called so.
    Ping(String, Reply<PingReply>),
    /// Why the peer called so is reached as it is.
    Why(String, Reply<Why>),
    /// Use the exit nodes called so, or none.
    Exit(Vec<String>, Reply<Done>),
}

impl Question {
    /// Answers that it cannot be answered.
    pub fn refuse(self, problem: Problem) {
        match self {
            Self::Netcheck(reply) => drop(reply.send(Err(problem))),
            Self::Ping(_, reply) => drop(reply.send(Err(problem))),
            Self::Why(_, reply) => drop(reply.send(Err(problem))),
            Self::Exit(_, reply) => drop(reply.send(Err(problem))),
        }
    }
}

/// A running network.
pub struct NetworkHandle {
    commands: mpsc::Sender<NetworkCommand>,
    task: JoinHandle<()>,
    name: String,
    reply: JoinReply,
    /// Its pods on this machine; none while it waits for somebody to let it in.
    pods: Option<crate::pods::Handle>,
    /// Its link to Kubernetes; none then, too.
    kube: Option<crate::kube::Handle>,
    /// Whether it is silent until the coordinator lets it in.
    silent: bool,
}

/// What is known at a start of the right to speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entrance {
    /// Nothing: on another machine than before the coordinator is asked first.
    Usual,
    /// The coordinator let this machine in, or nobody can be asked; what it said that somebody should read.
    MaySpeak(Vec<String>),
    /// The coordinator's sentence: this machine is a clone.
    Refused(String),
}

/// Starts a network: returns when its interface and addresses exist and, at a first join, when the coordinator has its record
/// (or five seconds have passed).
pub async fn start(
    membership: Membership,
    files: NetworkFiles,
    shared: Shared,
    entrance: Entrance,
) -> anyhow::Result<NetworkHandle> {
    let (commands, receiver) = mpsc::channel(QUEUE);
    let (published, mut publishing) = watch::channel(false);
    let map = MapKeeper::load(&membership, files.clone());
    if line::params(&membership, &map).is_none() {
        let approval = Approval::of(&membership, files, map);
        let approval = approval.context("the coordinator has not answered the join yet")?;
        return Ok(wait(membership, shared, (commands, receiver), approval));
    }
    let (doubt, notes) = match entrance {
        Entrance::Usual => (standby::doubt(&membership, &files), Vec::new()),
        Entrance::MaySpeak(notes) => (None, notes),
        Entrance::Refused(sentence) => (Some(standby::Doubt::Refused(sentence)), Vec::new()),
    };
    if let Some(doubt) = doubt {
        let silence = Silence::begin(&membership, files, doubt);
        return Ok(wait(membership, shared, (commands, receiver), silence));
    }
    let first = files.load("progress").ok().flatten().is_none();
    let names = shared.names.clone();
    let table = crate::policy::table(&shared.config, membership.interface);
    let policy = crate::policy::Handle::start(files.clone(), table, shared.settle.clone());
    let pods = crate::pods::Handle::start(
        files.clone(),
        shared.netlink.clone(),
        shared.kernel.all.clone(),
        commands.downgrade(),
        policy,
    );
    let kube = start_kube(&membership, &files, pods.policy().feed().clone())?;
    let channels = (receiver, published);
    let tasks = (pods.clone(), kube.clone());
    let mut task = task::Task::start(membership, (files, map), shared, channels, tasks).await?;
    notes.into_iter().for_each(|note| task.note(note));
    let handle = NetworkHandle {
        commands,
        name: task.name().to_owned(),
        pods: Some(pods),
        kube: Some(kube),
        silent: false,
        reply: task.join_reply(),
        task: tokio::spawn(task.run()),
    };
    if first {
        let known = async {
            let _ = publishing.wait_for(|done| *done).await;
            names.written(handle.name()).await;
        };
        let _ = tokio::time::timeout(FIRST_RECORD, known).await;
    }
    Ok(handle)
}

/// The link to the network's cluster.
fn start_kube(
    membership: &Membership,
    files: &NetworkFiles,
    feed: crate::policy::Feed,
) -> anyhow::Result<crate::kube::Handle> {
    let allotted = membership.allotted.as_ref();
    let allotted = allotted.context("the coordinator has not answered the join yet")?;
    let addresses = (allotted.ipv4, allotted.ipv6);
    Ok(crate::kube::Handle::start(
        files.clone(),
        crate::kube::Own { addresses },
        feed,
    ))
}

/// A network that waits for the coordinator's word.
fn wait<R: Reason>(
    membership: Membership,
    shared: Shared,
    (commands, receiver): (mpsc::Sender<NetworkCommand>, mpsc::Receiver<NetworkCommand>),
    reason: R,
) -> NetworkHandle {
    let name = membership.name.clone();
    let waiting = Waiting::start(membership, shared, receiver, reason);
    NetworkHandle {
        commands,
        name,
        pods: None,
        kube: None,
        silent: R::SILENT,
        reply: waiting.join_reply(),
        task: tokio::spawn(waiting.run()),
    }
}

impl NetworkHandle {
    /// The network's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this machine is silent in it, because it may be a clone.
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// Its pods on this machine.
    pub fn pods(&self) -> Option<&crate::pods::Handle> {
        self.pods.as_ref()
    }

    /// Its link to Kubernetes.
    pub fn kube(&self) -> Option<&crate::kube::Handle> {
        self.kube.as_ref()
    }

    /// What a join of this network answers.
    pub fn join_reply(&self) -> JoinReply {
        self.reply.clone()
    }

    /// Sends a command; one that finds the queue full is dropped, and its reply channel with it.
    pub fn send(&self, command: NetworkCommand) {
        let _ = self.commands.try_send(command);
    }

    /// Asks for the status at once; `None` where the task does not answer in time.
    pub fn ask_status(&self) -> impl Future<Output = Option<NetworkStatus>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        self.send(NetworkCommand::Status(reply));
        let until = Instant::now() + PATIENCE;
        let policy = self.pods.as_ref().map(|pods| pods.policy().clone());
        async move {
            let mut status = timeout_at(until, answer).await.ok()?.ok()?;
            if let (Some(pods), Some(policy)) = (&mut status.pods, policy) {
                pods.policy = policy.status().await;
            }
            Some(status)
        }
    }

    /// Tells the task at once to stop; what is returned waits until it has let go.
    pub fn stop(self, stop: Stop) -> impl Future<Output = ()> + Send {
        let (reply, answer) = oneshot::channel();
        self.send(NetworkCommand::Stop(stop, reply));
        let until = Instant::now() + PATIENCE;
        async move {
            if timeout_at(until, answer).await.is_err() {
                self.task.abort();
            }
        }
    }
}
