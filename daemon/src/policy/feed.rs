//! What is known of the cluster, shared by who watches it and who decides by it.

use meshd_core::policy::{Cluster, Local, Selector};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The cluster, and a tick for each change. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Feed {
    cluster: Arc<Mutex<Cluster>>,
    /// The pods' interfaces on this machine.
    locals: Arc<Mutex<Vec<Local>>>,
    changed: watch::Sender<u64>,
    kept: watch::Sender<()>,
}

impl Feed {
    /// Of what is known at a start.
    pub fn new(cluster: Cluster) -> Self {
        Self {
            cluster: Arc::new(Mutex::new(cluster)),
            locals: Arc::default(),
            changed: watch::Sender::new(0),
            kept: watch::Sender::new(()),
        }
    }

    /// Looks at the cluster. Nothing may be waited for meanwhile.
    pub fn with<R>(&self, look: impl FnOnce(&mut Cluster) -> R) -> R {
        look(&mut self.cluster.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the cluster, and says so.
    pub fn change<R>(&self, change: impl FnOnce(&mut Cluster) -> R) -> R {
        let result = self.with(change);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
        result
    }

    /// These are the pods' interfaces on this machine.
    pub fn set_locals(&self, locals: Vec<Local>) {
        *self.locals.lock().unwrap_or_else(PoisonError::into_inner) = locals;
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Addresses of this machine's pods that have such labels, in order; none for no selector. What was known last counts, over
    /// restarts and while no API server is heard.
    pub fn selected(&self, selector: Option<&Selector>) -> Vec<IpAddr> {
        let Some(selector) = selector else {
            return Vec::new();
        };
        let locals = self.locals.lock().unwrap_or_else(PoisonError::into_inner);
        self.with(|cluster| {
            let selects = |local: &&Local| {
                let pod = local.known_in(cluster);
                pod.is_some_and(|pod| selector.matches(&pod.labels))
            };
            let selected = locals.iter().filter(selects);
            let mut addresses: Vec<IpAddr> = selected.flat_map(|local| local.addresses.clone()).collect();
            addresses.sort_unstable();
            addresses.dedup();
            addresses
        })
    }

    /// Ticks when something may have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Ticks when something may have changed, and what is known of this machine's pods is on disk: who acts on labels by this
    /// does not fall back behind them in a restart.
    pub fn kept(&self) -> watch::Receiver<()> {
        self.kept.subscribe()
    }

    /// It is on disk.
    pub(super) fn say_kept(&self) {
        self.kept.send_replace(());
    }
}
