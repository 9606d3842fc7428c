//! Owns the joined networks and answers the API: one loop, one owner.
//!
//! What takes time (joining, leaving, waiting for a coordinator) runs in tasks of its own that report back by a
//! command, so that `meshctl status` never waits.

mod asking;
mod joining;
mod presence;
mod questions_of_pods;
mod template;

use crate::config::Config;
use crate::join::Joined;
use crate::kube;
use crate::network::{self, Entrance, NetworkHandle, Question, Shared};
use crate::pods;
use crate::state::{Membership, StateDir};
use meshd_api::Problem;
use meshd_api::local::{CleanRequest, Done, JoinReply, JoinRequest, LeaveRequest, Status, TemplateRequest};
use meshd_core::id::NetworkId;
use meshd_core::map::Death;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

/// How many commands may wait.
const QUEUE: usize = 64;

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, Problem>>;
/// The supervisor's address.
pub type Handle = mpsc::Sender<Command>;

/// What the supervisor is asked.
pub enum Command {
    /// What is the state of everything?
    Status(Reply<Status>),
    /// Join the network of a token.
    Join(JoinRequest, Reply<JoinReply>),
    /// A join task ended.
    Joined(Box<Result<Joined, Problem>>, Reply<JoinReply>),
    /// What a person wants to know of a network's paths; of the only one where none is named.
    Question(Option<String>, Question),
    /// What the CNI plugin asks, of a network's pods; of the only one that has pods where none is named.
    Pods(Option<String>, pods::Question),
    /// What a person asks of a network's link to Kubernetes; of the only one that has pods where none is named.
    Kube(Option<String>, kube::Question),
    /// Leave a network for good.
    Leave(LeaveRequest, Reply<Done>),
    /// A network's task ended by itself.
    Ended(NetworkId, Ending),
    /// A network's task ended because it was told to leave. The answer is given when the keys are forgotten: a crash after it
    /// must not bring them back.
    Left(NetworkId, Result<Done, Problem>, Reply<Done>),
    /// Take interfaces, rules and names away; keep everything in mind.
    Down(Reply<Done>),
    /// The opposite.
    Up(Reply<Done>),
    /// The machine as it was before meshd.
    Clean(CleanRequest, Reply<Done>),
    /// Keep a token for a clone's first boot, where it is one for templates.
    Template(TemplateRequest, Reply<Done>),
    /// It is, as the note says.
    Seal(TemplateRequest, String, Reply<Done>),
    /// The process was told to end; the reply comes when networks have handed their descriptors over.
    Stop(oneshot::Sender<()>),
}

/// How a network's task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It stopped and keeps its place: down, or the process restarts.
    Stopped,
    /// This node was put out, as was proven to it; its files may go.
    Out(Death),
    /// It starts anew, with an interface: an admin let this node in, or somebody deleted the one that was there.
    Anew,
    /// It starts with an interface: the coordinator lets this machine speak, or cannot be asked. What it said.
    MaySpeak(Vec<String>),
    /// The coordinator's sentence: this machine is a clone. It is silent, and asks again.
    Refused(String),
    /// The coordinator allots name and address anew: the same identity joins again.
    Rejoin,
    /// This machine is a clone, and may have an identity of its own by the template's token.
    NewIdentity,
}

/// Owns the joined networks.
pub struct Supervisor {
    config: Arc<Config>,
    state: StateDir,
    shared: Shared,
    networks: BTreeMap<NetworkId, NetworkHandle>,
    /// Sentences for `status` about files that could not be used.
    warnings: Vec<String>,
    handle: Handle,
    commands: mpsc::Receiver<Command>,
}

impl Supervisor {
    /// A supervisor over this state, with nothing started yet.
    pub fn new(config: Arc<Config>, state: StateDir, shared: impl FnOnce(Handle) -> Shared) -> Self {
        let (handle, commands) = mpsc::channel(QUEUE);
        let shared = shared(handle.clone());
        Self {
            config,
            state,
            shared,
            networks: BTreeMap::new(),
            warnings: Vec::new(),
            handle,
            commands,
        }
    }

    /// Where to send commands.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Starts every network that the state names and that does not run; returns when their interfaces and addresses exist.
    pub async fn start_all(&mut self) {
        let (memberships, damaged) = self.state.memberships();
        self.warnings = damaged.iter().map(ToString::to_string).collect();
        for warning in &self.warnings {
            error!("{warning}");
        }
        self.finish_leaving();
        let joined = memberships.into_iter().filter(|m| m.allotted.is_some());
        for membership in joined
            .filter(|m| !self.networks.contains_key(&m.network))
            .collect::<Vec<_>>()
        {
            let name = membership.name.clone();
            if let Err(problem) = self.start(membership, Entrance::Usual).await {
                error!(network = %name, "cannot start the network: {problem}");
                self.warnings
                    .push(format!("network {name} could not be started: {problem}"));
            }
        }
    }

