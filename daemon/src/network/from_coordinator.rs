//! What the coordinator says, and what is said to it.

use super::coordinator::{FromCoordinator, Request, connect_any, deliver};
use super::line::start_line;
use super::map::MapKeeper;
use super::standby;
use super::task::Task;
use crate::machine;
use crate::state::{Membership, NetworkFiles};
use crate::supervisor::Ending;
use meshd_api::Problem;
use meshd_api::client::ClientError;
use meshd_api::coordinator::node::{Relay, StreamLine};
use meshd_api::local::Done;
use meshd_core::map::{Body, Changes, Death, Entry, MapError, NodeEntry, RemovalProof};
use meshd_core::statement::{Delegation, Departure, Enrolment, Signed};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// How long leaving waits for the coordinator before it leaves without a word.
const GOODBYE: Duration = Duration::from_secs(5);

/// How long, and how often, a departure that a killed process owed is offered to the coordinator.
const LAST_TRIES: Duration = Duration::from_secs(600);
const LAST_PAUSE: Duration = Duration::from_secs(2);

impl Task {
    /// One word of the coordinator. Breaks where this node is no longer in the network.
    pub(super) async fn coordinator_said(&mut self, word: FromCoordinator) -> ControlFlow<Ending> {
        match word {
            FromCoordinator::Connected { .. } => {
                info!("connected to the coordinator");
                self.coordinator.state = "connected".into();
                standby::remember(&self.membership, &self.files, None);
                self.publish(true);
                self.ask_ingress_anew();
            }
            FromCoordinator::Down { why, problem } => {
                let refused = problem
                    .as_ref()
                    .map_or(ControlFlow::Continue(()), |problem| self.shut_out(problem));
                if refused.is_break() {
                    return refused;
                }
                if self.coordinator.state != why {
                    warn!("the coordinator is away: {why}; traffic goes on");
                }
                self.coordinator.state = why;
            }
            FromCoordinator::Line(line) => return self.line(line).await,
            FromCoordinator::Accepted(Request::Record(..)) => {
                self.coordinator.published.send_replace(true);
            }
            FromCoordinator::Accepted(_) => {}
            FromCoordinator::Ingress(ask, given) => self.ingress_given(ask, given),
            FromCoordinator::PartsTaken(taken) => self.parts_taken(taken.taken, &taken.refused),
            FromCoordinator::Refused(request, problem) => {
                return self.refused(&request, &problem);
            }
        }
        ControlFlow::Continue(())
    }

    async fn line(&mut self, line: StreamLine) -> ControlFlow<Ending> {
        match line {
            StreamLine::Hello { relays, .. } => self.take_relays(&relays).await,
            StreamLine::Full { map } => {
                let before = self.map.at();
                let taken = self.map.take_full(&map.0);
                return self.took(taken, before);
            }
            StreamLine::Delta { .. } => {
                let before = self.map.at();
                let taken = self.map.take_delta(&line);
                return self.took(taken, before);
            }
            StreamLine::Ping { nonce, answer } => {
                if answer {
                    self.ask(Request::Pong(nonce));
                }
            }
            StreamLine::Notice { code, message } => {
                warn!(%code, "{message}");
                self.note(message);
            }
        }
        ControlFlow::Continue(())
    }

    fn took(&mut self, taken: Result<Changes, MapError>, before: (u32, u64)) -> ControlFlow<Ending> {
        match taken {
            Ok(changes) => {
                let at = self.map.at();
                debug!(epoch = at.0, version = at.1, "took a map");
                self.coordinator.held.send_replace(at);
                for refusal in &changes.refusals {
                    warn!("{refusal}");
                }
                if before != (0, 0) && at.0 > before.0 {
                    info!("the coordinator opened a new epoch; it is told what this node can prove");
                    self.ask(Request::Entries(self.map.testimony()));
                }
                self.map_changed();
                if let Some(death) = self.map.death_of(self.membership.node) {
                    return ControlFlow::Break(Ending::Out(death));
                }
            }
            Err(error) if error.wants_full() && before != (0, 0) => {
                debug!(%error, "the whole map is asked for");
                self.start_line_anew();
            }
            Err(error) => {
                warn!("the coordinator's map is refused: {error}");
                self.note(format!("the coordinator's map is refused: {error}"));
            }
        }
        ControlFlow::Continue(())
    }

