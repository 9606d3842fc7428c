//! The link to Kubernetes: what its API server says of namespaces, pods, network policies and nodes.
//!
//! A task of its own for each network (`link`), so that neither traffic nor a pod's start waits for an API server, which
//! may be behind the mesh itself. It needs credentials that a person gives it (`credentials`), and does nothing without.
//!
//! 1. `watching`: a list and then its changes, of each kind;
//! 2. `objects`, `policies`: the few fields that count, as the core's types ([`meshd_core::policy`]);
//! 3. `state`: how the link is. The API server away, what was told stays in force.

mod check;
mod credentials;
mod feeding;
mod link;
mod objects;
mod policies;
mod state;
#[cfg(test)]
mod tests;
mod watching;

pub use objects::Node;

use crate::state::NetworkFiles;
use crate::supervisor::Reply;
use meshd_api::Problem;
use meshd_api::local::{Done, KubeCredentials, KubeStatus};
use state::State;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc;

/// Questions that may wait.
const QUEUE: usize = 8;

/// What of this machine the link has to know.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    /// Its addresses in the network, by which the cluster knows it.
    pub addresses: (Ipv4Addr, Ipv6Addr),
}

/// What a person asks.
pub enum Question {
    /// Take these credentials.
    Set(KubeCredentials, Reply<Done>),
    /// Forget them.
    Forget(Reply<Done>),
}

impl Question {
    /// Answers that it cannot be answered.
    pub fn refuse(self, problem: Problem) {
        match self {
            Self::Set(_, reply) | Self::Forget(reply) => drop(reply.send(Err(problem))),
        }
    }
}

/// The link's address. It ends with its last clone.
#[derive(Clone)]
pub struct Handle {
    questions: mpsc::Sender<Question>,
    state: Arc<Mutex<State>>,
}

impl Handle {
    /// Starts the link with the credentials on disk, if there are any.
    /// What is heard goes to `feed`.
    pub fn start(files: NetworkFiles, own: Own, feed: crate::policy::Feed) -> Self {
        let (questions, asked) = mpsc::channel(QUEUE);
        let state = Arc::new(Mutex::new(State::new(None, Instant::now())));
        let link = link::Link::new(files, own, (state.clone(), feed), asked);
        tokio::spawn(link.run());
        Self { questions, state }
    }

    /// Asks; a question that finds the queue full is refused.
    pub fn ask(&self, question: Question) {
        if let Err(mpsc::error::TrySendError::Full(question) | mpsc::error::TrySendError::Closed(question)) =
            self.questions.try_send(question)
        {
            question.refuse(Problem::new(
                "kube-busy",
                "others change the credentials for Kubernetes; try again",
            ));
        }
    }

    /// Looks at the cluster's nodes.
    pub fn with_nodes<R>(&self, look: impl FnOnce(&mut dyn Iterator<Item = &Node>) -> R) -> R {
        look(&mut self.lock().nodes())
    }

    /// Another number when nodes changed.
    pub fn nodes_version(&self) -> u64 {
        self.lock().nodes_version()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the link is; none without credentials.
    pub fn status(&self) -> Option<KubeStatus> {
        self.lock().shown()
    }
}
