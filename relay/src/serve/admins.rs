//! The API for admins: thin; what happens is the coordinator's.

mod prefixes;

pub use prefixes::{give_pods, set_grant, set_pods};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use meshd_api::coordinator::IDEMPOTENCY_KEY;
use meshd_api::coordinator::admin::{
    Done, GatewayAdd, GatewayInfo, GatewayRemove, NameFree, NetworkCreate, NetworkInfo, NodeAct, NodeInfo,
    NodeRelay, RelayCreate, RelayCreated, RelayInfo, TokenCreate, TokenCreated, TokenInfo, TokenRevoke,
};
use meshd_core::id::NetworkId;
use meshd_core::keys::blake2s;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::answer::{Answer, Failure, parse};
use super::overlaps;
use super::proof::Admin;
use crate::coordinator::{Coordinator, Once, Refusal, State as Everything};

/// Most bytes of an admin's request.
pub const MAX_BODY: usize = 64 * 1024;
/// Most bytes of a backup file; it comes over the admin socket only.
pub const MAX_BACKUP: usize = 256 << 20;
/// Longest idempotency key.
const MAX_KEY: usize = 128;

/// A change that an admin asks for.
pub struct Write<T> {
    admin: Admin,
    once: Option<Once>,
    wanted: T,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Write<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let admin = request.extensions().get::<Admin>().copied();
        let admin = admin.ok_or_else(|| Failure::unproven("not an admin's request"))?;
        let about = format!("{} {} ", request.method(), request.uri());
        let key = request
            .headers()
            .get(IDEMPOTENCY_KEY)
            .map(|key| key.as_bytes().to_vec());
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|_| Failure::bad_request("the request's body is cut off, or too long"))?;
        let once = match key {
            Some(key) if key.is_empty() || key.len() > MAX_KEY => {
                return Err(Failure::bad_request("an idempotency key has 1 to 128 bytes"));
            }
            Some(key) => {
                let who = admin.only.map_or(*b"the admin socket", NetworkId::to_bytes);
                Some(Once {
                    key: [&who[..], &key].concat(),
                    request: blake2s(&[about.as_bytes(), &body]),
                })
            }
            None => None,
        };
        Ok(Self {
            admin,
            once,
            wanted: parse(&body)?,
        })
    }
}

/// Reads something of a network that the admin may administer.
async fn read<T, F>(coordinator: &Coordinator, admin: Admin, network: String, work: F) -> Answer<Json<T>>
where
    T: Send + 'static,
    F: FnOnce(&mut Everything, NetworkId) -> Result<T, Refusal> + Send + 'static,
{
    let id = coordinator.call(move |state| state.network_id(&network)).await?;
    admin.of(id)?;
    Ok(Json(coordinator.call(move |state| work(state, id)).await?))
}

/// Changes something in a network that the admin may administer, once per idempotency key.
async fn change<W, T, F>(
    coordinator: &Coordinator,
    network: String,
    write: Write<W>,
    work: F,
) -> Answer<Json<T>>
where
    W: Send + 'static,
    T: Serialize + DeserializeOwned + Send + 'static,
    F: FnOnce(&mut Everything, NetworkId, &W) -> Result<T, Refusal> + Send + 'static,
{
    let Write { admin, once, wanted } = write;
    let known = coordinator.call(move |state| state.network_id(&network)).await?;
    admin.of(known)?;
    let done = coordinator
        .call(move |state| state.once(once, |state| work(state, known, &wanted)))
        .await?;
    Ok(Json(done))
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
    write: Write<NetworkCreate>,
) -> Answer<Json<NetworkInfo>> {
    let Write { admin, once, wanted } = write;
    let made = coordinator
        .call(move |state| {
            let invited = admin.only.is_none_or(|own| state.may_make(own, &wanted));
            let made = invited.then(|| state.once(once, |state| state.create_network(&wanted)));
            made.transpose()
        })
        .await?;
    let Some(made) = made else {
        return Err(Failure::socket_only());
    };
    Ok(Json(overlaps::told(made).await))
}

