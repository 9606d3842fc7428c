//! The task that owns the rules.
//!
//! It waits for the first of: a message, news of the cluster, the time to apply them, the time to write pods down, a change of
//! the machine's rules by somebody. What is told in a burst is applied together; pods of this machine are applied at once,
//! because somebody waits for them.

use super::kernel::Kernel;
use super::{Feed, Message, saved};
use crate::state::NetworkFiles;
use meshd_api::Problem;
use meshd_api::local::PodPolicies;
use meshd_core::policy::{Cluster, Compiler};
use meshd_net::nft_changes::NftChanges;
use meshd_net::settle::Settle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};

/// What is told within this time is applied together.
const SETTLE: Duration = Duration::from_millis(50);
/// After rules were applied the next wait this many times as long as that took, so that a cluster where pods come and go all
/// the time costs a fifth of one core at most; never longer than [`LONGEST_REST`].
const REST: u32 = 4;
/// The longest time for which news wait: an allowed packet waits 1 s at most.
const LONGEST_REST: Duration = Duration::from_millis(500);
/// Pods are written down at most this often.
const PODS_EVERY: Duration = Duration::from_secs(30);
/// What the kernel refused is tried again after this time.
const RETRY: Duration = Duration::from_secs(5);
/// Others' changes of rules come in bursts.
const FLUSHED: Duration = Duration::from_millis(150);

/// Owns the rules of one network's pods on this machine.
pub struct Keeper {
    feed: Feed,
    news: watch::Receiver<u64>,
    compiler: Compiler,
    kernel: Kernel,
    files: NetworkFiles,
    /// When something is to be applied.
    due: Option<Instant>,
    /// Not before.
    rested: Instant,
    /// When pods are to be written down.
    save: Option<Instant>,
    /// What was written down.
    saved: (u64, u64),
    /// This machine's pods as they were written down; `None` until they were.
    own: Option<Vec<u8>>,
    /// Whether all of the cluster was known.
    ready: bool,
    changes: Option<NftChanges>,
    /// Whether the pods of this machine were told: before that nothing is touched.
    told: bool,
    /// Sentences for `status`.
    trouble: Vec<String>,
    /// Told of each change: what it needed is given back.
    settle: Settle,
}

impl Keeper {
    /// Nothing is touched yet.
    pub fn new(files: NetworkFiles, table: String, feed: Feed, settle: Settle) -> Self {
        Self {
            saved: feed.with(|cluster| cluster.revisions()),
            ready: feed.with(|cluster| cluster.is_ready()),
            news: feed.changes(),
            feed,
            compiler: Compiler::default(),
            kernel: Kernel::new(table),
            files,
            own: None,
            due: None,
            rested: Instant::now(),
            save: None,
            changes: None,
            told: false,
            trouble: Vec::new(),
            settle,
        }
    }

