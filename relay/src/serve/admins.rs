//! The API for admins: thin; what happens is the coordinator's.

use axum::Json;
use axum::extract::{Path, State};
use meshd_api::coordinator::admin::{
    Done, NameFree, NetworkCreate, NetworkInfo, NodeAct, NodeInfo, TokenCreate, TokenCreated, TokenInfo,
    TokenRevoke,
};
use meshd_core::id::NetworkId;

use super::answer::{Answer, Body};
use super::proof::Admin;
use crate::coordinator::{Coordinator, Refusal, State as Everything};

/// Does something in a network that the admin may administer.
async fn within<T, F>(coordinator: &Coordinator, admin: Admin, network: String, work: F) -> Answer<T>
where
    T: Send + 'static,
    F: FnOnce(&mut Everything, NetworkId) -> Result<T, Refusal> + Send + 'static,
{
    let id = coordinator.call(move |state| state.network_id(&network)).await?;
    admin.of(id)?;
    Ok(coordinator.call(move |state| work(state, id)).await?)
}

fn done(message: String) -> Json<Done> {
    Json(Done { message })
}

/// `GET /v1/admin/networks`.
pub async fn list_networks(
    State(coordinator): State<Coordinator>,
    admin: Admin,
) -> Answer<Json<Vec<NetworkInfo>>> {
    Ok(Json(
        coordinator
            .call(move |state| state.list_networks(admin.only))
            .await?,
    ))
}

/// `POST /v1/admin/networks`.
pub async fn create_network(
    State(coordinator): State<Coordinator>,
    admin: Admin,
    Body(wanted): Body<NetworkCreate>,
) -> Answer<Json<NetworkInfo>> {
    admin.on_host()?;
    Ok(Json(
        coordinator
            .call(move |state| state.create_network(&wanted))
            .await?,
    ))
}

/// `GET /v1/admin/networks/{network}`.
pub async fn show_network(
    State(coordinator): State<Coordinator>,
    admin: Admin,
    Path(network): Path<String>,
) -> Answer<Json<NetworkInfo>> {
    within(&coordinator, admin, network, |state, id| state.show_network(id))
        .await
        .map(Json)
}

/// `DELETE /v1/admin/networks/{network}`.
pub async fn delete_network(
    State(coordinator): State<Coordinator>,
    admin: Admin,
    Path(network): Path<String>,
) -> Answer<Json<Done>> {
    let name = within(&coordinator, admin, network, |state, id| state.delete_network(id)).await?;
    Ok(done(format!(
        "network \"{name}\" is deleted here; its nodes keep their last map until they leave"
    )))
}

/// `GET /v1/admin/networks/{network}/tokens`.
pub async fn list_tokens(
    State(coordinator): State<Coordinator>,
    admin: Admin,
    Path(network): Path<String>,
) -> Answer<Json<Vec<TokenInfo>>> {
    within(&coordinator, admin, network, |state, id| state.list_tokens(id))
        .await
        .map(Json)
}

/// `POST /v1/admin/networks/{network}/tokens`.
pub async fn create_token(
    State(coordinator): State<Coordinator>,
    admin: Admin,
    Path(network): Path<String>,
    Body(wanted): Body<TokenCreate>,
) -> Answer<Json<TokenCreated>> {
    within(&coordinator, admin, network, move |state, id| {
        state.create_token(id, &wanted)
    })
    .await
    .map(Json)
}

/// `POST /v1/admin/networks/{network}/tokens/{token}/revoke`.
pub async fn revoke_token(
    State(coordinator): State<Coordinator>,
    admin: Admin,
    Path((network, token)): Path<(String, String)>,
    Body(how): Body<TokenRevoke>,
) -> Answer<Json<Done>> {
    within(&coordinator, admin, network, move |state, id| {
        state.revoke_token(id, &token, &how)
    })
    .await
    .map(done)
}

/// `GET /v1/admin/networks/{network}/nodes`.
pub async fn list_nodes(
    State(coordinator): State<Coordinator>,
    admin: Admin,
    Path(network): Path<String>,
) -> Answer<Json<Vec<NodeInfo>>> {
    within(&coordinator, admin, network, |state, id| state.list_nodes(id))
        .await
        .map(Json)
}

/// `GET /v1/admin/networks/{network}/nodes/{node}`.
pub async fn show_node(
    State(coordinator): State<Coordinator>,
    admin: Admin,
    Path((network, node)): Path<(String, String)>,
) -> Answer<Json<NodeInfo>> {
    within(&coordinator, admin, network, move |state, id| {
        state.show_node(id, &node)
    })
    .await
    .map(Json)
}

/// `POST /v1/admin/networks/{network}/nodes/{node}/approve`.
pub async fn approve_node(
    State(coordinator): State<Coordinator>,
    admin: Admin,
    Path((network, node)): Path<(String, String)>,
    Body(how): Body<NodeAct>,
) -> Answer<Json<Done>> {
    within(&coordinator, admin, network, move |state, id| {
        state.approve_node(id, &node, &how)
    })
    .await
    .map(done)
}

/// `POST /v1/admin/networks/{network}/nodes/{node}/remove`.
pub async fn remove_node(
    State(coordinator): State<Coordinator>,
    admin: Admin,
    Path((network, node)): Path<(String, String)>,
    Body(how): Body<NodeAct>,
) -> Answer<Json<Done>> {
    within(&coordinator, admin, network, move |state, id| {
        state.remove_node(id, &node, &how)
    })
    .await
    .map(done)
}

/// `POST /v1/admin/networks/{network}/nodes/{node}/rename`.
pub async fn rename_node(
    State(coordinator): State<Coordinator>,
    admin: Admin,
    Path((network, node)): Path<(String, String)>,
    Body(how): Body<NodeAct>,
) -> Answer<Json<Done>> {
    within(&coordinator, admin, network, move |state, id| {
        state.rename_node(id, &node, &how)
    })
    .await
    .map(done)
}

/// `POST /v1/admin/networks/{network}/nodes/{node}/replace`.
pub async fn replace_node(
    State(coordinator): State<Coordinator>,
    admin: Admin,
    Path((network, node)): Path<(String, String)>,
    Body(how): Body<NodeAct>,
) -> Answer<Json<TokenCreated>> {
    within(&coordinator, admin, network, move |state, id| {
        state.replace_node(id, &node, &how)
    })
    .await
    .map(Json)
}

/// `POST /v1/admin/networks/{network}/names/free`.
pub async fn free_name(
    State(coordinator): State<Coordinator>,
    admin: Admin,
    Path(network): Path<String>,
    Body(how): Body<NameFree>,
) -> Answer<Json<Done>> {
    within(&coordinator, admin, network, move |state, id| {
        state.free_name(id, &how)
    })
    .await
    .map(done)
}
