//! `GET /v1/relay`: a connection that becomes a stream of relay frames (docs/wire.md section 6).

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use meshd_api::coordinator::RELAY_PROTOCOL;
use meshd_core::id::{NetworkId, NodeId};
use tracing::debug;

use super::answer::{Answer, Failure};
use super::proof::{Claim, promote};
use super::session::Session;
use crate::coordinator::Coordinator;
use crate::packets::streams::StreamEntry;

/// `GET /v1/relay` on the coordinator: for the nodes of its networks.
pub async fn relay(
    State(coordinator): State<Coordinator>,
    Extension(streams): Extension<StreamEntry>,
    claim: Claim,
    request: Request,
) -> Answer<Response> {
    let Claim {
        proof,
        exporter,
        session,
    } = claim;
    let (network, node) = (proof.network, proof.node);
    coordinator
        .call(move |state| state.authenticate(&proof, &exporter))
        .await?;
    upgrade(request, session, (network, node), &streams)
}

/// Switches the connection of a node that has proven itself to relay frames.
pub fn upgrade(
    mut request: Request,
    session: Session,
    (network, node): (NetworkId, NodeId),
    streams: &StreamEntry,
) -> Answer<Response> {
    let asks = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    if asks(header::UPGRADE) != Some(RELAY_PROTOCOL) {
        let text = format!("this path is for connections that become {RELAY_PROTOCOL}: ask with Upgrade");
        return Err(Failure::new(StatusCode::UPGRADE_REQUIRED, "upgrade", text));
    }
    promote(&session, network, node)?;
    let Some(switched) = request.extensions_mut().remove::<OnUpgrade>() else {
        return Err(Failure::bad_request("this connection cannot be upgraded"));
    };
    let Some(place) = streams.enter(network, node) else {
        let text = "this relay has as many connections over TLS as it can carry; try another, or later";
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "relay-full", text));
    };
    let streams = streams.clone();
    tokio::spawn(async move {
        match switched.await {
            // the session holds the connection's place among all connections
            Ok(io) => streams.carry(place, TokioIo::new(io), session),
            Err(cause) => debug!(%cause, "the connection did not become a stream"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(RELAY_PROTOCOL));
    Ok(response)
}
