//! The network map of one network, what is remembered of it, and what of it is believed; kept on disk.

use crate::state::{Membership, NetworkFiles};
use hyper::body::Bytes;
use meshd_api::coordinator::node::StreamLine;
use meshd_core::id::NodeId;
use meshd_core::keys::CoordinatorPublic;
use meshd_core::map::{Changes, Death, Delta, MapError, MapHolder, NetworkMap, View};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::warn;

/// Name of the file in the state folder.
const FILE: &str = "map";
/// How long after a failure (a full disk) it is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// How long a change may wait before it is written.
const SETTLE: Duration = Duration::from_millis(200);

/// Holds the map and tells others of it.
pub struct MapKeeper {
    files: NetworkFiles,
    holder: MapHolder,
    /// The CBOR form for other nodes.
    shared: watch::Sender<Bytes>,
    /// Since when what is held is newer than what is on disk.
    unsaved: Option<Instant>,
    /// Whether the last write failed.
    failed: bool,
}

impl MapKeeper {
    /// Takes up from disk what was held. What is damaged in both generations is reported and fetched again.
    pub fn load(membership: &Membership, files: NetworkFiles) -> Self {
        let coordinators: Vec<_> = membership
            .coordinators
            .iter()
            .map(|key| CoordinatorPublic::from_bytes(*key))
            .collect();
        let saved = files.load(FILE).unwrap_or_else(|error| {
            warn!("{error}");
            None
        });
        let restored = saved.and_then(|bytes| {
            MapHolder::restore(membership.root, coordinators.clone(), &bytes)
                .map_err(|error| warn!("{error}"))
                .ok()
        });
        let holder = restored.unwrap_or_else(|| MapHolder::new(membership.root, coordinators));
        let keeper = Self {
            shared: watch::channel(Bytes::new()).0,
            files,
            holder,
            unsaved: None,
            failed: false,
        };
        keeper.tell();
        keeper
    }

    /// What is believed; none before the first map.
    pub fn view(&self) -> Option<Arc<View>> {
        self.holder.view().cloned()
    }

    /// (epoch, version) of the map held; zeros where there is none.
    pub fn at(&self) -> (u32, u64) {
        self.holder.at()
    }

    /// Why a node is out for good, where it is.
    pub fn death_of(&self, node: NodeId) -> Option<Death> {
        self.holder.death_of(node)
    }

    /// The serial of a node's record; 0 where none is held.
    pub fn serial_of(&self, node: NodeId) -> u64 {
        self.view()
            .and_then(|view| view.nodes.get(&node).map(|n| n.serial))
            .unwrap_or_default()
    }

    /// Follows the CBOR form.
    pub fn watch_bytes(&self) -> watch::Receiver<Bytes> {
        self.shared.subscribe()
    }

    /// Takes a map from the coordinator or from a peer.
    pub fn take_full(&mut self, bytes: &[u8]) -> Result<Changes, MapError> {
        let changes = self.holder.apply_full(NetworkMap::decode(bytes)?)?;
        self.keep(&changes);
        Ok(changes)
    }

    /// Takes a delta from the coordinator.
    pub fn take_delta(&mut self, line: &StreamLine) -> Result<Changes, MapError> {
        let StreamLine::Delta {
            from_version,
            header,
            add,
            drop,
        } = line
        else {
            return Ok(Changes::default());
        };
        let delta = Delta::from_parts(
            *from_version,
            &header.0,
            add.iter().map(|entry| entry.0.as_slice()),
            drop.iter().map(|key| key.0.as_slice()),
        )?;
        let changes = self.holder.apply_delta(&delta)?;
        self.keep(&changes);
        Ok(changes)
    }

    /// All that this node can prove, for a coordinator that was restored from an older backup.
    pub fn testimony(&self) -> Vec<Vec<u8>> {
        self.holder
            .testimony()
            .iter()
            .map(|entry| entry.encode())
            .collect()
    }

    /// When the next write is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.unsaved.map(|since| since + SETTLE)
    }

    /// Writes what is held, where 200 ms have passed since it changed: in a storm of joins not every one is written.
    pub fn save_when_due(&mut self, now: Instant) {
        if self
            .unsaved
            .is_some_and(|since| now.duration_since(since) >= SETTLE)
        {
            self.save();
        }
    }

    /// Writes what is held; a full disk costs a warning, not the map.
    pub fn save(&mut self) {
        if self.unsaved.take().is_none() {
            return;
        }
        let saved = self.files.save(FILE, &self.holder.save());
        if let (Err(error), false) = (&saved, self.failed) {
            warn!("{error}");
        }
        self.failed = saved.is_err();
        self.unsaved = self.failed.then(|| Instant::now() + RETRY);
    }

    /// A removal must outlive a power cut, and so must the first map; the rest may wait.
    fn keep(&mut self, changes: &Changes) {
        self.tell();
        self.unsaved.get_or_insert_with(Instant::now);
        if !changes.left.is_empty() || changes.params {
            self.save();
        }
    }

    fn tell(&self) {
        if let Some(map) = self.holder.map() {
            self.shared.send_replace(map.encode().into());
        }
    }
}