/// `GET /v1/admin/networks/{network}`.
pub async fn show_network(
    State(coordinator): State<Coordinator>,
    admin: Admin,
    Path(network): Path<String>,
) -> Answer<Json<NetworkInfo>> {
    read(&coordinator, admin, network, |state, id| state.show_network(id)).await
}

/// `DELETE /v1/admin/networks/{network}`.
pub async fn delete_network(
    State(coordinator): State<Coordinator>,
    Path(network): Path<String>,
    write: Write<serde_json::Value>,
) -> Answer<Json<Done>> {
    change(&coordinator, network, write, |state, id, _| {
        state.delete_network(id)
    })
    .await
}

/// `GET /v1/admin/networks/{network}/tokens`.
pub async fn list_tokens(
    State(coordinator): State<Coordinator>,
    admin: Admin,
    Path(network): Path<String>,
) -> Answer<Json<Vec<TokenInfo>>> {
    read(&coordinator, admin, network, |state, id| state.list_tokens(id)).await
}

/// `POST /v1/admin/networks/{network}/tokens`.
pub async fn create_token(
    State(coordinator): State<Coordinator>,
    Path(network): Path<String>,
    write: Write<TokenCreate>,
) -> Answer<Json<TokenCreated>> {
    change(&coordinator, network, write, |state, id, wanted| {
        state.create_token(id, wanted)
    })
    .await
}

/// `POST /v1/admin/networks/{network}/tokens/{token}/revoke`.
pub async fn revoke_token(
    State(coordinator): State<Coordinator>,
    Path((network, token)): Path<(String, String)>,
    write: Write<TokenRevoke>,
) -> Answer<Json<Done>> {
    change(&coordinator, network, write, move |state, id, how| {
        state.revoke_token(id, &token, how)
    })
    .await
}

/// `GET /v1/admin/networks/{network}/nodes`.
pub async fn list_nodes(
    State(coordinator): State<Coordinator>,
    admin: Admin,
    Path(network): Path<String>,
) -> Answer<Json<Vec<NodeInfo>>> {
    read(&coordinator, admin, network, |state, id| state.list_nodes(id)).await
}

/// `GET /v1/admin/networks/{network}/nodes/{node}`.
pub async fn show_node(
    State(coordinator): State<Coordinator>,
    admin: Admin,
    Path((network, node)): Path<(String, String)>,
) -> Answer<Json<NodeInfo>> {
    read(&coordinator, admin, network, move |state, id| {
        state.show_node(id, &node)
    })
    .await
}

/// `POST /v1/admin/networks/{network}/nodes/{node}/approve`.
pub async fn approve_node(
    State(coordinator): State<Coordinator>,
    Path((network, node)): Path<(String, String)>,
    write: Write<NodeAct>,
) -> Answer<Json<Done>> {
    change(&coordinator, network, write, move |state, id, how| {
        state.approve_node(id, &node, how)
    })
    .await
}

/// `POST /v1/admin/networks/{network}/nodes/{node}/remove`.
pub async fn remove_node(
    State(coordinator): State<Coordinator>,
    Path((network, node)): Path<(String, String)>,
    write: Write<NodeAct>,
) -> Answer<Json<Done>> {
    change(&coordinator, network, write, move |state, id, how| {
        state.remove_node(id, &node, how)
    })
    .await
}

/// `POST /v1/admin/networks/{network}/nodes/{node}/rename`.
pub async fn rename_node(
    State(coordinator): State<Coordinator>,
    Path((network, node)): Path<(String, String)>,
    write: Write<NodeAct>,
) -> Answer<Json<Done>> {
    change(&coordinator, network, write, move |state, id, how| {
        state.rename_node(id, &node, how)
    })
    .await
}

/// `POST /v1/admin/networks/{network}/nodes/{node}/relay`.
pub async fn set_relay(
    State(coordinator): State<Coordinator>,
    Path((network, node)): Path<(String, String)>,
    write: Write<NodeRelay>,
) -> Answer<Json<Done>> {
    change(&coordinator, network, write, move |state, id, how| {
        state.set_relay(id, &node, how)
    })
    .await
}

