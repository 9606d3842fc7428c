//! Tokens kept for the first boot of a clone.

use super::{Command, Reply, Supervisor};
use crate::join;
use meshd_api::Problem;
use meshd_api::local::{Done, JoinRequest, TemplateRequest};
use std::time::Duration;
use tokio::sync::oneshot;
use tracing::{info, warn};

/// First and longest pause between tries to join by a template's token.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Supervisor {
    /// Joins by the token that was sealed into this machine's template, until it is in.
    pub(super) fn join_by_template(&self) {
        let token = match self.state.template() {
            Ok(Some(token)) if self.networks.is_empty() => token,
            Ok(_) => return,
            Err(error) => return warn!("{error}"),
        };
        let handle = self.handle.clone();
        tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            loop {
                let request = JoinRequest::by(token.to_string());
                let (reply, answer) = oneshot::channel();
                if handle.send(Command::Join(request, reply)).await.is_err() {
                    return;
                }
                match answer.await {
                    Ok(Ok(reply)) => {
                        info!(network = %reply.network, name = %reply.hostname, "joined by the template's token");
                        return;
                    }
                    Ok(Err(problem)) => warn!("cannot join by the template's token yet: {problem}"),
                    Err(_) => return,
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        });
    }

    /// Asks the coordinator whether this is a template's token, and keeps it where it is one. An image may be built where no
    /// coordinator can be reached: then it is kept unchecked, and the answer says so.
    pub(super) fn template(&self, request: TemplateRequest, reply: Reply<Done>) {
        let supervisor = self.handle.clone();
        tokio::spawn(async move {
            let note = match join::preview(&request.token).await {
                Ok(preview) if preview.template => {
                    format!(
                        "each clone of this machine joins {} on its first boot",
                        preview.network
                    )
                }
                Ok(preview) => {
                    let sentence = format!(
                        "this token of network {} is not one for templates, so clones could not be told apart; make one with \
                         `meshctl token create --network {} --template`",
                        preview.network, preview.network
                    );
                    return drop(reply.send(Err(Problem::new("not-for-templates", sentence))));
                }
                Err(problem) if problem.code == join::UNREACHABLE => format!(
                    "each clone of this machine joins on its first boot. Whether the token is one for templates could not be asked: \
                     {problem}"
                ),
                Err(problem) => return drop(reply.send(Err(problem))),
            };
            let _ = supervisor.send(Command::Seal(request, note, reply)).await;
        });
    }

    pub(super) fn seal(&self, request: &TemplateRequest, note: &str) -> Result<Done, Problem> {
        self.state
            .set_template(Some(&request.token))
            .map_err(|e| Problem::new("state", e.to_string()))?;
        let mut message = format!("sealed: {note}");
        let joined: Vec<String> = self.state.memberships().0.into_iter().map(|m| m.name).collect();
        if !joined.is_empty() {
            message += &format!(
                ". But this machine is in {0} itself, and an image of it would be a copy of this node: `meshctl leave {0}` first",
                joined.join(", ")
            );
        }
        Ok(Done { message })
    }
}
