//! The task that owns the leases.
//!
//! It waits for the first of: a question, news from the network's task, a change in the kernel, the time at which a lease
//! whose interface is away is taken back, the regular look at everything.

use super::routes::Routes;
use super::{Question, Setting, fault};
use crate::network::NetworkCommand;
use crate::state::NetworkFiles;
use meshd_api::Problem;
use meshd_core::ipam::{Lease, Leases};
use meshd_net::netlink::Netlink;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

/// Name of the file in the network's state folder.
const FILE: &str = "pods";
/// Between looks at everything.
const EVERY: Duration = Duration::from_secs(300);
/// Changes of the kernel's configuration are looked at together; others' taking a route away is put right within 1 s.
const SETTLE: Duration = Duration::from_millis(400);

/// Owns one network's leases on this machine.
pub struct Keeper {
    pub(super) leases: Leases,
    pub(super) netlink: Netlink,
    pub(super) routes: Routes,
    /// What the cluster allows pods.
    pub(super) policy: crate::policy::Handle,
    pub(super) files: NetworkFiles,
    task: mpsc::WeakSender<NetworkCommand>,
    setting: watch::Receiver<Option<Setting>>,
    kernel: watch::Receiver<u64>,
    count: Arc<AtomicUsize>,
    /// Whether the network's task lets pods through.
    open: bool,
    /// Whether the node is out of the network.
    pub(super) ended: bool,
}

impl Keeper {
    /// With the leases on disk.
    pub fn new(
        files: NetworkFiles,
        netlink: Netlink,
        task: mpsc::WeakSender<NetworkCommand>,
        (setting, kernel): (watch::Receiver<Option<Setting>>, watch::Receiver<u64>),
        (count, policy): (Arc<AtomicUsize>, crate::policy::Handle),
    ) -> Self {
        let bytes = files.load(FILE).unwrap_or_else(|error| {
            warn!("{error}");
            None
        });
        let restored = bytes.map(|bytes| Leases::restore(Instant::now(), &bytes));
        let leases = match restored {
            Some(Ok(leases)) => leases,
            Some(Err(error)) => {
                warn!("the leases of pods cannot be read: {error}");
                Leases::default()
            }
            None => Leases::default(),
        };
        count.store(leases.all().count(), Ordering::Relaxed);
        Self {
            routes: Routes::new(netlink.clone()),
            leases,
            netlink,
            policy,
            files,
            task,
            setting,
            kernel,
            count,
            open: false,
            ended: false,
        }
    }

    /// Answers until nobody can ask any more.
    pub async fn run(mut self, mut questions: mpsc::Receiver<Question>) {
        self.take_setting();
        self.tell_policy().await;
        let mut look = Instant::now();
        loop {
            let away = self.leases.poll_timeout();
            let wake = away.map_or(look, |away| away.min(look));
            let (mut setting, mut kernel) = (self.setting.clone(), self.kernel.clone());
            tokio::select! {
                question = questions.recv() => match question {
                    Some(question) => self.answer_all(question, &mut questions).await,
                    None => return,
                },
                Ok(()) = setting.changed() => {
                    self.setting = setting;
                    self.take_setting();
                    look = Instant::now();
                }
                Ok(()) = kernel.changed() => {
                    self.kernel.mark_unchanged();
                    look = look.min(Instant::now() + SETTLE);
                }
                () = tokio::time::sleep_until(wake.into()) => {
                    self.look_at_everything().await;
                    look = Instant::now() + EVERY;
                }
            }
        }
    }

    fn take_setting(&mut self) {
        let setting = self.setting.borrow_and_update().clone();
        self.leases
            .set_prefixes(setting.as_ref().and_then(|setting| setting.part));
        self.routes.set(setting);
    }

    /// Puts routes right, and takes leases back whose interface is gone for good.
    async fn look_at_everything(&mut self) {
        let links = match self.netlink.links().await {
            Ok(links) => links,
            Err(error) => return warn!("{error}"),
        };
        let present: BTreeSet<String> = links.iter().map(|link| link.name.clone()).collect();
        let gone = self.leases.observe(fault::now(), &present);
        for lease in &gone {
            info!(container = %lease.attachment.container, address = %lease.ipv4, "a pod's interface is gone; its address is free");
        }
        if !gone.is_empty() {
            let _ = self.save().await;
            self.tell_policy().await;
        }
        if let Err(error) = self.routes.ensure(self.leases.all(), &links).await {
            warn!("{error}");
        }
    }

    /// Tells whose pods are here; what goes wrong is said and tried again there.
    async fn tell_policy(&self) {
        let _ = self.policy.set_locals(self.leases.all()).await;
    }

    /// The network's task lets pods through from the first lease on.
    pub(super) async fn open(&mut self) {
        if self.open {
            return;
        }
        let Some(task) = self.task.upgrade() else { return };
        let (reply, done) = oneshot::channel();
        if task.send(NetworkCommand::Pods(reply)).await.is_ok() {
            self.open = done.await.is_ok();
        }
    }

    /// Keeps the leases: they are on disk when this returns. The disk is waited for elsewhere, so that the rest of meshd goes on.
    pub(super) async fn save(&mut self) -> Result<(), Problem> {
        self.count();
        fault::point("save");
        let (files, bytes) = (self.files.clone(), self.leases.save());
        let written = tokio::task::spawn_blocking(move || files.save(FILE, &bytes)).await;
        let written = written.map_err(|error| error.to_string());
        written
            .and_then(|saved| saved.map_err(|error| error.to_string()))
            .map_err(|error| {
                warn!("{error}");
                Problem::new("pods-state", error)
            })
    }

    /// Tells how many leases there are.
    pub(super) fn count(&self) {
        self.count.store(self.leases.all().count(), Ordering::Relaxed);
    }

    /// What the network's task told last.
    pub(super) fn setting(&self) -> Result<Setting, Problem> {
        if self.ended {
            let sentence = "this machine has left the network that gave its pods addresses";
            return Err(Problem::new("pods-no-prefix", sentence));
        }
        let setting = self.setting.borrow().clone();
        setting.ok_or_else(|| Problem::new("pods-starting", "meshd has no network map yet; try again"))
    }

    /// Deletes a pod's interface on the host; whether there was one.
    pub(super) async fn delete_interface(&self, lease: &Lease) -> Result<bool, Problem> {
        let problem =
            |error: meshd_net::netlink::NetlinkError| Problem::new("pods-kernel", error.to_string());
        match self.netlink.link(&lease.host).await.map_err(problem)? {
            Some(link) => self
                .netlink
                .delete_link(link.index)
                .await
                .map(|()| true)
                .map_err(problem),
            None => Ok(false),
        }
    }
}
