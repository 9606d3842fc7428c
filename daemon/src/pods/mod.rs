//! Pods of one network on this machine: leases kept, routes to their interfaces, what a runtime forgot taken back.
//!
//! A task of its own owns all of it (`keeper`), so that a pod's start waits neither for maps nor for the kernel's
//! interfaces being read. The network's task tells it what it needs by a watch ([`Setting`]); the CNI plugin asks it through
//! the supervisor ([`Question`]). Which address goes to whom is decided in [`meshd_core::ipam`]. What happens inside a
//! pod's namespace is the plugin's: meshd never enters one.

mod ending;
mod fault;
mod keeper;
mod questions;
mod routes;

use crate::network::NetworkCommand;
use crate::state::NetworkFiles;
use crate::supervisor::Reply;
use meshd_api::Problem;
use meshd_api::local::{Done, PodLease, PodRequest, PodsForgotten, PodsKept};
use meshd_core::statement::PodPrefixes;
use meshd_net::netlink::Netlink;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{mpsc, oneshot, watch};

/// Questions that may wait: more than a node starts pods at a time.
const QUEUE: usize = 256;

/// What the network's task tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// This node's part of the pods' prefixes.
    pub part: Option<PodPrefixes>,
    /// The routing table of the network.
    pub table: u32,
    /// This node's addresses in the network: what pods see of the host.
    pub source: (Ipv4Addr, Ipv6Addr),
    /// MTU of the tunnel in bytes.
    pub mtu: u16,
}

/// What the CNI plugin asks.
pub enum Question {
    /// Addresses for an interface.
    Add(PodRequest, Reply<PodLease>),
    /// The interface is there.
    Ready(PodRequest, Reply<PodLease>),
    /// Is it as it should be?
    Check(PodRequest, Reply<PodLease>),
    /// The interface goes.
    Del(PodRequest, Reply<Done>),
    /// These are left.
    Gc(PodsKept, Reply<PodsForgotten>),
    /// Could another be added?
    Status(Reply<Done>),
    /// The configuration that has runtimes ask is there.
    Installed(PathBuf, Reply<Done>),
    /// Which are connected?
    Named(Reply<Vec<String>>),
    /// The node is out of the network.
    End(Reply<()>),
}

impl Question {
    /// Answers that it cannot be answered.
    pub fn refuse(self, problem: Problem) {
        match self {
            Self::Add(_, reply) | Self::Ready(_, reply) | Self::Check(_, reply) => {
                drop(reply.send(Err(problem)))
            }
            Self::Del(_, reply) | Self::Status(reply) | Self::Installed(_, reply) => {
                drop(reply.send(Err(problem)))
            }
            Self::Named(reply) => drop(reply.send(Err(problem))),
            Self::End(reply) => drop(reply.send(Err(problem))),
            Self::Gc(_, reply) => drop(reply.send(Err(problem))),
        }
    }
}

/// The keeper's address. It ends with its last clone's queue.
#[derive(Clone)]
pub struct Handle {
    questions: mpsc::Sender<Question>,
    setting: Arc<watch::Sender<Option<Setting>>>,
    leases: Arc<AtomicUsize>,
    policy: crate::policy::Handle,
}

impl Handle {
    /// Starts the keeper with the leases on disk. `task` is asked to let pods through before the first one is routed.
    pub fn start(
        files: NetworkFiles,
        netlink: Netlink,
        kernel: watch::Receiver<u64>,
        task: mpsc::WeakSender<NetworkCommand>,
        policy: crate::policy::Handle,
    ) -> Self {
        let (questions, asked) = mpsc::channel(QUEUE);
        let (setting, told) = watch::channel(None);
        let leases = Arc::new(AtomicUsize::new(0));
        let keeper = keeper::Keeper::new(
            files,
            netlink,
            task,
            (told, kernel),
            (leases.clone(), policy.clone()),
        );
        tokio::spawn(keeper.run(asked));
        Self {
            questions,
            setting: Arc::new(setting),
            leases,
            policy,
        }
    }

    /// Tells what holds now.
    pub fn set(&self, setting: Setting) {
        self.setting.send_if_modified(|held| {
            let new = held.as_ref() != Some(&setting);
            *held = Some(setting);
            new
        });
    }

    /// Asks; a question that finds the queue full is refused.
    pub fn ask(&self, question: Question) {
        if let Err(mpsc::error::TrySendError::Full(question) | mpsc::error::TrySendError::Closed(question)) =
            self.questions.try_send(question)
        {
            question.refuse(Problem::new(
                "pods-busy",
                "meshd has too many pods' questions waiting; try again",
            ));
        }
    }

    /// The pods that are connected, each with its address, for a person.
    pub async fn named(&self) -> Vec<String> {
        let (reply, answer) = oneshot::channel();
        self.ask(Question::Named(reply));
        answer.await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// The node is out of the network: its pods are disconnected when this returns, and no more are taken.
    pub async fn end(&self) {
        let (reply, done) = oneshot::channel();
        self.ask(Question::End(reply));
        let _ = done.await;
    }

    /// What the cluster allows the pods.
    pub fn policy(&self) -> &crate::policy::Handle {
        &self.policy
    }

    /// How many interfaces have addresses.
    pub fn leases(&self) -> usize {
        self.leases.load(Ordering::Relaxed)
    }

    /// Whether this node has a part of the pods' prefixes.
    pub fn has_part(&self) -> bool {
        self.setting
            .borrow()
            .as_ref()
            .is_some_and(|setting| setting.part.is_some())
    }
}
