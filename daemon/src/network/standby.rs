//! A network whose identity may be another machine's: no interface, no map, not a datagram to peers or relays, only the line to
//! the coordinator. Two come here: who starts on another machine than the identity last ran on (a copied disk, a board that was
//! swapped), and who was told to be the clone of a node that is alive. With the same keys, each packet of a clone would cost
//! its original one.
//!
//! Nobody is silenced for good: the coordinator is asked again and again, and lets in whoever is alone. Where it cannot be reached,
//! nobody can say, and a node that is needed must not wait for it: after [`PATIENCE`] at a start, and [`PATIENCE_OF_REFUSED`] after the last
//! refusal, this machine speaks.

use super::coordinator::FromCoordinator;
use super::from_coordinator::{depart, is_of_a_template, proven_death};
use super::map::MapKeeper;
use super::status::{join_reply, outline};
use super::task::{Coordinator, start_line};
use super::{NetworkCommand, Shared};
use crate::machine;
use crate::state::{Membership, NetworkFiles};
use crate::supervisor::{Command, Ending};
use meshd_api::Problem;
use meshd_api::coordinator::node::StreamLine;
use meshd_api::local::{Done, JoinReply, NetworkStatus};
use meshd_core::admission::Facts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

/// Name of the file in the state folder.
const FILE: &str = "machine";
/// How long a start on another machine waits for the coordinator's word. The coordinator gives an older connection 2 s to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long who was refused stays silent while the coordinator cannot be asked again.
const PATIENCE_OF_REFUSED: Duration = Duration::from_secs(600);

/// The machine on which the identity was last let in.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    /// Hashed, by name.
    facts: BTreeMap<String, String>,
    /// Why this machine was refused since.
    refused: Option<String>,
}

/// Why this machine does not speak yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// The identity was last used on another machine; the coordinator has not said yet what that means.
    OtherMachine,
    /// The coordinator's sentence: this is a clone.
    Refused(String),
}

/// Whether a start has to ask first.
pub fn doubt(membership: &Membership, files: &NetworkFiles) -> Option<Doubt> {
    let stored: Stored = serde_json::from_slice(&files.load(FILE).ok()??).ok()?;
    let now = Facts(machine::hashed_facts(membership.network));
    let differs = !Facts(stored.facts).differing(&now).is_empty();
    match stored.refused {
        Some(sentence) => Some(Doubt::Refused(sentence)),
        None => differs.then_some(Doubt::OtherMachine),
    }
}

/// Keeps that the coordinator let this machine in, or (a sentence) refused it as a clone.
pub fn remember(membership: &Membership, files: &NetworkFiles, refused: Option<String>) {
    let facts = machine::hashed_facts(membership.network);
    let stored = Stored { facts, refused };
    let bytes = serde_json::to_vec(&stored).expect("plain data");
    let held = files.load(FILE).ok().flatten();
    if held.is_some_and(|held| held[..] == bytes) {
        return;
    }
    if let Err(error) = files.save(FILE, &bytes) {
        warn!("{error}");
    }
}

/// A membership that waits for leave to speak.
pub struct Standby {
    membership: Membership,
    files: NetworkFiles,
    shared: Shared,
    coordinator: Coordinator,
    commands: mpsc::Receiver<NetworkCommand>,
    doubt: Doubt,
    /// When it speaks although nobody said that it may.
    patience: Instant,
    /// What the coordinator said that somebody should read.
    notes: Vec<String>,
    _line: JoinSet<()>,
}

impl Standby {
    /// Starts to ask.
    pub fn start(
        membership: Membership,
        files: NetworkFiles,
        shared: Shared,
        commands: mpsc::Receiver<NetworkCommand>,
        doubt: Doubt,
    ) -> Self {
        match &doubt {
            Doubt::OtherMachine => {
                info!(network = %membership.name, "this is another machine than before; the coordinator is asked first")
            }
            Doubt::Refused(_) => warn!(network = %membership.name, "this machine is silent: it is a clone"),
        }
        // A whole map is asked for: it ends what a let-in stream begins with.
        let (coordinator, line) = start_line(&membership, (0, 0), watch::channel(false).0);
        Self {
            membership,
            files,
            shared,
            coordinator,
            commands,
            doubt,
            patience: Instant::now() + PATIENCE,
            notes: Vec::new(),
            _line: line,
        }
    }

    /// What a join answers.
    pub fn join_reply(&self) -> JoinReply {
        join_reply(&self.membership, &self.interface())
    }

    fn interface(&self) -> String {
        self.shared.config.interface(self.membership.interface)
    }

