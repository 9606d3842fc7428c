//! The task that holds the link to one cluster's API server.
//!
//! It waits for the first of: a question, a word of a watch, the time to keep what is known. Without credentials it waits for
//! questions alone. Where the API server is away everything stays as it was last told; `status` says since when, and the
//! watches go on trying. Where the server does not know the credentials any more, the files that the kubeconfig
//! names are read again.

use super::check::{rights, sentence};
use super::controller;
use super::credentials::Credentials;
use super::desk::{Desk, put};
use super::feeding::Fed;
use super::objects::{ApiNamespace, ApiNode, ApiPod};
use super::policies::ApiPolicy;
use super::state::{State, What};
use super::watching::{LONGEST, Word, watch};
use super::{CREDENTIALS, Node, Own, Question};
use crate::policy::Feed;
use crate::state::NetworkFiles;
use kube::{Api, Client};
use meshd_api::Problem;
use meshd_api::local::Done;
use meshd_core::policy::{Cluster, Namespace, Pod, Policy};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// Pods that have not ended; the others have given their addresses back.
const LIVES: &str = "status.phase!=Succeeded,status.phase!=Failed";
/// Words of watches that may wait.
const QUEUE: usize = 64;
/// How long a check of new credentials may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a watch told.
enum Heard {
    Namespaces(Word<Namespace>),
    Pods(Word<Pod>),
    Policies(Word<Policy>),
    Nodes(Word<Node>),
}

/// How a session ended.
enum Over {
    /// Nobody can ask any more.
    Ended,
    /// There are other credentials, or none.
    Changed,
    /// The client must be made anew.
    Stale,
}

/// The link of one network to its cluster's API server.
pub struct Link {
    files: NetworkFiles,
    own: Own,
    state: Arc<Mutex<State>>,
    /// What is known of the cluster.
    feed: Feed,
    /// What is exposed of it.
    desk: Desk,
    questions: mpsc::Receiver<Question>,
    credentials: Option<Credentials>,
}

impl Link {
    /// With the credentials on disk, if there are any.
    pub fn new(
        files: NetworkFiles,
        own: Own,
        (state, feed, desk): (Arc<Mutex<State>>, Feed, Desk),
        questions: mpsc::Receiver<Question>,
    ) -> Self {
        let stored = files.load(CREDENTIALS).unwrap_or_else(|error| {
            warn!("{error}");
            None
        });
        let decoded = stored.map(|bytes| Credentials::decode(&bytes));
        let credentials = decoded.and_then(|decoded| {
            decoded
                .inspect_err(|error| warn!("the credentials for Kubernetes cannot be used: {error}"))
                .ok()
        });
        let link = Self {
            files,
            own,
            state,
            feed,
            desk,
            questions,
            credentials,
        };
        link.begin();
        link
    }

    /// Answers, and watches, until nobody can ask any more.
    pub async fn run(mut self) {
        loop {
            let Some(credentials) = self.credentials.clone() else {
                match self.questions.recv().await {
                    Some(question) => drop(self.answer(question).await),
                    None => return,
                }
                continue;
            };
            let over = match credentials.client().await {
                Ok(client) => self.session(&credentials, client).await,
                Err(unfit) => {
                    self.tell(|state| state.away_for_all(unfit.to_string()));
                    Over::Stale
                }
            };
            match over {
                Over::Ended => return,
                Over::Changed => {}
                Over::Stale => tokio::select! {
                    () = sleep(LONGEST) => {}
                    question = self.questions.recv() => match question {
                        Some(question) => drop(self.answer(question).await),
                        None => return,
                    },
                },
            }
        }
    }

    /// From the first word of a client to the end of its credentials.
    async fn session(&mut self, credentials: &Credentials, client: Client) -> Over {
        let (told, mut heard) = mpsc::channel(QUEUE);
        let mut watches = JoinSet::new();
        watches.spawn(controller::run(
            client.clone(),
            credentials.server().to_owned(),
            self.desk.clone(),
            self.state.clone(),
        ));
        watches.spawn(watch(
            Api::<ApiNamespace>::all(client.clone()),
            None,
            told.clone(),
            Heard::Namespaces,
        ));
        watches.spawn(watch(
            Api::<ApiPolicy>::all(client.clone()),
            None,
            told.clone(),
            Heard::Policies,
        ));
        watches.spawn(watch(
            Api::<ApiNode>::all(client.clone()),
            None,
            told.clone(),
            Heard::Nodes,
        ));
        let pods = Api::<ApiPod>::all(client);
        watches.spawn(watch(pods, Some(LIVES.to_owned()), told, Heard::Pods));
        loop {
            tokio::select! {
                question = self.questions.recv() => match question {
                    Some(question) => if self.answer(question).await {
                        return Over::Changed;
                    },
                    None => return Over::Ended,
                },
                Some(heard) = heard.recv() => {
                    let unknown = is_unknown(&heard);
                    self.hear(credentials.server(), heard);
                    if unknown {
                        return Over::Stale;
                    }
                }
            }
        }
    }

    fn hear(&mut self, server: &str, heard: Heard) {
        match heard {
            Heard::Namespaces(word) => self.take(server, What::Namespaces, word),
            Heard::Pods(word) => self.take(server, What::Pods, word),
            Heard::Policies(word) => self.take(server, What::Policies, word),
            Heard::Nodes(word) => self.take_node(server, word),
        }
    }

