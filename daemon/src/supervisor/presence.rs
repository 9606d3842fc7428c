//! Networks that this machine is in but that are down, and the verbs that change it: down, up, leave.

use super::{Reply, Supervisor};
use crate::network::{self, NetworkCommand, NetworkHandle};
use meshd_api::Problem;
use meshd_api::local::Done;

impl Supervisor {
    /// Names of the networks that this machine is in and that do not run.
    pub(super) fn down_networks(&self) -> Vec<String> {
        let (memberships, _) = self.state.memberships();
        memberships
            .into_iter()
            .filter(|m| m.allotted.is_some() && !self.networks.contains_key(&m.network))
            .map(|m| m.name)
            .collect()
    }

    /// Names of the networks that run.
    fn up_networks(&self) -> Vec<&str> {
        self.networks.values().map(NetworkHandle::name).collect()
    }

    pub(super) async fn down(&mut self) -> Result<Done, Problem> {
        self.stop_networks(network::Stop::Down).await;
        let message = match self.down_networks().join(", ") {
            none if none.is_empty() => "this machine is in no network; nothing was up".to_owned(),
            names => format!("down: {names}; `meshctl up` or a restart of meshd brings back what is down"),
        };
        Ok(Done { message })
    }

    pub(super) async fn up(&mut self) -> Result<Done, Problem> {
        self.start_all().await;
        if let Some(warning) = self.warnings.first() {
            return Err(Problem::new("start-failed", warning.clone()));
        }
        let message = match self.up_networks().join(", ") {
            none if none.is_empty() => {
                "this machine is in no network; join one with `meshctl join TOKEN`".to_owned()
            }
            names => format!("up: {names}"),
        };
        Ok(Done { message })
    }

    /// Leaving takes the network's task: it signs the departure and delivers it.
    pub(super) fn leave(&self, name: &str, reply: Reply<Done>) {
        let running = self.networks.values().find(|network| network.name() == name);
        match running {
            Some(network) => network.send(NetworkCommand::Leave(reply)),
            None => drop(reply.send(Err(Problem::new("not-a-member", self.not_running(name))))),
        }
    }

    /// Why there is no running network of this name, and what to do.
    fn not_running(&self, name: &str) -> String {
        if self.down_networks().iter().any(|down| down == name) {
            return format!(
                "{name} is down; run `meshctl up`, and leave it then, so that the others hear of it"
            );
        }
        let names = self.up_networks();
        match names.is_empty() {
            true => format!("this machine is in no network, so not in {name} either"),
            false => format!(
                "this machine is not in a network {name}; it is in {}",
                names.join(", ")
            ),
        }
    }
}
