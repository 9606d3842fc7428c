//! A network that waits for the coordinator's word: no interface, no map, not a datagram to peers or relays, only the line to the
//! coordinator. What it waits for is its [`Reason`]: an admin's approval (`pending.rs`), or leave to speak for an identity that
//! may be another machine's (`standby.rs`). The map that comes is the word.

use super::coordinator::{FromCoordinator, Request};
use super::from_coordinator::{depart, proven_death};
use super::line::{Coordinator, start_line};
use super::status::{join_reply, outline};
use super::{NetworkCommand, Shared};
use crate::state::Membership;
use crate::supervisor::{Command, Ending};
use meshd_api::Problem;
use meshd_api::coordinator::node::StreamLine;
use meshd_api::local::{Done, JoinReply, NetworkStatus};
use std::ops::ControlFlow;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

/// Why a network waits, and what that makes of what the coordinator says.
pub(super) trait Reason: Send + 'static {
    /// Whether this machine may be a clone: a join must not take it for a node.
    const SILENT: bool;

    /// What is sent when the line is there.
    fn greeting(&mut self, _: &Membership) -> Option<Request> {
        None
    }

    /// Whether this map lets the node in.
    fn lets_in(&mut self, membership: &Membership, map: &[u8]) -> bool;

    /// What the coordinator's refusal means, where it is no proof that the node is out.
    fn refused(&mut self, _: &Membership, _: &Problem) -> ControlFlow<Ending> {
        ControlFlow::Continue(())
    }

    /// When it waits no longer, although the coordinator said nothing.
    fn patience(&self) -> Option<Instant> {
        None
    }

    /// The serial of the node's last record, where this machine leaves in the node's name; else what leaving comes to.
    fn departs(&self, membership: &Membership) -> Result<u64, String>;

    /// Why nothing is known of paths.
    fn no_paths(&self, membership: &Membership) -> Problem;

    /// What `status` says of it.
    fn warning(&self, status: &NetworkStatus) -> String;
}

/// A membership that waits.
pub(super) struct Waiting<R> {
    membership: Membership,
    shared: Shared,
    coordinator: Coordinator,
    commands: mpsc::Receiver<NetworkCommand>,
    reason: R,
    /// What the coordinator said that somebody should read.
    notes: Vec<String>,
    _line: JoinSet<()>,
}

impl<R: Reason> Waiting<R> {
    /// Opens the line. A whole map is asked for: it ends what a let-in stream begins with.
    pub(super) fn start(
        membership: Membership,
        shared: Shared,
        commands: mpsc::Receiver<NetworkCommand>,
        reason: R,
    ) -> Self {
        let (coordinator, line) = start_line(&membership, (0, 0), watch::channel(false).0);
        Self {
            membership,
            shared,
            coordinator,
            commands,
            reason,
            notes: Vec::new(),
            _line: line,
        }
    }

    /// What a join answers for now.
    pub(super) fn join_reply(&self) -> JoinReply {
        join_reply(&self.membership, &self.interface())
    }

    /// The name that its interface will have.
    fn interface(&self) -> String {
        self.shared.config.interface(self.membership.interface)
    }

    /// Waits until let in, out of patience, stopped, or told to leave.
    pub(super) async fn run(mut self) {
        let id = self.membership.network;
        let supervisor = self.shared.supervisor.clone();
        let ended = |ending| Command::Ended(id, ending);
        let last_word = loop {
            let patience = self.reason.patience();
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(NetworkCommand::Status(reply)) => drop(reply.send(self.status())),
                    Some(NetworkCommand::Question(question)) => {
                        question.refuse(self.reason.no_paths(&self.membership));
                    }
                    // No keeper of leases runs yet that could ask; an answer that is dropped means no.
                    Some(NetworkCommand::Pods(_)) => {}
                    Some(NetworkCommand::Stop(_, done)) => {
                        let _ = done.send(());
                        break ended(Ending::Stopped);
                    }
                    Some(NetworkCommand::Leave(reply)) => break Command::Left(id, self.leave().await, reply),
                    None => break ended(Ending::Stopped),
                },
                Some(word) = self.coordinator.events.recv() => if let ControlFlow::Break(ending) = self.heard(word) {
                    break ended(ending);
                },
                () = sleep_until(patience.unwrap_or_else(Instant::now)), if patience.is_some() => {
                    warn!(network = %self.membership.name, "the coordinator cannot be asked whether this machine is the node's; it speaks");
                    break ended(Ending::MaySpeak(Vec::new()));
                }
            }
        };
        let _ = supervisor.send(last_word).await;
    }

    fn heard(&mut self, word: FromCoordinator) -> ControlFlow<Ending> {
        match word {
            FromCoordinator::Connected { .. } => {
                self.coordinator.state = "connected".into();
                if let Some(greeting) = self.reason.greeting(&self.membership) {
                    let _ = self.coordinator.requests.try_send(greeting);
                }
            }
            FromCoordinator::Down { why, problem } => {
                self.coordinator.state = why;
                if let Some(problem) = problem {
                    self.reason.refused(&self.membership, &problem)?;
                    if let Some(death) = proven_death(&problem, &self.membership) {
                        return ControlFlow::Break(Ending::Out(death));
                    }
                }
            }
            FromCoordinator::Line(StreamLine::Full { map }) => {
                if self.reason.lets_in(&self.membership, &map.0) {
                    return ControlFlow::Break(Ending::MaySpeak(std::mem::take(&mut self.notes)));
                }
            }
            FromCoordinator::Line(StreamLine::Notice { message, .. }) => {
                warn!(network = %self.membership.name, "{message}");
                self.notes.push(message);
            }
            FromCoordinator::Line(StreamLine::Ping { nonce, answer: true }) => {
                let _ = self.coordinator.requests.try_send(Request::Pong(nonce));
            }
            FromCoordinator::Refused(_, problem) => warn!(code = %problem.code, "{problem}"),
            FromCoordinator::Line(_)
            | FromCoordinator::Accepted(_)
            | FromCoordinator::PartsTaken(_)
            | FromCoordinator::Ingress(..) => {}
        }
        ControlFlow::Continue(())
    }

    async fn leave(&mut self) -> Result<Done, Problem> {
        let membership = &self.membership;
        match self.reason.departs(membership) {
            Ok(serial) => {
                let hostname = membership
                    .allotted
                    .as_ref()
                    .map_or("", |allotted| &*allotted.hostname);
                depart(membership, serial, hostname).await
            }
            Err(message) => Ok(Done { message }),
        }
    }

    fn status(&self) -> NetworkStatus {
        let mut status = outline(&self.membership, &self.interface(), &self.coordinator.state);
        status.warnings.push(self.reason.warning(&status));
        status
    }
}
