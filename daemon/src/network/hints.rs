//! What of paths is on disk for the next life: where peers were last reached, and the relays.

use super::carrier::Carriers;
use super::coordinator::Targets;
use super::paths::Paths;
use super::task::Task;
use crate::state::NetworkFiles;
use meshd_core::keys::BindKey;
use meshd_core::path::{Agent, Hint};
use meshd_core::relay::RelayInfo;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tracing::warn;
use zeroize::Zeroizing;

/// Name of the file in the state folder.
const FILE: &str = "paths";
/// How often hints are written, where they are others than those on disk.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// The same where a peer was found directly at an address that is not on disk: after a power cut it may be the only one.
const SAVE_NEWS: Duration = Duration::from_secs(5);

/// What was written last.
pub(super) struct Saved {
    at: Instant,
    /// Relays' keys are in it.
    bytes: Zeroizing<Vec<u8>>,
    /// A peer was found since.
    news: bool,
}

impl Saved {
    /// Nothing yet.
    pub(super) fn nothing() -> Self {
        Self {
            at: Instant::now(),
            bytes: Zeroizing::default(),
            news: false,
        }
    }

    /// A peer was found where nothing on disk says that it is.
    pub(super) fn has_news(&mut self) {
        self.news = true;
    }
}

/// The form on disk: where peers were last reached, and the relays, so that a restart does not wait for the coordinator.
#[derive(Default, Serialize, Deserialize)]
struct Stored {
    hints: Vec<(String, Vec<SocketAddr>, bool)>,
    relays: Vec<(String, Vec<SocketAddr>, Vec<u8>)>,
    #[serde(default)]
    over_tls: Vec<(String, Targets)>,
}

impl Paths {
    /// Gives the agent what an earlier life knew. To be called after its peers are set.
    pub fn load(&mut self, agent: &mut Agent, carriers: &mut Carriers, files: &NetworkFiles) {
        let bytes = files.load(FILE).unwrap_or_else(|error| {
            warn!("{error}");
            None
        });
        let Some(stored) = bytes.and_then(|b| serde_json::from_slice::<Stored>(&b).ok()) else {
            return;
        };
        let now = Instant::now();
        self.relays = stored.relays.into_iter().filter_map(stored_relay).collect();
        let over_tls = stored.over_tls.into_iter();
        carriers.set_relays(
            over_tls
                .filter_map(|(id, targets)| Some((id.parse().ok()?, targets)))
                .collect(),
        );
        agent.set_relays(now, &self.relays);
        let hints: Vec<_> = stored.hints.into_iter().filter_map(stored_hint).collect();
        agent.import_hints(now, &hints);
    }

    /// Writes what a next life should know.
    pub fn save(&mut self, agent: &Agent, carriers: &Carriers, files: &NetworkFiles) {
        let now = Instant::now();
        let hint = |h: Hint| (h.peer.to_string(), h.addresses, h.active);
        let relay = |r: &RelayInfo| (r.id.to_string(), r.addresses.clone(), r.key.as_bytes().to_vec());
        let stored = Stored {
            hints: agent.hints(now).into_iter().map(hint).collect(),
            relays: self.relays.iter().map(relay).collect(),
            over_tls: carriers
                .relays()
                .iter()
                .map(|(id, targets)| (id.to_string(), targets.clone()))
                .collect(),
        };
        let bytes = Zeroizing::new(serde_json::to_vec(&stored).expect("plain data"));
        (self.saved.at, self.saved.news) = (now, false);
        if bytes == self.saved.bytes {
            return;
        }
        match files.save(FILE, &bytes) {
            Ok(()) => self.saved.bytes = bytes,
            Err(error) => warn!("{error}"),
        }
    }

    /// Writes it from time to time.
    pub fn save_when_due(&mut self, agent: &Agent, carriers: &Carriers, files: &NetworkFiles) {
        let pause = if self.saved.news { SAVE_NEWS } else { SAVE_EVERY };
        if self.saved.at.elapsed() >= pause {
            self.save(agent, carriers, files);
        }
    }
}

fn stored_hint((peer, addresses, active): (String, Vec<SocketAddr>, bool)) -> Option<Hint> {
    Some(Hint {
        peer: peer.parse().ok()?,
        addresses,
        active,
    })
}

fn stored_relay((id, addresses, key): (String, Vec<SocketAddr>, Vec<u8>)) -> Option<RelayInfo> {
    Some(RelayInfo {
        id: id.parse().ok()?,
        addresses,
        key: BindKey::from_bytes(key.try_into().ok()?),
        node: None,
    })
}

impl Task {
    /// Takes up what an earlier life knew.
    pub(super) fn recall_paths(&mut self) {
        let own = self.map.view();
        let own = own.and_then(|view| Some(view.nodes.get(&self.membership.node)?.candidates.clone()));
        self.agent.import_candidates(&own.unwrap_or_default());
        self.paths.load(&mut self.agent, &mut self.carriers, &self.files);
        self.admit_relays();
    }
}
