//! What is known of the cluster, shared by who watches it and who decides by it.

use meshd_core::policy::Cluster;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The cluster, and a tick for each change. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Feed {
    cluster: Arc<Mutex<Cluster>>,
    changed: watch::Sender<u64>,
}

impl Feed {
    /// Of what is known at a start.
    pub fn new(cluster: Cluster) -> Self {
        Self {
            cluster: Arc::new(Mutex::new(cluster)),
            changed: watch::Sender::new(0),
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

    /// Ticks when something may have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
