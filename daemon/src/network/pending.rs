//! A node that waits for an admin's approval. The first map that comes is the approval.

use super::coordinator::Request;
use super::map::MapKeeper;
use super::record::{Changing, Progress, Recorder};
use super::waiting::Reason;
use crate::machine;
use crate::state::{Membership, NetworkFiles};
use meshd_api::Problem;
use meshd_api::local::NetworkStatus;
use tracing::{info, warn};

/// An admin's approval, waited for.
pub(super) struct Approval {
    map: MapKeeper,
    recorder: Recorder,
}

impl Approval {
    /// `None` where the coordinator has not answered the join yet.
    pub(super) fn of(membership: &Membership, files: NetworkFiles, map: MapKeeper) -> Option<Self> {
        let allotted = membership.allotted.as_ref()?;
        let port = Progress::load(&files)
            .port
            .or(allotted.listen_port)
            .unwrap_or_default();
        let addresses = (allotted.ipv4, allotted.ipv6);
        let held = map.serial_of(membership.node);
        let recorder = Recorder::new(files, port, held, &allotted.hostname, addresses);
        Some(Self { map, recorder })
    }
}

impl Reason for Approval {
    const SILENT: bool = false;

    /// The record waits there with the node, so that the approval makes it whole at once.
    fn greeting(&mut self, membership: &Membership) -> Option<Request> {
        let record = self.recorder.next(membership, Changing::default(), true)?.ok()?;
        Some(Request::Record(record, machine::hashed_facts(membership.network)))
    }

    fn lets_in(&mut self, membership: &Membership, map: &[u8]) -> bool {
        let taken = self.map.take_full(map);
        match &taken {
            Ok(_) => info!(network = %membership.name, "an admin approved this node"),
            Err(error) => warn!("the coordinator's map is refused: {error}"),
        }
        taken.is_ok()
    }

    fn departs(&self, membership: &Membership) -> Result<u64, String> {
        Ok(self.map.serial_of(membership.node))
    }

    fn no_paths(&self, membership: &Membership) -> Problem {
        let sentence = format!("an admin has not let this node into {} yet", membership.name);
        Problem::new("pending", sentence)
    }

    fn warning(&self, status: &NetworkStatus) -> String {
        let (node, network) = (&status.hostname, &status.name);
        format!(
            "waits for an admin: `meshctl node approve {node} --network {network}` on the coordinator's host"
        )
    }
}
