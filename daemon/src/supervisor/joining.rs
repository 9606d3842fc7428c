//! Joining: at a person's word, and again where the coordinator allots anew.

use super::{Command, Reply, Supervisor};
use crate::join::{self, Joined};
use crate::network::Entrance;
use crate::state::Membership;
use meshd_api::Problem;
use meshd_api::local::{JoinReply, JoinRequest};
use tokio::sync::oneshot;
use tracing::warn;

impl Supervisor {
    /// Joins the network of a token in a task of its own, which reports back.
    pub(super) fn join(&mut self, request: JoinRequest, reply: Reply<JoinReply>) {
        let network = match join::check_token(&request.token) {
            Ok(token) => token.network(),
            Err(problem) => return drop(reply.send(Err(problem))),
        };
        if let Some(running) = self.networks.get(&network) {
            if running.is_silent() {
                let sentence = format!(
                    "this machine has the keys of a node of {0} that may be another machine, and is silent there: `meshctl status` says more. \
                     To join as a node of its own: `meshctl leave {0}`, and join again",
                    running.name()
                );
                return drop(reply.send(Err(Problem::new("clone", sentence))));
            }
            let (mut held, status) = (running.join_reply(), running.ask_status());
            tokio::spawn(async move {
                let status = status.await;
                let port = status.as_ref().map(|status| status.listen_port);
                // an admin may have renamed it since
                if let Some(status) = status {
                    held.hostname = status.hostname;
                }
                let _ = reply.send(join::check_wishes(&request, &held, port).map(|()| held));
            });
            return;
        }
        let join = match join::prepare(&request, &self.state) {
            Ok(join) => join,
            Err(problem) => return drop(reply.send(Err(problem))),
        };
        let (supervisor, shared) = (self.handle.clone(), self.shared.clone());
        tokio::spawn(async move {
            let outcome = join.run(&shared).await;
            let _ = supervisor.send(Command::Joined(Box::new(outcome), reply)).await;
        });
    }

    /// Starts what a join gave.
    pub(super) async fn joined(&mut self, outcome: Result<Joined, Problem>) -> Result<JoinReply, Problem> {
        let Joined { membership, template } = outcome?;
        if let Some(word) = template
            && let Err(error) = self.state.set_template(Some(&word))
        {
            warn!("{error}");
        }
        if let Err(error) = self.state.set_farewell(membership.network, None) {
            warn!("{error}");
        }
        // Somebody else may have asked for the same at the same time, and is in already.
        let network = membership.network;
        if !self.networks.contains_key(&network) {
            self.start(membership, Entrance::MaySpeak(Vec::new())).await?;
        }
        Ok(self.networks[&network].join_reply())
    }

    /// The same identity joins again, to learn what it is allotted now.
    pub(super) fn rejoin(&self, membership: Membership) {
        let join = join::again(membership.clone(), &self.state);
        let (supervisor, shared) = (self.handle.clone(), self.shared.clone());
        tokio::spawn(async move {
            let outcome = join.run(&shared).await.or_else(|problem| {
                // What was allotted before is still good for talking to those who know this node.
                warn!("joining again failed: {problem}");
                Ok(Joined {
                    membership,
                    template: None,
                })
            });
            let _ = supervisor
                .send(Command::Joined(Box::new(outcome), oneshot::channel().0))
                .await;
        });
    }
}
