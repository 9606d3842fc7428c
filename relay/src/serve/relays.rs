//! The API for relays on other hosts.

use std::convert::Infallible;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use meshd_core::id::{NetworkId, NodeId};
use serde::Deserialize;

use super::answer::Answer;
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
    let lines = stream::unfold(reader, |mut reader| async {
        let line: Bytes = reader.recv().await?;
        Some((Ok::<_, Infallible>(line), reader))
    });
    let kind = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((kind, axum::body::Body::from_stream(lines)).into_response())
}
