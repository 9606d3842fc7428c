//! Who asks: a node by its identity key, an admin by the socket or by a network's root key.

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use axum::{RequestPartsExt, body::Body};
use meshd_core::auth::{AdminAuthorization, AdminRequest, EXPORTER_LEN, NodeAuthorization};
use meshd_core::id::{NetworkId, NodeId};

use super::answer::Failure;
use super::session::{Origin, Session};
use crate::coordinator::Coordinator;

/// Most bytes of an admin's request over TLS; it is read before the proof is checked.
const MAX_ADMIN_BODY: usize = 64 * 1024;

/// A node's proof, not yet held against its identity.
#[derive(Debug, Clone)]
pub struct Claim {
    /// What it claims.
    pub proof: NodeAuthorization,
    /// Keying material of the session.
    pub exporter: [u8; EXPORTER_LEN],
    /// The connection.
    pub session: Session,
}

impl<S: Send + Sync> FromRequestParts<S> for Claim {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let session = parts.extensions.get::<Session>().cloned();
        let session = session.ok_or_else(|| Failure::unproven("no session"))?;
        let exporter = session
            .tls()
            .ok_or_else(|| Failure::unproven("nodes speak TLS"))?
            .exporter;
        let header = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let header = header.ok_or_else(|| Failure::unproven("the request has no Authorization header"))?;
        let proof = header
            .parse()
            .map_err(|error: meshd_core::auth::MalformedAuthorization| {
                Failure::unproven(error.to_string())
            })?;
        Ok(Self {
            proof,
            exporter,
            session,
        })
    }
}

/// A node that is in the network of the path, and proved it.
#[derive(Debug, Clone)]
pub struct Member {
    /// The network.
    pub network: NetworkId,
    /// The node.
    pub node: NodeId,
    /// The connection.
    pub session: Session,
}

impl FromRequestParts<Coordinator> for Member {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, coordinator: &Coordinator) -> Result<Self, Failure> {
        let Claim {
            proof,
            exporter,
            session,
        } = Claim::from_request_parts(parts, coordinator).await?;
        check_network(parts, &proof).await?;
        let (network, node) = (proof.network, proof.node);
        coordinator
            .call(move |state| state.authenticate(&proof, &exporter))
            .await?;
        promote(&session, network, node)?;
        Ok(Self {
            network,
            node,
            session,
        })
    }
}

/// The network of the path must be the one that the proof is for.
pub async fn check_network(parts: &mut Parts, proof: &NodeAuthorization) -> Result<(), Failure> {
    let Path(id) = parts
        .extract::<Path<String>>()
        .await
        .map_err(|error| Failure::bad_request(error.body_text()))?;
    match id.parse::<NetworkId>() {
        Ok(id) if id == proof.network => Ok(()),
        Ok(_) => Err(Failure::unproven("the proof is for another network")),
        Err(error) => Err(Failure::bad_request(error.to_string())),
    }
}

/// From now on the connection counts against this node.
pub fn promote(session: &Session, network: NetworkId, node: NodeId) -> Result<(), Failure> {
    match session.promote((network, node)) {
        true => Ok(()),
        false => Err(Failure::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-connections",
            "this node has too many connections open; close some",
        )),
    }
}

/// An admin: over the socket of everything, over TLS of one network.
#[derive(Debug, Clone, Copy)]
pub struct Admin {
    /// The one network whose root key signed; none over the admin socket.
    pub only: Option<NetworkId>,
}

impl Admin {
    /// Refuses what only the host's own admin may do.
    pub fn on_host(&self) -> Result<(), Failure> {
        match self.only {
            None => Ok(()),
            Some(_) => Err(Failure::socket_only()),
        }
    }

    /// Refuses networks of others.
    pub fn of(&self, network: NetworkId) -> Result<(), Failure> {
        match self.only {
            Some(only) if only != network => Err(Failure::unproven(
                "the request is signed by another network's root key",
            )),
            _ => Ok(()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        parts
            .extensions
            .get::<Self>()
            .copied()
            .ok_or_else(|| Failure::unproven("not an admin's request"))
    }
}

/// Lets admins through, and nobody else.
pub async fn admins_only(
    State(coordinator): State<Coordinator>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let session = request.extensions().get::<Session>().cloned();
    match session.as_ref().map(Session::origin) {
        Some(Origin::AdminSocket { .. }) => {
            let mut request = request;
            request.extensions_mut().insert(Admin { only: None });
            Ok(next.run(request).await)
        }
        Some(Origin::Tls(tls)) if tls.admin => {
            let exporter = tls.exporter;
            let request = signed_by_root(coordinator, request, exporter).await?;
            Ok(next.run(request).await)
        }
        _ => Err(Failure::new(
            StatusCode::FORBIDDEN,
            "admin-not-here",
            "admin requests are not answered here: use the relay host's admin socket, or start meshrelay with --admin-public",
        )),
    }
}

async fn signed_by_root(
    coordinator: Coordinator,
    request: Request,
    exporter: [u8; EXPORTER_LEN],
) -> Result<Request, Failure> {
    let (mut parts, body) = request.into_parts();
    let header = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let header =
        header.ok_or_else(|| Failure::unproven("the admin request is not signed: give --admin-key-file"))?;
    let proof: AdminAuthorization = header
        .parse()
        .map_err(|error: meshd_core::auth::MalformedAuthorization| Failure::unproven(error.to_string()))?;
    let bytes = axum::body::to_bytes(body, MAX_ADMIN_BODY).await;
    let bytes =
        bytes.map_err(|_| Failure::bad_request("the request's body is cut off, or longer than 64 KiB"))?;
    let (method, path) = (parts.method.to_string(), parts.uri.to_string());
    let (only, signed) = (proof.network, bytes.clone());
    coordinator
        .call(move |state| {
            let request = AdminRequest {
                exporter: &exporter,
                method: &method,
                path: &path,
                body: &signed,
            };
            state.authenticate_admin(&proof, &request)
        })
        .await?;
    if let Some(session) = parts.extensions.get::<Session>() {
        // an admin is nobody's node: all admins of a network count as one
        promote(session, only, NodeId::from_bytes([0; 16]))?;
    }
    parts.extensions.insert(Admin { only: Some(only) });
    Ok(Request::from_parts(parts, Body::from(bytes)))
}
