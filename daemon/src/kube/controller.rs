//! The controller of services of type LoadBalancer: where this node may expose something and was elected, it watches services and their
//! endpoints, says what is to be exposed, and writes back what was had.
//!
//! What follows from them is decided in [`meshd_core::expose::plan`]; the network's task asks the coordinator ([`super::desk`]). The others
//! wait for their turn and watch nothing. While the API server is away everything stays as it was last asked for: a term in each ask
//! keeps one who was elected before from being heard, so nobody has to be sure that he still is.

use super::check::sentence;
use super::desk::{Allowed, Desk, Outcome, put};
use super::lease::{EVERY, Election, Standing, send};
use super::services::{ApiService, ApiSlice, Kept};
use super::state::State;
use super::watching::{Word, watch};
use super::words::{event, port, verdict};
use kube::{Api, Client};
use meshd_api::coordinator::ingress::IngressAsk;
use meshd_core::expose::{Ground, Slice, plan};
use meshd_core::policy::Name;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

/// Words of watches that may wait.
const QUEUE: usize = 64;
/// Changes within this time are looked at together.
const SETTLE: Duration = Duration::from_millis(50);
/// How long the API server may take for one request.
const PATIENCE: Duration = Duration::from_secs(4);

enum Heard {
    Services(Word<Kept>),
    Slices(Word<Slice>),
}

/// Serves whenever this node may, with this client, until the link ends it.
pub async fn run(client: Client, server: String, desk: Desk, state: Arc<Mutex<State>>) {
    loop {
        let mut allowed = desk.allowed.subscribe();
        let Ok(first) = allowed.wait_for(Option::is_some).await.map(|held| held.clone()) else {
            return;
        };
        let own = first.map(|allowed| allowed.own.clone()).unwrap_or_default();
        let controller = Controller {
            election: Election::new(client.clone(), own),
            client: client.clone(),
            server: server.clone(),
            desk: desk.clone(),
            state: state.clone(),
            term: None,
            services: None,
            slices: None,
            told: BTreeMap::new(),
            faults: BTreeMap::new(),
        };
        controller.serve().await;
    }
}

struct Controller {
    election: Election,
    client: Client,
    server: String,
    desk: Desk,
    state: Arc<Mutex<State>>,
    /// The term for which it was elected.
    term: Option<u64>,
    /// All services of type LoadBalancer; none before they were read.
    services: Option<BTreeMap<Name, Kept>>,
    slices: Option<BTreeMap<Name, Slice>>,
    /// What was said of a service in its events.
    told: BTreeMap<Name, String>,
    /// What is wrong, by what it concerns.
    faults: BTreeMap<&'static str, String>,
}

