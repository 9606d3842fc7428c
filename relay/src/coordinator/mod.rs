//! The coordinator: networks, tokens, nodes and maps, decided by the core and kept in the store.
//!
//! All state lies behind one lock ([`State`]), and every change goes the same way ([`State::write`]): it is judged, put
//! into a batch together with the map's new version, committed to the store, and only then in force and told. If the
//! store fails, what is in memory is read from it again: memory is never ahead of the disk. Deltas are pushed to all
//! streams a few milliseconds later, so that a burst of joins is one line and not many.
//!
//! Work on the state may sync a disk, so it runs on blocking threads ([`Coordinator::call`]), never on the event loop.

mod admin;
mod audit;
mod clones;
mod effects;
mod hub;
mod ingress;
mod join;
mod load;
mod network;
mod nodes;
mod once;
mod refusal;
mod relays;
mod state;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use meshd_core::keys::CoordinatorPublic;
use meshd_net::settle::Settle;
use tokio::sync::{Notify, Semaphore, watch};
use tracing::error;

use crate::expose::Wanted;

pub use clones::Newcomer;
pub use hub::{Asked, PING_SECONDS, QUEUE};
pub use join::JoinInput;
pub use load::{Keys, first_batch};
pub use nodes::Opening;
pub use once::Once;
pub use refusal::Refusal;
pub use state::{Site, State};

/// Changes within this time are pushed as one delta.
const COALESCE: Duration = Duration::from_millis(4);
/// Callers at work on the state, or waiting for it, at once; others wait outside.
const CALLERS: usize = 64;

/// The coordinator; clones are the same.
#[derive(Clone)]
pub struct Coordinator {
    state: Arc<Mutex<State>>,
    callers: Arc<Semaphore>,
    dirty: Arc<Notify>,
    exposed: watch::Receiver<Arc<[Wanted]>>,
    replaced: Arc<Notify>,
}

impl Coordinator {
    /// Takes over a loaded state.
    pub fn new(state: State) -> Self {
        let (dirty, exposed) = (state.dirty(), state.exposed.subscribe());
        Self {
            state: Arc::new(Mutex::new(state)),
            callers: Arc::new(Semaphore::new(CALLERS)),
            dirty,
            exposed,
            replaced: Arc::default(),
        }
    }

    /// Does something with the state, on a thread that may block.
    pub async fn call<T, F>(&self, work: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&mut State) -> Result<T, Refusal> + Send + 'static,
    {
        let permit = self.callers.clone().acquire_owned().await;
        let state = self.state.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut state = lock(&state);
            if state.retired {
                return Err(Refusal::Stopping);
            }
            work(&mut state)
        });
        done.await.unwrap_or_else(|failed| {
            error!(%failed, "a request failed inside the coordinator");
            Err(Refusal::Invalid(
                "the coordinator failed on this request; its log says more".into(),
            ))
        })
    }

    /// What is exposed, and each change of it.
    pub fn exposed(&self) -> watch::Receiver<Arc<[Wanted]>> {
        self.exposed.clone()
    }

    /// The identity key that tokens pin.
    pub async fn identity(&self) -> Result<CoordinatorPublic, Refusal> {
        self.call(|state| Ok(state.identity())).await
    }

    /// Ends all streams; whatever asks from now on is told to come back.
    pub async fn retire(&self) {
        let _ = self
            .call(|state| {
                state.retire();
                Ok(())
            })
            .await;
    }

    /// Says that the store holds another state now.
    pub fn replaced(&self) {
        self.replaced.notify_one();
    }

    /// Resolves when the store holds another state: then everything is to be opened anew.
    pub async fn until_replaced(&self) {
        self.replaced.notified().await;
    }

    /// Pushes map changes to the streams, pings them, and removes ephemeral nodes that stay away; what changes needed for a moment is
    /// given back after them. Never ends.
    pub async fn keep_streams(self) {
        let settle = Settle::default();
        settle.soon();
        tokio::join!(settle.clone().run(), self.push_and_ping(settle));
    }

    async fn push_and_ping(self, settle: Settle) {
        let mut ping = tokio::time::interval(Duration::from_secs(u64::from(PING_SECONDS)));
        loop {
            tokio::select! {
                () = self.dirty.notified() => {
                    tokio::time::sleep(COALESCE).await;
                    let _ = self.call(|state| { state.push_maps(); Ok(()) }).await;
                    settle.soon();
                }
                _ = ping.tick() => {
                    let ticked = self.call(|state| { state.ping_all(); state.remove_absent(state.site.ephemeral_after) }).await;
                    if let Err(cause) = ticked {
                        error!(%cause, "absent nodes were not removed");
                    }
                }
            }
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