    /// Asks until let in, stopped, or told to leave.
    pub async fn run(mut self) {
        let id = self.membership.network;
        let supervisor = self.shared.supervisor.clone();
        let ended = |ending| Command::Ended(id, ending);
        let last_word = loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(NetworkCommand::Status(reply)) => drop(reply.send(self.status())),
                    Some(NetworkCommand::Question(question)) => {
                        let sentence = "this machine is silent until the coordinator lets it in: `meshctl status` says why";
                        question.refuse(Problem::new("clone", sentence));
                    }
                    Some(NetworkCommand::Stop(_, done)) => {
                        let _ = done.send(());
                        break ended(Ending::Stopped);
                    }
                    Some(NetworkCommand::Leave(reply)) => {
                        let answer = self.leave().await;
                        break Command::Left(id, answer, reply);
                    }
                    None => break ended(Ending::Stopped),
                },
                Some(word) = self.coordinator.events.recv() => if let ControlFlow::Break(ending) = self.heard(word) {
                    break ended(ending);
                },
                () = sleep_until(self.patience) => {
                    warn!(network = %self.membership.name, "the coordinator cannot be asked whether this machine is the node's; it speaks");
                    break ended(Ending::MaySpeak(Vec::new()));
                }
            }
        };
        let _ = supervisor.send(last_word).await;
    }

    fn heard(&mut self, word: FromCoordinator) -> ControlFlow<Ending> {
        match word {
            FromCoordinator::Down { why, problem } => {
                self.coordinator.state = why;
                if let Some(problem) = problem {
                    return self.refused(&problem);
                }
            }
            FromCoordinator::Line(StreamLine::Notice { message, .. }) => {
                warn!(network = %self.membership.name, "{message}");
                self.notes.push(message);
            }
            FromCoordinator::Line(StreamLine::Full { .. }) => {
                info!(network = %self.membership.name, "the coordinator lets this machine speak");
                remember(&self.membership, &self.files, None);
                return ControlFlow::Break(Ending::MaySpeak(std::mem::take(&mut self.notes)));
            }
            FromCoordinator::Connected { .. } => self.coordinator.state = "connected".into(),
            FromCoordinator::Refused(..) | FromCoordinator::Line(_) | FromCoordinator::Accepted(_) => {}
        }
        ControlFlow::Continue(())
    }

    /// Of the coordinator's refusals those about clones keep this machine silent; for the others the whole task has an answer.
    fn refused(&mut self, problem: &Problem) -> ControlFlow<Ending> {
        match problem.code.as_str() {
            "clone-new-identity" if is_of_a_template(&self.membership) => {
                return ControlFlow::Break(Ending::NewIdentity);
            }
            "clone" | "clone-new-identity" => {
                self.patience = Instant::now() + PATIENCE_OF_REFUSED;
                let refused = Doubt::Refused(problem.message.clone());
                if self.doubt != refused {
                    warn!(network = %self.membership.name, "{problem}");
                    remember(&self.membership, &self.files, Some(problem.message.clone()));
                    self.doubt = refused;
                }
            }
            "unknown-node" | "reallotted" => return ControlFlow::Break(Ending::MaySpeak(Vec::new())),
            _ => {
                if let Some(death) = proven_death(problem, &self.membership) {
                    return ControlFlow::Break(Ending::Out(death));
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// A clone forgets, and does not leave in the name of its original.
    async fn leave(&self) -> Result<Done, Problem> {
        let Membership { name, allotted, .. } = &self.membership;
        match &self.doubt {
            Doubt::Refused(_) => Ok(Done {
                message: format!(
                    "{name} is forgotten here; this machine was a clone, and its original stays in"
                ),
            }),
            Doubt::OtherMachine => {
                let hostname = allotted.as_ref().map_or("", |allotted| &*allotted.hostname);
                let map = MapKeeper::load(&self.membership, self.files.clone());
                depart(&self.membership, map.serial_of(self.membership.node), hostname).await
            }
        }
    }

    fn status(&self) -> NetworkStatus {
        let mut status = outline(&self.membership, &self.interface(), &self.coordinator.state);
        status.warnings.push(match &self.doubt {
            Doubt::Refused(sentence) => {
                let name = &status.name;
                format!("{sentence}. This machine is silent until then; here it is `meshctl leave {name}`")
            }
            Doubt::OtherMachine => {
                "this is another machine than the one that was this node; it is silent until the coordinator has said whether that one is alive"
                    .to_owned()
            }
        });
        status
    }
}
