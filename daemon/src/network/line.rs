//! The line to the coordinator, as a network's task holds it, and what is needed to speak on it.

use super::coordinator::{FromCoordinator, Identity, Line, Request, Targets};
use super::map::MapKeeper;
use crate::state::Membership;
use meshd_core::statement::{Params, Signed};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{Instrument, info_span};

/// Messages that may wait between the coordinator's line and the task.
const LINE_QUEUE: usize = 64;

/// The line to the coordinator, as the task sees it.
pub(super) struct Coordinator {
    pub requests: mpsc::Sender<Request>,
    pub events: mpsc::Receiver<FromCoordinator>,
    /// For what is said to the coordinator beside the line.
    pub sender: mpsc::Sender<FromCoordinator>,
    /// (epoch, version) of the map held, from which a new stream goes on.
    pub held: watch::Sender<(u32, u64)>,
    /// `connected`, or why not.
    pub state: String,
    /// Whether the present record was taken.
    pub published: watch::Sender<bool>,
}

/// The network's parameters: from the map where there is one, else from the join; none while approval is pending.
pub(super) fn params(membership: &Membership, map: &MapKeeper) -> Option<Params> {
    if let Some(view) = map.view() {
        return Some(view.params.clone());
    }
    let bytes = membership.allotted.as_ref()?.params.as_ref()?;
    Signed::<Params>::decode(bytes)
        .ok()
        .map(|signed| signed.value().clone())
}

/// Who this node is to coordinators and relays.
pub(super) fn identity(membership: &Membership) -> Identity {
    Identity {
        network: membership.network,
        node: membership.node,
        secret: membership.identity.clone(),
    }
}

/// Starts the line to the coordinator, from the map held (`at`; zeros ask for a whole one).
pub(super) fn start_line(
    membership: &Membership,
    at: (u32, u64),
    published: watch::Sender<bool>,
) -> (Coordinator, JoinSet<()>) {
    let (requests, receiver) = mpsc::channel(LINE_QUEUE);
    let (sender, events) = mpsc::channel(LINE_QUEUE);
    let targets = Targets {
        addresses: membership.addresses.clone(),
        pins: membership.coordinators.clone(),
    };
    let (held, watched) = watch::channel(at);
    let line = Line::new(identity(membership), targets, watched, receiver, sender.clone());
    let mut task = JoinSet::new();
    task.spawn(
        line.run()
            .instrument(info_span!("coordinator", network = %membership.name)),
    );
    (
        Coordinator {
            requests,
            events,
            sender,
            held,
            state: "connecting".into(),
            published,
        },
        task,
    )
}
