//! Which path is served by whom.

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};

use super::answer::{Failure, not_found, wrong_method};
use super::proof::admins_only;
use super::{admins, nodes};
use crate::coordinator::Coordinator;

/// How long a request may take until its answer starts, its body included.
const REQUEST_TIME: Duration = Duration::from_secs(20);

/// The whole API. Who may ask what is decided per request, by its session.
pub fn router(coordinator: Coordinator) -> Router {
    let of_nodes = Router::new()
        .route("/v1/join", post(nodes::join))
        .route("/v1/join/preview", post(nodes::preview))
        .route("/v1/networks/{id}/record", put(nodes::put_record))
        .route("/v1/networks/{id}/leave", post(nodes::leave))
        .route("/v1/networks/{id}/statements", post(nodes::statements))
        .route("/v1/networks/{id}/pong", post(nodes::pong))
        .route("/v1/networks/{id}/map", get(nodes::map))
        .layer(DefaultBodyLimit::max(nodes::MAX_BODY));
    let of_admins = Router::new()
        .route(
            "/v1/admin/networks",
            get(admins::list_networks).post(admins::create_network),
        )
        .route(
            "/v1/admin/networks/{network}",
            get(admins::show_network).delete(admins::delete_network),
        )
        .route(
            "/v1/admin/networks/{network}/tokens",
            get(admins::list_tokens).post(admins::create_token),
        )
        .route(
            "/v1/admin/networks/{network}/tokens/{token}/revoke",
            post(admins::revoke_token),
        )
        .route("/v1/admin/networks/{network}/nodes", get(admins::list_nodes))
        .route(
            "/v1/admin/networks/{network}/nodes/{node}",
            get(admins::show_node),
        )
        .route(
            "/v1/admin/networks/{network}/nodes/{node}/approve",
            post(admins::approve_node),
        )
        .route(
            "/v1/admin/networks/{network}/nodes/{node}/remove",
            post(admins::remove_node),
        )
        .route(
            "/v1/admin/networks/{network}/nodes/{node}/rename",
            post(admins::rename_node),
        )
        .route(
            "/v1/admin/networks/{network}/nodes/{node}/replace",
            post(admins::replace_node),
        )
        .route("/v1/admin/networks/{network}/names/free", post(admins::free_name))
        .layer(middleware::from_fn_with_state(coordinator.clone(), admins_only));
    Router::new()
        .merge(of_nodes)
        .merge(of_admins)
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(in_time))
        .with_state(coordinator)
}

/// Gives up on a request whose body does not come, or that is stuck.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIME, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let text = "the request took longer than 20 s; try again";
            Failure::new(StatusCode::REQUEST_TIMEOUT, "too-slow", text).into_response()
        }
    }
}
