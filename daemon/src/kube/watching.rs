//! One watch: a list, in pages, then what changes, for as long as anybody listens.
//!
//! A list replaces what is known; a watch goes on from the list's resource version, and after an interruption from the last
//! one that an event or a bookmark told (Kubernetes API concepts, "Efficient detection of changes"). Where the server has
//! forgotten that version (410 Gone) the list is read anew. Anything else is an interruption: it is told, and tried again
//! after a pause that grows to [`LONGEST`].

use super::objects::{Watched, name};
use futures_util::StreamExt;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use meshd_core::policy::Name;
use rand_core::{OsRng, RngCore};
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Objects of one page: what is parsed at once is small, and the whole of a large cluster is never in memory as text.
const PAGE: u32 = 100;
/// After so many seconds the server ends a watch, and it is asked again: how soon a dead connection is noticed.
const WATCH_S: u32 = 60;
/// A watch that the server did not end by then hangs.
const SILENCE: Duration = Duration::from_secs(WATCH_S as u64 + 10);
/// The answer to a request takes no longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most objects of a list; the core takes fewer of any kind, and says so.
const MOST: usize = 60_000;
/// First pause after an interruption.
const SHORTEST: Duration = Duration::from_millis(250);
/// Longest pause.
pub const LONGEST: Duration = Duration::from_secs(8);

/// What a watch tells.
#[derive(Debug)]
pub enum Word<T> {
    /// These are all.
    All(Vec<T>),
    /// Changes are heard from now on.
    Connected,
    /// One is so.
    Applied(T),
    /// One is gone, or as good as gone.
    Gone(Name),
    /// Nothing is heard any more.
    Away(kube::Error),
    /// The server stopped answering, without a word.
    Silent,
}

/// Watches all objects of a kind, or those that a field selector names. Ends when nobody listens.
pub async fn watch<K: Watched, C: Send + 'static>(
    api: Api<K>,
    fields: Option<String>,
    told: mpsc::Sender<C>,
    wrap: fn(Word<K::Kept>) -> C,
) {
    let watch = Watch {
        api,
        fields,
        told,
        wrap,
    };
    let (mut from, mut pause) = (None, SHORTEST);
    while !watch.told.is_closed() {
        let start = Instant::now();
        let outcome = match from.take() {
            None => watch.list().await.map(Some),
            Some(version) => watch.follow(version, &mut from).await.map(|()| None),
        };
        match outcome {
            Ok(Some(version)) => from = Some(version),
            // the server ends each watch in time; one that it ends at once waits
            Ok(None) if start.elapsed() > pause => pause = SHORTEST,
            Ok(None) => rest(&mut pause).await,
            Err(word) => {
                if !is_forgotten(&word) {
                    watch.tell(word).await;
                }
                rest(&mut pause).await;
            }
        }
    }
}

/// Sleeps for the pause, or half of it, or between; the next one is longer.
async fn rest(pause: &mut Duration) {
    let part = f64::from(OsRng.next_u32()) / f64::from(u32::MAX);
    sleep(pause.mul_f64(0.5 + part / 2.0)).await;
    *pause = (*pause * 2).min(LONGEST);
}

struct Watch<K: Watched, C> {
    api: Api<K>,
    fields: Option<String>,
    told: mpsc::Sender<C>,
    wrap: fn(Word<K::Kept>) -> C,
}

impl<K: Watched, C: Send + 'static> Watch<K, C> {
    async fn tell(&self, word: Word<K::Kept>) {
        let _ = self.told.send((self.wrap)(word)).await;
    }

    /// Reads all; the version from which changes follow.
    async fn list(&self) -> Result<String, Word<K::Kept>> {
        let mut all = Vec::new();
        let mut params = ListParams {
            field_selector: self.fields.clone(),
            ..ListParams::default().limit(PAGE)
        };
        loop {
            let page = timeout(PATIENCE, self.api.list(&params)).await;
            let page = page.map_err(|_| Word::Silent)?.map_err(Word::Away)?;
            let room = MOST.saturating_sub(all.len());
            all.extend(page.items.into_iter().filter_map(Watched::kept).take(room));
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                self.tell(Word::All(all)).await;
                return Ok(page.metadata.resource_version.unwrap_or_default());
            }
        }
    }

    /// Tells of changes until the watch ends; `from` is where to go on, none where a list is needed.
    async fn follow(&self, version: String, from: &mut Option<String>) -> Result<(), Word<K::Kept>> {
        let mut params = WatchParams::default().timeout(WATCH_S);
        params.field_selector = self.fields.clone();
        let begun = timeout(PATIENCE, self.api.watch(&params, &version)).await;
        *from = Some(version);
        let stream = begun
            .map_err(|_| Word::Silent)?
            .map_err(|error| interrupted(error, from))?;
        self.tell(Word::Connected).await;
        let mut stream = pin!(stream);
        loop {
            let event = timeout(SILENCE, stream.next()).await.map_err(|_| Word::Silent)?;
            let Some(event) = event else { return Ok(()) };
            match event.map_err(|error| interrupted(error, from))? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    *from = object.meta().resource_version.clone();
                    let name = name(&object);
                    let word = object.kept().map_or(Word::Gone(name), Word::Applied);
                    self.tell(word).await;
                }
                WatchEvent::Deleted(object) => {
                    *from = object.meta().resource_version.clone();
                    self.tell(Word::Gone(name(&object))).await;
                }
                WatchEvent::Bookmark(bookmark) => *from = Some(bookmark.metadata.resource_version),
                WatchEvent::Error(status) => return Err(interrupted(kube::Error::Api(status), from)),
            }
        }
    }
}

/// Where the server has forgotten the version, all is read anew.
fn interrupted<T>(error: kube::Error, from: &mut Option<String>) -> Word<T> {
    let word = Word::Away(error);
    if is_forgotten(&word) {
        *from = None;
    }
    word
}

fn is_forgotten<T>(word: &Word<T>) -> bool {
    matches!(word, Word::Away(kube::Error::Api(status)) if status.code == 410)
}
