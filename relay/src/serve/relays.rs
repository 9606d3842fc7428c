//! The API for relays on other hosts.

use axum::extract::{Query, State};
use axum::response::Response;
use meshd_core::id::{NetworkId, NodeId};
use serde::Deserialize;

use super::answer::{Answer, lines};
use super::proof::{Claim, promote};
use crate::coordinator::Coordinator;

/// Where the relay listens: `host:port` or `:port`, with commas between.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Listens {
    udp: String,
    tls: String,
}

/// `GET /v1/relays/stream`: lines without end.
pub async fn stream(
    State(coordinator): State<Coordinator>,
    claim: Claim,
    Query(listens): Query<Listens>,
) -> Answer<Response> {
    let Claim {
        proof,
        exporter,
        session,
    } = claim;
    let member: (NetworkId, NodeId) = (proof.network, proof.node);
    let id = coordinator
        .call(move |state| state.authenticate_relay(&proof, &exporter))
        .await?;
    promote(&session, member.0, member.1)?;
    let reader = coordinator
        .call(move |state| state.open_relay_stream(id, session, (&listens.udp, &listens.tls)))
        .await?;
    Ok(lines(reader))
}
