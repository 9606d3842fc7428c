//! Networks that this machine is in but that are down, and the verbs that change it: down, up, leave.

use super::{Reply, Supervisor};
use crate::network::{self, NetworkCommand, NetworkHandle};
use crate::state::Farewell;
use meshd_api::Problem;
use meshd_api::local::{Done, LeaveRequest, Out};
use meshd_core::id::NetworkId;
use meshd_core::map::Death;
use tracing::{info, warn};

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

    /// The networks that this machine was put out of.
    pub(super) fn out(&self) -> Vec<Out> {
        let farewells = self.state.farewells().into_values();
        farewells
            .map(|Farewell { network, sentence }| Out {
                name: network,
                why: sentence,
            })
            .collect()
    }

    /// Keeps for `status` why this machine is no longer in a network, until it joins again.
    pub(super) fn say_farewell(&self, id: NetworkId, network: String, death: Death) {
        let why = match death {
            Death::Removed => "an admin removed this node".to_owned(),
            Death::TokenRevoked(token) => {
                format!("an admin revoked token {token} and removed the nodes that came by it, this one too")
            }
            Death::Departed => "this node had left".to_owned(),
            Death::ReplacedBy(_) => {
                "another machine took this node's place (`meshctl node replace`)".to_owned()
            }
        };
        let sentence = format!(
            "{why}; its keys are dead and forgotten here. To come back as a new node: meshctl join TOKEN"
        );
        warn!("no longer in {network}: {sentence}");
        let farewell = Farewell { network, sentence };
        if let Err(error) = self.state.set_farewell(id, Some(farewell)) {
            warn!("{error}");
        }
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
    pub(super) fn leave(&self, request: &LeaveRequest, reply: Reply<Done>) {
        let name = request.network.as_str();
        let running = self.networks.iter().find(|(_, network)| network.name() == name);
        let mut farewells = self.state.farewells().into_iter();
        let farewell = farewells.find_map(|(id, farewell)| (farewell.network == name).then_some(id));
        let pods = running.and_then(|(_, network)| network.pods());
        if let Some(pods) = pods.filter(|pods| pods.leases() > 0 && !request.force) {
            tokio::spawn(refuse_for_pods(pods.clone(), name.to_owned(), reply));
            return;
        }
        match (running, farewell.and_then(|id| id.parse().ok())) {
            (Some((id, network)), _) => match self.state.network(*id).mark_leaving() {
                Ok(()) => network.send(NetworkCommand::Leave(reply)),
                Err(error) => {
                    let sentence = format!("cannot leave {name}, and still in it: {error}");
                    drop(reply.send(Err(Problem::new("state", sentence))));
                }
            },
            (None, Some(out)) => drop(reply.send(self.forget_farewell(out, name))),
            (None, None) => drop(reply.send(Err(Problem::new("not-a-member", self.not_running(name))))),
        }
    }

    /// Forgets a network whose task has left it; the answer for the person who said so.
    pub(super) fn left(&mut self, id: NetworkId, answer: Result<Done, Problem>) -> Result<Done, Problem> {
        self.networks.remove(&id);
        self.forget_template();
        let forgotten = self.state.network(id).forget();
        match (forgotten, answer) {
            (Ok(()), answer) => {
                info!(network = %id, "left the network; its keys are forgotten");
                answer
            }
            (Err(error), Ok(done)) => {
                warn!("{error}");
                let sentence = format!(
                    "{}, and meshd does not come back into it; but its keys cannot be deleted: {error}",
                    done.message
                );
                Err(Problem::new("state", sentence))
            }
            (Err(_), Err(problem)) => Err(problem),
        }
    }

    /// What a process that was killed while it left did not come to.
    pub(super) fn finish_leaving(&self) {
        for membership in self.state.half_left() {
            if self.networks.contains_key(&membership.network) {
                continue;
            }
            info!(network = %membership.name, "this node was leaving when meshd ended; that is finished now");
            let files = self.state.network(membership.network);
            network::depart_at_last(membership, files);
        }
    }

    /// Whoever was put out and says that it leaves has read why.
    fn forget_farewell(&self, id: NetworkId, name: &str) -> Result<Done, Problem> {
        let forgotten = self.state.set_farewell(id, None);
        forgotten.map_err(|error| Problem::new("state", error.to_string()))?;
        Ok(Done {
            message: format!("this machine was out of {name} already; status no longer says so"),
        })
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

/// How many pods are named; the rest are counted.
const NAMED: usize = 8;

/// Who leaves takes the network away from its pods, which a person should not do unawares.
async fn refuse_for_pods(pods: crate::pods::Handle, network: String, reply: Reply<Done>) {
    let all = pods.named().await;
    let mut named = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > NAMED {
        named += &format!(" and {} more", all.len() - NAMED);
    }
    let sentence = format!(
        "still in {network}: pods are connected through it here ({named}); drain this node first (kubectl drain), or add --force, \
         which disconnects them"
    );
    let _ = reply.send(Err(Problem::new("pods-left", sentence)));
}
