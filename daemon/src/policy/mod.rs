//! NetworkPolicy on this machine: the rules in the kernel that follow for its pods from what is known of the cluster.
//!
//! A task of its own (`keeper`) owns the rules. Whoever watches the API server changes the [`Feed`]; the keeper of leases
//! tells this machine's pods, and waits until their rules are there before a pod gets its addresses. What is allowed is
//! decided in [`meshd_core::policy`]; the rules are a table of their own (`kernel`), which stays as it is while meshd is
//! away. What was known last is on disk (`saved`), so that a start does without the API server.

mod feed;
mod keeper;
mod kernel;
mod saved;

use crate::state::NetworkFiles;
use meshd_api::Problem;
use meshd_api::local::PodPolicies;
use meshd_core::ipam::Lease;
use meshd_core::policy::Local;
use meshd_net::settle::Settle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

pub use feed::Feed;
pub use kernel::{clean, table};

/// Messages that may wait; whoever tells more waits.
const QUEUE: usize = 64;
/// How long a status waits.
const PATIENCE: Duration = Duration::from_secs(2);

enum Message {
    /// These are the pods' interfaces on this machine; the answer comes when the kernel has their rules.
    Locals(Vec<Local>, oneshot::Sender<Result<(), Problem>>),
    Status(oneshot::Sender<Option<PodPolicies>>),
    /// The network goes down: the rules go.
    Remove(oneshot::Sender<()>),
}

/// The keeper's address. It ends with its last clone.
#[derive(Clone, Debug)]
pub struct Handle {
    messages: mpsc::Sender<Message>,
    feed: Feed,
}

impl Handle {
    /// Starts the keeper with what is on disk; `table` is the name of the table in the kernel.
    pub fn start(files: NetworkFiles, table: String, settle: Settle) -> Self {
        let (messages, told) = mpsc::channel(QUEUE);
        let feed = Feed::new(saved::restore(&files));
        tokio::spawn(keeper::Keeper::new(files, table, feed.clone(), settle).run(told));
        Self { messages, feed }
    }

    /// What is known of the cluster.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Tells the pods' interfaces on this machine: all of them.
    ///
    /// # Errors
    /// Where the kernel did not take the rules: a new pod must not begin then.
    pub async fn set_locals<'a>(&self, leases: impl Iterator<Item = &'a Lease>) -> Result<(), Problem> {
        let (reply, answer) = oneshot::channel();
        let locals: Vec<Local> = leases.map(local).collect();
        self.feed.set_locals(locals.clone());
        let _ = self.messages.send(Message::Locals(locals, reply)).await;
        let ended = |_| Err(Problem::new("pods-policy", "meshd is ending; try again"));
        answer.await.unwrap_or_else(ended)
    }

    /// What `status` says; none where nobody watches a cluster.
    pub async fn status(&self) -> Option<PodPolicies> {
        let (reply, answer) = oneshot::channel();
        self.messages.try_send(Message::Status(reply)).ok()?;
        tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()?
    }

    /// Takes the rules away.
    pub async fn remove(&self) {
        let (reply, answer) = oneshot::channel();
        let _ = self.messages.send(Message::Remove(reply)).await;
        let _ = answer.await;
    }
}

fn local(lease: &Lease) -> Local {
    let first = std::iter::once(lease.ipv4.into());
    Local {
        host: lease.host.clone(),
        addresses: first.chain(lease.ipv6.map(Into::into)).collect(),
        pod: lease.pod.clone(),
    }
}
