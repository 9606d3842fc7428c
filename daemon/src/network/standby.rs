//! A network whose identity may be another machine's. Two come here: who starts on another machine than the identity last ran
//! on (a copied disk, a board that was swapped), and who was told to be the clone of a node that is alive. With the same keys,
//! each packet of a clone would cost its original one.
//!
//! Nobody is silenced for good: the coordinator is asked again and again, and lets in whoever is alone. Where it cannot be reached,
//! nobody can say, and a node that is needed must not wait for it: after [`PATIENCE`] at a start, and [`PATIENCE_OF_REFUSED`]
//! after the last refusal, this machine speaks.

use super::from_coordinator::is_of_a_template;
use super::map::MapKeeper;
use super::waiting::Reason;
use crate::machine;
use crate::state::{Membership, NetworkFiles};
use crate::supervisor::Ending;
use meshd_api::Problem;
use meshd_api::local::NetworkStatus;
use meshd_core::admission::Facts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;
use tokio::time::Instant;
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

/// Leave to speak, waited for.
pub(super) struct Silence {
    files: NetworkFiles,
    doubt: Doubt,
    /// When it speaks although nobody said that it may.
    patience: Instant,
}

impl Silence {
    /// Begins now.
    pub(super) fn begin(membership: &Membership, files: NetworkFiles, doubt: Doubt) -> Self {
        match &doubt {
            Doubt::OtherMachine => {
                info!(network = %membership.name, "this is another machine than before; the coordinator is asked first")
            }
            Doubt::Refused(_) => warn!(network = %membership.name, "this machine is silent: it is a clone"),
        }
        let patience = Instant::now() + PATIENCE;
        Self {
            files,
            doubt,
            patience,
        }
    }
}

impl Reason for Silence {
    const SILENT: bool = true;

    /// Only who was let in is given a map; the map itself is fetched again by who speaks.
    fn lets_in(&mut self, membership: &Membership, _: &[u8]) -> bool {
        info!(network = %membership.name, "the coordinator lets this machine speak");
        remember(membership, &self.files, None);
        true
    }

    /// Of the coordinator's refusals those about clones keep this machine silent; for the others the whole task has an answer.
    fn refused(&mut self, membership: &Membership, problem: &Problem) -> ControlFlow<Ending> {
        match problem.code.as_str() {
            "clone-new-identity" if is_of_a_template(membership) => {
                return ControlFlow::Break(Ending::NewIdentity);
            }
            "clone" | "clone-new-identity" => {
                self.patience = Instant::now() + PATIENCE_OF_REFUSED;
                let refused = Doubt::Refused(problem.message.clone());
                if self.doubt != refused {
                    warn!(network = %membership.name, "{problem}");
                    remember(membership, &self.files, Some(problem.message.clone()));
                    self.doubt = refused;
                }
            }
            "unknown-node" | "reallotted" => return ControlFlow::Break(Ending::MaySpeak(Vec::new())),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn patience(&self) -> Option<Instant> {
        Some(self.patience)
    }

    /// A clone forgets, and does not leave in the name of its original.
    fn departs(&self, membership: &Membership) -> Result<u64, String> {
        match &self.doubt {
            Doubt::Refused(_) => Err(format!(
                "{} is forgotten here; this machine was a clone, and its original stays in",
                membership.name
            )),
            Doubt::OtherMachine => {
                let map = MapKeeper::load(membership, self.files.clone());
                Ok(map.serial_of(membership.node))
            }
        }
    }

    fn no_paths(&self, _: &Membership) -> Problem {
        let sentence = "this machine is silent until the coordinator lets it in: `meshctl status` says why";
        Problem::new("clone", sentence)
    }

    fn warning(&self, status: &NetworkStatus) -> String {
        match &self.doubt {
            Doubt::Refused(sentence) => {
                let name = &status.name;
                format!("{sentence}. This machine is silent until then; here it is `meshctl leave {name}`")
            }
            Doubt::OtherMachine => {
                "this is another machine than the one that was this node; it is silent until the coordinator has said whether that one is alive"
                    .to_owned()
            }
        }
    }
}