    fn take<T: Fed>(&mut self, server: &str, what: What, word: Word<T>) {
        match word {
            // of what there is no room for `state` warns
            Word::All(all) => {
                self.tell(|state| state.replace(what, &all));
                let _ = self.feed.change(|cluster| T::replace(cluster, all));
            }
            Word::Applied(one) => {
                self.tell(|state| state.upsert(what, &one));
                let _ = self.feed.change(|cluster| T::put(cluster, one));
            }
            Word::Gone(name) => {
                self.tell(|state| state.remove(what, &name));
                self.feed.change(|cluster| T::drop(cluster, &name));
            }
            other => self.connection(server, what, &other),
        }
    }

    fn take_node(&mut self, server: &str, word: Word<Node>) {
        let own = self.own.addresses;
        match word {
            Word::All(all) => self.tell(|state| state.set_nodes(all, own)),
            Word::Applied(node) => self.tell(|state| state.set_node(node, own)),
            Word::Gone(name) => self.tell(|state| state.drop_node(&name.name, own)),
            other => {
                self.connection(server, What::Nodes, &other);
            }
        }
    }

    /// Whether changes of a kind are heard.
    fn connection<T>(&self, server: &str, what: What, word: &Word<T>) {
        match word {
            Word::Away(error) => self.tell(|state| state.away(what, sentence(server, error))),
            Word::Silent => self.tell(|state| {
                state.away(what, format!("the API server at {server} went silent"));
            }),
            _ => self.tell(|state| state.connected(what)),
        }
    }

    /// Whether credentials are others than before.
    async fn answer(&mut self, question: Question) -> bool {
        match question {
            Question::Set(request, reply) => {
                let folder = Path::new(&request.folder);
                let set = self.set(&request.kubeconfig, folder).await;
                let changed = set.is_ok();
                let _ = reply.send(set.map(|message| Done { message }));
                changed
            }
            Question::Forget(reply) => {
                let forgotten = self.forget();
                let changed = forgotten.is_ok();
                let _ = reply.send(forgotten.map(|message| Done { message }));
                changed
            }
        }
    }

    /// Keeps a kubeconfig that can do what is needed, or that cannot be asked yet.
    async fn set(&mut self, text: &str, folder: &Path) -> Result<String, Problem> {
        let refused = |sentence: String| {
            Problem::new("kubeconfig", format!("the kubeconfig was not taken: {sentence}"))
        };
        let credentials = Credentials::parse(text, folder).map_err(|unfit| refused(unfit.to_string()))?;
        let client = credentials
            .client()
            .await
            .map_err(|unfit| refused(unfit.to_string()))?;
        let server = credentials.server().to_owned();
        let said = match timeout(PATIENCE, rights(&client)).await {
            Ok(Ok(rights)) if rights.missing.is_empty() => {
                let mut said = format!("meshd watches the API server at {server}");
                if rights.everything {
                    said += "\n! these credentials may do everything in the cluster: give meshd those of the ServiceAccount in \
                             /usr/share/meshd/kubernetes/rbac.yaml instead";
                }
                said
            }
            Ok(Ok(rights)) => {
                return Err(refused(format!(
                    "its user may not {}; kubectl apply -f /usr/share/meshd/kubernetes/rbac.yaml makes one that may",
                    rights.missing.join(", ")
                )));
            }
            Ok(Err(error)) if matches!(error, kube::Error::Api(_)) => {
                return Err(refused(sentence(&server, &error)));
            }
            Ok(Err(error)) => later(&sentence(&server, &error)),
            Err(_) => later(&format!("the API server at {server} does not answer")),
        };
        let bytes = Credentials::encode(text, folder);
        self.files
            .save(CREDENTIALS, &bytes)
            .map_err(|error| Problem::new("state", error.to_string()))?;
        self.credentials = Some(credentials);
        self.begin();
        Ok(said)
    }

    fn forget(&mut self) -> Result<String, Problem> {
        self.files
            .remove(CREDENTIALS)
            .map_err(|error| Problem::new("state", error.to_string()))?;
        let had = self.credentials.take().is_some();
        self.begin();
        if had {
            info!("the credentials for Kubernetes were removed");
        }
        Ok(match had {
            true => "the credentials for Kubernetes are gone; what was known of the cluster stays in force"
                .to_owned(),
            false => "there were no credentials for Kubernetes".to_owned(),
        })
    }

    /// A link with these credentials begins.
    fn begin(&self) {
        let server = self.credentials.as_ref().map(|held| held.server().to_owned());
        if let Some(server) = &server {
            info!(server, "watching Kubernetes");
            self.feed.change(Cluster::watch);
        } else {
            put(&self.desk.wanted, None);
            put(&self.desk.leads, false);
            put(&self.desk.sentences, Vec::new());
        }
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::new(server, Instant::now());
    }

    fn tell<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn later(sentence: &str) -> String {
    format!(
        "the kubeconfig is kept, and could not be checked: {sentence}; meshd goes on trying (`meshctl status`)"
    )
}

/// Whether the server does not know who asks.
fn is_unknown(heard: &Heard) -> bool {
    fn unknown<T>(word: &Word<T>) -> bool {
        matches!(word, Word::Away(kube::Error::Api(status)) if status.code == 401)
    }
    match heard {
        Heard::Namespaces(word) => unknown(word),
        Heard::Pods(word) => unknown(word),
        Heard::Policies(word) => unknown(word),
        Heard::Nodes(word) => unknown(word),
    }
}
