//! Prefixes that nodes have besides their addresses: pods', granted ones.

use axum::Json;
use axum::extract::{Path, State};
use meshd_api::coordinator::admin::{Done, GrantSet, NetworkPods, NodePods};

use super::{Write, change};
use crate::coordinator::Coordinator;
use crate::serve::answer::Answer;

/// `POST /v1/admin/networks/{network}/pods`.
pub async fn set_pods(
    State(coordinator): State<Coordinator>,
    Path(network): Path<String>,
    write: Write<NetworkPods>,
) -> Answer<Json<Done>> {
    change(&coordinator, network, write, |state, id, wanted| {
        state.set_pods(id, wanted)
    })
    .await
}

/// `POST /v1/admin/networks/{network}/nodes/{node}/pods`.
pub async fn give_pods(
    State(coordinator): State<Coordinator>,
    Path((network, node)): Path<(String, String)>,
    write: Write<NodePods>,
) -> Answer<Json<Done>> {
    change(&coordinator, network, write, move |state, id, wanted| {
        state.give_pods(id, &node, wanted)
    })
    .await
}

/// `POST /v1/admin/networks/{network}/grants`.
pub async fn set_grant(
    State(coordinator): State<Coordinator>,
    Path(network): Path<String>,
    write: Write<GrantSet>,
) -> Answer<Json<Done>> {
    change(&coordinator, network, write, |state, id, wanted| {
        state.set_grant(id, wanted)
    })
    .await
}