/// `POST /v1/admin/networks/{network}/nodes/{node}/replace`.
pub async fn replace_node(
    State(coordinator): State<Coordinator>,
    Path((network, node)): Path<(String, String)>,
    write: Write<NodeAct>,
) -> Answer<Json<TokenCreated>> {
    change(&coordinator, network, write, move |state, id, how| {
        state.replace_node(id, &node, how)
    })
    .await
}

/// `POST /v1/admin/networks/{network}/names/free`.
pub async fn free_name(
    State(coordinator): State<Coordinator>,
    Path(network): Path<String>,
    write: Write<NameFree>,
) -> Answer<Json<Done>> {
    change(&coordinator, network, write, |state, id, how| {
        state.free_name(id, how)
    })
    .await
}

/// `GET /v1/admin/networks/{network}/gateways`.
pub async fn list_gateways(
    State(coordinator): State<Coordinator>,
    admin: Admin,
    Path(network): Path<String>,
) -> Answer<Json<Vec<GatewayInfo>>> {
    read(&coordinator, admin, network, |state, id| state.list_gateways(id)).await
}

/// `POST /v1/admin/networks/{network}/gateways`.
pub async fn add_gateway(
    State(coordinator): State<Coordinator>,
    Path(network): Path<String>,
    write: Write<GatewayAdd>,
) -> Answer<Json<Done>> {
    change(&coordinator, network, write, |state, id, wanted| {
        state.add_gateway(id, wanted)
    })
    .await
}

/// `POST /v1/admin/networks/{network}/gateways/remove`.
pub async fn remove_gateway(
    State(coordinator): State<Coordinator>,
    Path(network): Path<String>,
    write: Write<GatewayRemove>,
) -> Answer<Json<Done>> {
    change(&coordinator, network, write, |state, id, wanted| {
        state.remove_gateway(id, wanted)
    })
    .await
}

/// `GET /v1/admin/relays`.
pub async fn list_relays(
    State(coordinator): State<Coordinator>,
    admin: Admin,
) -> Answer<Json<Vec<RelayInfo>>> {
    admin.on_host()?;
    Ok(Json(coordinator.call(Everything::list_relays).await?))
}

/// `POST /v1/admin/relays`.
pub async fn create_relay(
    State(coordinator): State<Coordinator>,
    write: Write<RelayCreate>,
) -> Answer<Json<RelayCreated>> {
    write.admin.on_host()?;
    let Write { once, wanted, .. } = write;
    let made = coordinator
        .call(move |state| state.once(once, |state| state.create_relay(&wanted.name)))
        .await?;
    Ok(Json(made))
}

/// `POST /v1/admin/relays/{relay}/remove`.
pub async fn remove_relay(
    State(coordinator): State<Coordinator>,
    Path(relay): Path<String>,
    write: Write<serde_json::Value>,
) -> Answer<Json<Done>> {
    write.admin.on_host()?;
    let done = coordinator
        .call(move |state| state.once(write.once, |state| state.remove_relay(&relay)))
        .await?;
    Ok(Json(done))
}

/// `GET /v1/admin/backup`.
pub async fn backup(State(coordinator): State<Coordinator>, admin: Admin) -> Answer<Response> {
    admin.on_host()?;
    let text = coordinator.call(Everything::backup).await?;
    let kind = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((kind, text).into_response())
}

/// `POST /v1/admin/restore`. After the answer the program begins anew on the restored state.
pub async fn restore(
    State(coordinator): State<Coordinator>,
    admin: Admin,
    request: Request,
) -> Answer<Json<Done>> {
    admin.on_host()?;
    let bytes = axum::body::to_bytes(request.into_body(), MAX_BACKUP).await;
    let bytes = bytes.map_err(|_| Failure::bad_request("the backup is cut off, or longer than 256 MiB"))?;
    let text =
        std::str::from_utf8(&bytes).map_err(|_| Failure::bad_request("this is not a backup of meshrelay"))?;
    let text = text.to_owned();
    let done = coordinator.call(move |state| state.restore(&text)).await?;
    coordinator.replaced();
    Ok(Json(done))
}