    /// Answers commands until told to stop.
    pub async fn run(mut self) {
        self.join_by_template();
        while let Some(command) = self.commands.recv().await {
            match command {
                Command::Status(reply) => self.status(reply),
                Command::Join(request, reply) => self.join(request, reply),
                Command::Joined(outcome, reply) => {
                    let answer = self.joined(*outcome).await;
                    let _ = reply.send(answer);
                }
                Command::Question(network, question) => self.question(network.as_deref(), question),
                Command::Pods(network, question) => self.pods(network.as_deref(), question),
                Command::Kube(network, question) => self.kube(network.as_deref(), question),
                Command::Leave(request, reply) => self.leave(&request, reply),
                Command::Ended(network, ending) => self.ended(network, ending).await,
                Command::Left(network, answer, reply) => {
                    let answer = self.left(network, answer);
                    let _ = reply.send(answer);
                }
                Command::Down(reply) => {
                    let answer = self.down().await;
                    let _ = reply.send(answer);
                }
                Command::Up(reply) => {
                    let answer = self.up().await;
                    let _ = reply.send(answer);
                }
                Command::Clean(request, reply) => {
                    let answer = self.clean(&request).await;
                    let _ = reply.send(answer);
                }
                Command::Template(request, reply) => {
                    self.template(request, reply);
                }
                Command::Seal(request, note, reply) => {
                    let _ = reply.send(self.seal(&request, &note));
                }
                Command::Stop(done) => {
                    self.stop_networks(network::Stop::Restart).await;
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    async fn start(&mut self, membership: Membership, entrance: Entrance) -> Result<NetworkId, Problem> {
        let (id, files) = (membership.network, self.state.network(membership.network));
        let handle = network::start(membership, files, self.shared.clone(), entrance)
            .await
            .map_err(|error| Problem::new("start-failed", format!("{error:#}")))?;
        self.networks.insert(id, handle);
        Ok(id)
    }

    async fn ended(&mut self, network: NetworkId, ending: Ending) {
        let handle = self.networks.remove(&network);
        match ending {
            Ending::Stopped => {}
            Ending::Out(death) => {
                let name = handle.map_or_else(|| network.to_string(), |handle| handle.name().to_owned());
                self.say_farewell(network, name, death);
                self.forget_for_good(network);
            }
            Ending::NewIdentity => {
                info!(%network, "this machine is a clone; it joins anew under an identity of its own");
                self.forget(network);
                self.join_by_template();
            }
            Ending::Anew => self.start_again(network, Entrance::MaySpeak(Vec::new())).await,
            Ending::MaySpeak(notes) => self.start_again(network, Entrance::MaySpeak(notes)).await,
            Ending::Refused(sentence) => self.start_again(network, Entrance::Refused(sentence)).await,
            Ending::Rejoin => {
                if let Some(membership) = self.membership(network) {
                    self.rejoin(membership);
                }
            }
        }
    }

    async fn start_again(&mut self, network: NetworkId, entrance: Entrance) {
        if let Some(membership) = self.membership(network)
            && let Err(problem) = self.start(membership, entrance).await
        {
            error!(%network, "cannot start the network: {problem}");
        }
    }

    /// Who left, or was put out, does not come back by itself.
    fn forget_for_good(&self, network: NetworkId) {
        self.forget(network);
        self.forget_template();
    }

    fn forget_template(&self) {
        if let Err(error) = self.state.set_template(None) {
            warn!("{error}");
        }
    }

    fn forget(&self, network: NetworkId) {
        if let Err(error) = self.state.network(network).forget() {
            warn!("{error}");
        }
    }

    fn membership(&self, network: NetworkId) -> Option<Membership> {
        let loaded = self.state.network(network).load_membership();
        loaded.inspect_err(|error| error!("{error}")).ok().flatten()
    }

    async fn clean(&mut self, request: &CleanRequest) -> Result<Done, Problem> {
        let names: Vec<String> = self.state.memberships().0.into_iter().map(|m| m.name).collect();
        self.stop_networks(network::Stop::Down).await;
        let mut left = crate::clean::machine(&self.config, &self.shared).await;
        if request.forget {
            left.extend(self.state.forget_all().err().map(|e| e.to_string()));
        }
        match left.is_empty() {
            true => Ok(Done {
                message: cleaned(request.forget, &names.join(", "), &self.config.state_dir),
            }),
            false => Err(Problem::new(
                "not-clean",
                format!("something is left: {}", left.join("; ")),
            )),
        }
    }

    /// Stops all networks at once and waits until each has let go of its interface.
    async fn stop_networks(&mut self, stop: network::Stop) {
        let networks = std::mem::take(&mut self.networks).into_values();
        let stopping: Vec<_> = networks.map(|network| network.stop(stop)).collect();
        for stopped in stopping {
            stopped.await;
        }
    }
}

/// What a person should know of a clean machine that was in these networks.
fn cleaned(forgotten: bool, networks: &str, state: &Path) -> String {
    let mut said = "this machine is as it was before meshd".to_owned();
    if forgotten && !networks.is_empty() {
        said += &format!(
            "; the others still list it in {networks}, which `meshctl node remove NAME` ends (and `meshctl leave` instead would have)"
        );
    }
    match forgotten {
        true => {
            said += &format!(
                "; meshd runs on, with nothing but the key of its own files in {}, which `meshd clean --forget` takes away when meshd has ended",
                state.display()
            )
        }
        false if networks.is_empty() => {}
        false => {
            said += &format!(
                "; it is still in {networks}, and `meshctl up` or a restart of meshd brings that back"
            )
        }
    }
    said
}