    /// Drops the line and opens another that asks for the whole map.
    fn start_line_anew(&mut self) {
        let published = self.coordinator.published.clone();
        (self.coordinator, self.line) = start_line(&self.membership, (0, 0), published);
    }

    fn refused(&mut self, request: &Request, problem: &Problem) -> ControlFlow<Ending> {
        let Problem { code, message, .. } = problem;
        warn!(%code, "the coordinator refused {}: {message}", request.what());
        let shut_out = self.shut_out(problem);
        if shut_out.is_break() {
            return shut_out;
        }
        if code == "stale-serial" {
            self.recorder.jump_past(self.map.serial_of(self.membership.node));
            self.publish(true);
        }
        self.note(format!("the coordinator refused {}: {message}", request.what()));
        ControlFlow::Continue(())
    }

    /// What follows where the coordinator does not know this node as it is: docs/api.md has the codes. Nothing is forgotten
    /// on its word alone: it may have been broken into.
    fn shut_out(&mut self, problem: &Problem) -> ControlFlow<Ending> {
        match problem.code.as_str() {
            // It was restored from a backup that is older than this node: it is shown this node's chain.
            "unknown-node" => self.introduce(),
            "reallotted" => return ControlFlow::Break(Ending::Rejoin),
            "clone-new-identity" if is_of_a_template(&self.membership) => {
                return ControlFlow::Break(Ending::NewIdentity);
            }
            "clone" | "clone-new-identity" => {
                let sentence = problem.message.clone();
                standby::remember(&self.membership, &self.files, Some(sentence.clone()));
                return ControlFlow::Break(Ending::Refused(sentence));
            }
            "node-removed" => match proven_death(problem, &self.membership) {
                Some(death) => return ControlFlow::Break(Ending::Out(death)),
                None => self.note(format!(
                "the coordinator says that this node is out ({problem}), and shows no proof of it; nothing is forgotten. If it is \
                 true: meshctl leave {}",
                self.membership.name
            )),
            },
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// Sends this node's chain over a connection of its own; the line comes back by itself.
    fn introduce(&mut self) {
        let changing = self.paths.changing(&self.agent);
        let Some(Ok(record)) = self.recorder.next(&self.membership, changing, true) else {
            return;
        };
        let chain = own_chain(&self.membership.enrolment, &record, &self.allotted().delegation);
        let Some(chain) = chain else {
            return warn!("this node's own chain cannot be read");
        };
        info!("the coordinator does not know this node; it is shown how this node came in");
        let (membership, events) = (self.membership.clone(), self.coordinator.sender.clone());
        tokio::spawn(async move {
            let request = Request::Entries(chain);
            match deliver_anew(&membership, &request).await {
                // it knows this node after all, and that it is out
                Err(ClientError::Refused { problem, .. }) if problem.code == "node-removed" => {
                    let _ = events.send(FromCoordinator::Refused(request, problem)).await;
                }
                Err(error) => debug!(%error, "the coordinator did not take it"),
                Ok(()) => {}
            }
        });
    }

    async fn take_relays(&mut self, relays: &[Relay]) {
        self.carriers
            .set_relays(super::paths::over_tls(relays, &self.membership.coordinators));
        self.checks.set_relays(Instant::now(), relays);
        let relays = super::paths::resolve_relays(relays).await;
        self.use_relays(relays);
    }

    /// Sends the record where it says something new, or `again`.
    pub(super) fn publish(&mut self, again: bool) {
        let changing = self.paths.changing(&self.agent);
        match self.recorder.next(&self.membership, changing, again) {
            Some(Ok(record)) => {
                let facts = machine::hashed_facts(self.membership.network);
                self.coordinator.published.send_replace(false);
                self.ask(Request::Record(record, facts));
            }
            Some(Err(error)) => warn!(%error, "this node's record cannot be signed"),
            None => {}
        }
    }

    /// A line that is full has a coordinator that is away; what matters is asked again when it is back.
    fn ask(&self, request: Request) {
        if self.coordinator.requests.try_send(request).is_err() {
            debug!("the line to the coordinator is full");
        }
    }

    /// Leaves, under the name that it has now.
    pub(super) async fn leave(&mut self) -> Result<Done, Problem> {
        let serial = self.map.serial_of(self.membership.node);
        depart(&self.membership, serial, &self.present_name()).await
    }
}

/// Signs and delivers this node's departure; without the coordinator the others learn of it from nobody. `serial` is that of
/// its last record.
pub(super) async fn depart(m: &Membership, serial: u64, hostname: &str) -> Result<Done, Problem> {
    let why = match tokio::time::timeout(GOODBYE, tell_departure(m, serial)).await {
        Ok(Ok(())) => None,
        Ok(Err(ClientError::Refused { problem, .. })) if problem.code == "clone" => {
            let message = format!("{} is forgotten here, and its node stays in: {problem}", m.name);
            return Ok(Done { message });
        }
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("it did not answer within {} s", GOODBYE.as_secs())),
    };
    let name = &m.name;
    let message = match why {
        None => format!("left {name}"),
        Some(why) => format!(
            "left {name} without telling the coordinator ({why}); `meshctl node remove {hostname} --network {name}` tells it"
        ),
    };
    Ok(Done { message })
}

/// Signs and delivers the departure; that it is out already, or that there is no such network any more, is as good.
async fn tell_departure(m: &Membership, serial: u64) -> Result<(), ClientError> {
    let departure = Departure {
        network: m.network,
        node: m.node,
        serial: serial + 1,
    };
    let signed = Signed::sign(departure, &m.identity).expect("a departure has no limits to break");
    match deliver_anew(m, &Request::Leave(signed.bytes().to_vec())).await {
        Err(ClientError::Refused { problem, .. })
            if ["node-removed", "unknown-node", "unknown-network"].contains(&problem.code.as_str()) =>
        {
            Ok(())
        }
        told => told,
    }
}

/// Finishes what a process that was killed while it left did not come to: the keys are forgotten at once, and the coordinator
/// is told as soon as it can be, within `LAST_TRIES`.
pub fn depart_at_last(membership: Membership, files: NetworkFiles) {
    let serial = MapKeeper::load(&membership, files.clone()).serial_of(membership.node);
    if let Err(error) = files.forget() {
        warn!("{error}");
    }
    tokio::spawn(async move {
        for _ in 0..LAST_TRIES.as_secs() / LAST_PAUSE.as_secs() {
            match tokio::time::timeout(GOODBYE, tell_departure(&membership, serial)).await {
                Ok(Ok(())) => return info!(network = %membership.name, "left the network"),
                Ok(Err(error @ ClientError::Refused { .. })) => return warn!("{error}"),
                Ok(Err(error)) => debug!(%error, "the coordinator does not know yet that this node left"),
                Err(_) => {}
            }
            tokio::time::sleep(LAST_PAUSE).await;
        }
    });
}

/// Whether this node came by a template's token, so that it may be a clone.
pub(super) fn is_of_a_template(m: &Membership) -> bool {
    let delegation = m
        .allotted
        .as_ref()
        .and_then(|allotted| Signed::<Delegation>::decode(&allotted.delegation).ok());
    delegation.is_some_and(|delegation| delegation.value().terms.template)
}

/// Over a connection of its own: the line may be down, or about to be dropped.
async fn deliver_anew(m: &Membership, request: &Request) -> Result<(), ClientError> {
    let mut connection = connect_any(m).await.map_err(|mut failures| {
        failures.pop().unwrap_or_else(|| ClientError::Broken {
            address: "the coordinator".into(),
            cause: "no address of it is known".into(),
        })
    })?;
    deliver(&mut connection, m.network, request).await
}

/// The map entries that prove one node: its token's delegation, its enrolment and its record.
fn own_chain(enrolment: &[u8], record: &[u8], delegation: &[u8]) -> Option<Vec<Vec<u8>>> {
    let node = NodeEntry {
        enrolment: Signed::decode(enrolment).ok()?,
        record: Signed::decode(record).ok()?,
    };
    let entries = [
        Body::Delegation(Signed::decode(delegation).ok()?),
        Body::Node(node),
    ];
    Some(
        entries
            .into_iter()
            .map(|body| Entry::from(body).encode())
            .collect(),
    )
}

/// Why this node is out for good, where the refusal proves it; a coordinator's word alone proves nothing.
pub(super) fn proven_death(problem: &Problem, membership: &Membership) -> Option<Death> {
    let proof = RemovalProof::decode(&problem.proof.as_ref()?.0).ok()?;
    let own = Signed::<Enrolment>::decode(&membership.enrolment).ok()?;
    proof.death_of(&membership.root, own.value())
}