    /// Keeps the rules until nobody can ask any more.
    pub async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        loop {
            let wake = [self.due.map(|due| due.max(self.rested)), self.save];
            let wake = wake.into_iter().flatten().min();
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.take(message, &mut messages).await,
                    None => return,
                },
                Ok(()) = self.news.changed() => {
                    self.keep_own().await;
                    self.due = self.due.or(Some(Instant::now() + SETTLE));
                }
                () = until(wake) => self.when_due().await,
                () = changed(&mut self.changes) => {
                    tokio::time::sleep(FLUSHED).await;
                    let outcome = self.kernel.ensure().await.map_err(|error| error.to_string());
                    self.judge(&outcome);
                }
            }
        }
    }

    /// A message and those that wait behind it.
    async fn take(&mut self, first: Message, messages: &mut mpsc::Receiver<Message>) {
        let mut waiting = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Locals(locals, reply) => {
                    self.compiler.set_locals(locals);
                    self.told = true;
                    waiting.push(reply);
                }
                Message::Status(reply) => drop(reply.send(self.status().await)),
                Message::Remove(reply) => {
                    if let Err(error) = self.kernel.remove().await {
                        warn!("{error}");
                    }
                    (self.told, self.changes) = (false, None);
                    let _ = reply.send(());
                }
            }
            next = messages.try_recv().ok();
        }
        if !waiting.is_empty() {
            self.answer(waiting).await;
        }
    }

    async fn answer(&mut self, waiting: Vec<oneshot::Sender<Result<(), Problem>>>) {
        let outcome = self.apply().await.map_err(|words| {
            let sentence = format!("pods' rules cannot be set up: {words}; try again");
            Problem::new("pods-policy", sentence)
        });
        for reply in waiting {
            let _ = reply.send(outcome.clone());
        }
    }

    async fn when_due(&mut self) {
        let start = Instant::now();
        if self.due.is_some_and(|due| due.max(self.rested) <= start) {
            // what went wrong was said, and is tried again
            let _ = self.apply().await;
            self.rested = Instant::now() + (start.elapsed() * REST).min(LONGEST_REST);
        }
        if self.save.is_some_and(|save| save <= start) {
            self.save = None;
            let (revision, bytes) = self
                .feed
                .with(|cluster| (cluster.revisions().1, cluster.save_pods()));
            self.saved.1 = revision;
            saved::pods(&self.files, bytes).await;
            self.settle.soon();
        }
    }

    /// Policies go to disk first: after a crash the kernel's rules must not be taken back by older ones.
    async fn apply(&mut self) -> Result<(), String> {
        self.due = None;
        self.news.mark_unchanged();
        self.keep().await;
        if !self.told {
            return Ok(());
        }
        let start = Instant::now();
        let (wanted, watched) = self
            .feed
            .with(|cluster| (self.compiler.compile(cluster), cluster.is_watched()));
        let outcome = match watched {
            true => self.kernel.set(wanted).await.map_err(|error| error.to_string()),
            false => Ok(()),
        };
        debug!(took = ?start.elapsed(), "pods' rules were looked at");
        self.settle.soon();
        if self.changes.is_none() && self.kernel.is_made() {
            self.changes = NftChanges::new()
                .map_err(|error| warn!(%error, "the machine's firewall is not watched"))
                .ok();
        }
        self.judge(&outcome);
        outcome
    }

    async fn keep(&mut self) {
        let (ready, policies) = self
            .feed
            .with(|cluster| (cluster.is_ready(), cluster.policies().len()));
        if ready && !self.ready {
            info!(policies, "the cluster's network policies are known");
        }
        self.ready = ready;
        let (rules, pods) = self.feed.with(|cluster| cluster.revisions());
        if rules != self.saved.0 {
            self.saved.0 = rules;
            let bytes = self.feed.with(|cluster| cluster.save_policies());
            saved::policies(&self.files, bytes).await;
        }
        if pods != self.saved.1 && self.save.is_none() {
            self.save = Some(Instant::now() + PODS_EVERY);
        }
        self.keep_own().await;
    }

    /// This machine's pods go to disk as soon as they change: who may send into ranges behind gateways hangs on their labels.
    async fn keep_own(&mut self) {
        let own = self.feed.with(|cluster| {
            let whole = self.told && cluster.is_ready();
            whole.then(|| Cluster::save_own(self.compiler.known(cluster)))
        });
        if let Some(own) = own.filter(|own| self.own.as_ref() != Some(own)) {
            saved::own(&self.files, own.clone()).await;
            self.own = Some(own);
        }
        self.feed.say_kept();
    }

    /// Says what went wrong once, and tries again.
    fn judge(&mut self, outcome: &Result<(), String>) {
        let mut trouble = self.compiler.problems();
        if let Err(words) = outcome {
            trouble.push(format!(
                "the rules of pods cannot be set up, those before stay: {words}"
            ));
            self.due = Some(Instant::now() + RETRY);
        }
        for new in trouble.iter().filter(|sentence| !self.trouble.contains(sentence)) {
            warn!("{new}");
        }
        self.trouble = trouble;
    }

    async fn status(&self) -> Option<PodPolicies> {
        let known = |cluster: &mut Cluster| {
            cluster
                .is_watched()
                .then(|| (cluster.is_ready(), cluster.policies().len()))
        };
        let (known, policies) = self.feed.with(known)?;
        let (denied_ingress, denied_egress) = self.kernel.denied().await;
        Some(PodPolicies {
            known,
            policies,
            isolated: self.compiler.isolated(),
            denied_ingress,
            denied_egress,
            warnings: self.trouble.clone(),
        })
    }
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

async fn changed(changes: &mut Option<NftChanges>) {
    let ended = match changes {
        Some(changes) => changes.next().await.err(),
        None => return std::future::pending().await,
    };
    if let Some(error) = ended {
        warn!(%error, "the machine's firewall is no longer watched");
        *changes = None;
    }
}