impl Controller {
    async fn serve(mut self) {
        let (mut allowed, mut outcome) = (self.desk.allowed.subscribe(), self.desk.outcome.subscribe());
        let mut turn = interval(EVERY);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut told, mut heard) = mpsc::channel(QUEUE);
        let mut watches = JoinSet::new();
        let mut dirty = false;
        loop {
            tokio::select! {
                _ = turn.tick() => {
                    self.stand().await;
                    if self.term.is_none() {
                        // what a watch still tells is for nobody
                        (told, heard) = mpsc::channel(QUEUE);
                        watches = JoinSet::new();
                    } else if watches.is_empty() {
                        self.watch(&mut watches, &told);
                    }
                    // what could not be written is tried again
                    dirty |= self.faults.contains_key("status");
                }
                Some(word) = heard.recv() => {
                    self.hear(word);
                    dirty = true;
                }
                changed = allowed.changed() => {
                    if changed.is_err() || allowed.borrow_and_update().is_none() {
                        return self.end().await;
                    }
                    dirty = true;
                }
                Ok(()) = outcome.changed() => {
                    outcome.mark_unchanged();
                    dirty = true;
                }
                () = sleep(SETTLE), if dirty && self.term.is_some() => {
                    dirty = false;
                    self.reconcile().await;
                }
            }
        }
    }

    /// The election goes on.
    async fn stand(&mut self) {
        let stood = match timeout(PATIENCE, self.election.step()).await {
            Ok(Ok(standing)) => Ok(standing),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => Err(format!(
                "this node may expose services, and its credentials may not: {}; control planes need those of the ServiceAccount \
                 kube-system/meshd-controller in /usr/share/meshd/kubernetes/rbac.yaml",
                status.message
            )),
            Ok(Err(error)) => Err(sentence(&self.server, &error)),
            Err(_) => Err(format!("the API server at {} does not answer", self.server)),
        };
        match stood {
            Ok(Standing::Leads(term)) => {
                if self.term != Some(term) {
                    info!(term, "elected to serve services of type LoadBalancer");
                }
                self.term = Some(term);
                self.fault("lease", None);
            }
            Ok(Standing::Follows) => {
                if self.term.take().is_some() {
                    info!("another node was elected to serve services of type LoadBalancer");
                }
                (self.services, self.slices) = (None, None);
                self.told.clear();
                self.faults.clear();
                put(&self.desk.wanted, None);
                put(&self.desk.sentences, Vec::new());
            }
            Err(why) => self.fault("lease", Some(why)),
        }
        put(&self.desk.leads, self.term.is_some());
    }

    fn watch(&self, watches: &mut JoinSet<()>, told: &mpsc::Sender<Heard>) {
        let services = Api::<ApiService>::all(self.client.clone());
        let slices = Api::<ApiSlice>::all(self.client.clone());
        watches.spawn(watch(services, None, told.clone(), Heard::Services));
        watches.spawn(watch(slices, None, told.clone(), Heard::Slices));
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Services(word) => {
                let name = |kept: &Kept| kept.service.name.clone();
                let away = take(&mut self.services, word, name);
                let away = away.map(|error| {
                    error.map_or_else(|| self.silence(), |error| sentence(&self.server, &error))
                });
                self.fault("services", away);
            }
            Heard::Slices(word) => {
                let away = take(&mut self.slices, word, |slice| slice.name.clone());
                let away = away.map(|error| {
                    error.map_or_else(|| self.silence(), |error| sentence(&self.server, &error))
                });
                self.fault("endpoints", away);
            }
        }
    }

    fn silence(&self) -> String {
        format!("the API server at {} went silent", self.server)
    }

    /// Something is wrong, or no longer.
    fn fault(&mut self, what: &'static str, why: Option<String>) {
        let before = self.faults.get(what).cloned();
        match why {
            Some(why) => {
                if before.as_ref() != Some(&why) {
                    warn!("services of type LoadBalancer: {why}");
                }
                self.faults.insert(what, why);
            }
            None => drop(self.faults.remove(what)),
        }
        put(&self.desk.sentences, self.faults.values().cloned().collect());
    }

    /// Says what is to be exposed, and writes back what was had.
    async fn reconcile(&mut self) {
        let Some(allowed) = self.desk.allowed.borrow().clone() else {
            return;
        };
        let (Some(term), Some(services), Some(slices)) = (self.term, &self.services, &self.slices) else {
            return;
        };
        let ours = services.values().map(|kept| &kept.service);
        let plan = plan(ours, slices, &allowed.terms, &self.ground(&allowed));
        let ask = Arc::new(IngressAsk {
            allowance: allowed.name.clone(),
            term,
            ports: plan.ports.iter().map(port).collect(),
        });
        put(&self.desk.wanted, Some(ask.clone()));
        let outcome = self.desk.outcome.borrow().clone();
        let outcome = outcome.filter(|outcome| outcome.ask == ask);
        if let Some(Outcome { given: Err(why), .. }) = outcome.as_deref() {
            self.fault("coordinator", Some(why.clone()));
        } else if outcome.is_some() {
            self.fault("coordinator", None);
        }
        let mut failed = None;
        for (name, planned) in &plan.services {
            let Some((addresses, why)) = verdict(planned, outcome.as_deref(), &allowed) else {
                continue;
            };
            if let Err(error) = self.write(name, &addresses, why).await {
                failed = Some(sentence(&self.server, &error));
            }
        }
        self.told
            .retain(|name, _| plan.services.iter().any(|(held, _)| held == name));
        self.fault("status", failed);
    }

    /// What of the mesh counts for this cluster.
    fn ground(&self, allowed: &Allowed) -> Ground {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes = state.nodes().filter_map(|node| {
            let mut own = node.addresses.iter().filter_map(|address| match address {
                IpAddr::V4(v4) if allowed.nodes.contains(v4) => Some(*v4),
                _ => None,
            });
            Some((node.name.to_string(), own.next()?))
        });
        Ground {
            pods: allowed.pods.clone(),
            nodes: nodes.collect(),
        }
    }

    /// A service's status, and an event where something was wrong.
    async fn write(&mut self, name: &Name, addresses: &[Value], why: String) -> Result<(), kube::Error> {
        let Some(kept) = self.services.as_ref().and_then(|services| services.get(name)) else {
            return Ok(());
        };
        let shown = |one: &Value| one["ip"].as_str().or(one["hostname"].as_str()).map(str::to_owned);
        let shown: Vec<String> = addresses.iter().filter_map(shown).collect();
        let uid = kept.uid.clone();
        if kept.service.status != shown {
            let path = format!(
                "/api/v1/namespaces/{}/services/{}/status",
                name.namespace, name.name
            );
            let patch = json!({"status": {"loadBalancer": {"ingress": addresses}}});
            bounded(send(&self.client, "PATCH", &path, Some(&patch))).await?;
            info!(service = %name, addresses = %shown.join(", "), "its status names other addresses now");
            if let Some(kept) = self.services.as_mut().and_then(|services| services.get_mut(name)) {
                kept.service.status = shown;
            }
        }
        if self.told.get(name).map_or("", String::as_str) != why {
            if !why.is_empty() {
                warn!(service = %name, "{why}");
                bounded(send(
                    &self.client,
                    "POST",
                    &format!("/api/v1/namespaces/{}/events", name.namespace),
                    Some(&event(name, &uid, &why)),
                ))
                .await?;
            }
            self.told.insert(name.clone(), why);
        }
        Ok(())
    }

    /// Nothing may be exposed any more: statuses name nothing then.
    async fn end(mut self) {
        put(&self.desk.wanted, None);
        put(&self.desk.leads, false);
        let held = self.services.iter().flatten();
        let held: Vec<Name> = held
            .filter(|(_, kept)| {
                !kept.service.status.is_empty()
                    && kept.service.class.as_deref() == Some(meshd_core::expose::CLASS)
            })
            .map(|(name, _)| name.clone())
            .collect();
        if self.term.is_some() {
            for name in held {
                if let Err(error) = self.write(&name, &[], String::new()).await {
                    warn!(service = %name, "its status still names addresses: {}", sentence(&self.server, &error));
                }
            }
        }
        put(&self.desk.sentences, Vec::new());
    }
}

async fn bounded(request: impl Future<Output = Result<Value, kube::Error>>) -> Result<Value, kube::Error> {
    match timeout(PATIENCE, request).await {
        Ok(answer) => answer,
        Err(_) => Err(kube::Error::Service("it does not answer".into())),
    }
}

/// Takes a word of a watch; whether nothing is heard any more, and why.
fn take<T>(
    held: &mut Option<BTreeMap<Name, T>>,
    word: Word<T>,
    name: impl Fn(&T) -> Name,
) -> Option<Option<kube::Error>> {
    match word {
        Word::All(all) => *held = Some(all.into_iter().map(|one| (name(&one), one)).collect()),
        Word::Applied(one) => drop(held.get_or_insert_default().insert(name(&one), one)),
        Word::Gone(name) => drop(held.as_mut().and_then(|held| held.remove(&name))),
        Word::Connected => {}
        Word::Away(error) => return Some(Some(error)),
        Word::Silent => return Some(None),
    }
    None
}
