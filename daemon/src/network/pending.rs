//! A node that waits for an admin's approval: no interface, no map, only the line to the coordinator. The first map that
//! comes is the approval.

use super::coordinator::{FromCoordinator, Request};
use super::from_coordinator::{depart, proven_death};
use super::map::MapKeeper;
use super::record::{Changing, Progress, Recorder};
use super::status::{join_reply, outline};
use super::task::{Coordinator, start_line};
use super::{NetworkCommand, Shared};
use crate::machine;
use crate::state::{Membership, NetworkFiles};
use crate::supervisor::{Command, Ending};
use meshd_api::Problem;
use meshd_api::coordinator::node::StreamLine;
use meshd_api::local::{JoinReply, NetworkStatus};
use std::ops::ControlFlow;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

/// A membership that waits.
pub struct Pending {
    membership: Membership,
    shared: Shared,
    map: MapKeeper,
    recorder: Recorder,
    coordinator: Coordinator,
    commands: mpsc::Receiver<NetworkCommand>,
    _line: JoinSet<()>,
}

impl Pending {
    /// Starts to wait.
    pub fn start(
        membership: Membership,
        (files, map): (NetworkFiles, MapKeeper),
        shared: Shared,
        commands: mpsc::Receiver<NetworkCommand>,
    ) -> Option<Self> {
        let allotted = membership.allotted.as_ref()?;
        let port = Progress::load(&files)
            .port
            .or(allotted.listen_port)
            .unwrap_or_default();
        let addresses = (allotted.ipv4, allotted.ipv6);
        let held = map.serial_of(membership.node);
        let recorder = Recorder::new(files, port, held, &allotted.hostname, addresses);
        let (coordinator, line) = start_line(&membership, (0, 0), watch::channel(false).0);
        Some(Self {
            membership,
            shared,
            map,
            recorder,
            coordinator,
            commands,
            _line: line,
        })
    }

    /// What a join answers for now.
    pub fn join_reply(&self) -> JoinReply {
        join_reply(&self.membership, &self.interface())
    }

    /// The name that its interface will have.
    fn interface(&self) -> String {
        self.shared.config.interface(self.membership.interface)
    }

    /// Waits until approved, stopped, or told to leave.
    pub async fn run(mut self) {
        let id = self.membership.network;
        let supervisor = self.shared.supervisor.clone();
        let ended = |ending| Command::Ended(id, ending);
        let last_word = loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(NetworkCommand::Status(reply)) => drop(reply.send(self.status())),
                    Some(NetworkCommand::Question(question)) => {
                        let sentence = format!("an admin has not let this node into {} yet", self.membership.name);
                        question.refuse(Problem::new("pending", sentence));
                    }
                    Some(NetworkCommand::Stop(_, done)) => {
                        let _ = done.send(());
                        break ended(Ending::Stopped);
                    }
                    Some(NetworkCommand::Leave(reply)) => {
                        let hostname = &self.membership.allotted.as_ref().expect("it is pending").hostname;
                        let answer = depart(&self.membership, self.map.serial_of(self.membership.node), hostname).await;
                        break Command::Left(id, answer, reply);
                    }
                    None => break ended(Ending::Stopped),
                },
                Some(word) = self.coordinator.events.recv() => if let ControlFlow::Break(ending) = self.heard(word) {
                    break ended(ending);
                },
            }
        };
        let _ = supervisor.send(last_word).await;
    }

    fn heard(&mut self, word: FromCoordinator) -> ControlFlow<Ending> {
        match word {
            FromCoordinator::Connected { .. } => {
                self.coordinator.state = "connected".into();
                // The record waits there with the node, so that the approval makes it whole at once.
                if let Some(Ok(record)) = self.recorder.next(&self.membership, Changing::default(), true) {
                    let facts = machine::hashed_facts(self.membership.network);
                    let _ = self.coordinator.requests.try_send(Request::Record(record, facts));
                }
            }
            FromCoordinator::Down { why, problem } => {
                self.coordinator.state = why;
                if let Some(death) = problem.and_then(|problem| proven_death(&problem, &self.membership)) {
                    return ControlFlow::Break(Ending::Out(death));
                }
            }
            FromCoordinator::Line(StreamLine::Full { map }) => match self.map.take_full(&map.0) {
                Ok(_) => {
                    info!(network = %self.membership.name, "an admin approved this node");
                    return ControlFlow::Break(Ending::Anew);
                }
                Err(error) => warn!("the coordinator's map is refused: {error}"),
            },
            FromCoordinator::Line(StreamLine::Ping { nonce, answer: true }) => {
                let _ = self.coordinator.requests.try_send(Request::Pong(nonce));
            }
            FromCoordinator::Refused(_, problem) => warn!(code = %problem.code, "{problem}"),
            FromCoordinator::Line(_) | FromCoordinator::Accepted(_) => {}
        }
        ControlFlow::Continue(())
    }

    fn status(&self) -> NetworkStatus {
        let mut status = outline(&self.membership, &self.interface(), &self.coordinator.state);
        let (node, network) = (&status.hostname, &status.name);
        status.warnings.push(format!(
            "waits for an admin: `meshctl node approve {node} --network {network}` on the coordinator's host"
        ));
        status
    }
}
