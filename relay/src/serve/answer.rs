//! Answers: JSON on success, a [`Problem`] on failure, also where the web framework itself says no.

use std::convert::Infallible;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, body::Bytes};
use futures_util::stream;
use meshd_api::Problem;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::coordinator::Refusal;

/// An error answer.
#[derive(Debug, Clone)]
pub struct Failure {
    status: StatusCode,
    problem: Problem,
    close: bool,
}

/// What handlers return.
pub type Answer<T> = Result<T, Failure>;

/// A stream of JSON lines, for as long as whoever holds the other end of `reader` sends some.
pub fn lines(reader: mpsc::Receiver<Bytes>) -> Response {
    let lines = stream::unfold(reader, |mut reader| async {
        let line = reader.recv().await?;
        Some((Ok::<_, Infallible>(line), reader))
    });
    let kind = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (kind, axum::body::Body::from_stream(lines)).into_response()
}

impl Failure {
    /// With a status, a stable code and a sentence.
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            problem: Problem::new(code, message),
            close: false,
        }
    }

    /// Nobody showed who they are, or the proof does not hold. Closes the connection: a guess costs a handshake.
    pub fn unproven(message: impl Into<String>) -> Self {
        Self {
            close: true,
            ..Self::new(StatusCode::UNAUTHORIZED, "unproven", message)
        }
    }

    /// Only the host's own admin may do this.
    pub fn socket_only() -> Self {
        let sentence = "this is answered on the relay host's admin socket only; run meshctl there";
        Self::new(StatusCode::FORBIDDEN, "socket-only", sentence)
    }

    /// The request itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", message)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut failure = Self::new(status, refusal.code(), refusal.to_string());
        if let Refusal::Removed { proof, .. } = refusal {
            failure.problem.proof = Some(proof.encode().into());
        }
        failure
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.problem)).into_response();
        if self.close {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// A JSON body. Unlike axum's own, it does not ask for a content type and its refusals are [`Problem`]s.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| Failure::new(rejection.status(), "bad-request", rejection.body_text()))?;
        parse(&bytes).map(Self)
    }
}

/// A JSON body that was read; an empty one is an empty object.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes).map_err(|error| {
        Failure::bad_request(format!("the request's body is not what this path takes: {error}"))
    })
}

/// For paths that are not served.
pub async fn not_found() -> Failure {
    Failure::new(
        StatusCode::NOT_FOUND,
        "no-such-path",
        "this coordinator serves no such path; /v1/openapi.json lists them",
    )
}

/// For methods that a path does not have.
pub async fn wrong_method() -> Failure {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "no-such-method",
        "this path is not served with this method; /v1/openapi.json lists them",
    )
}
