//! The API for admins: thin; what happens is the coordinator's. What reads or changes something of one network is served by one of four
//! functions here, whatever it is; what is not like these has a handler of its own.

mod expose;
mod host;
mod write;

pub use expose::{list_exposures, set_exposure};
pub use host::{backup, create_relay, list_relays, remove_relay, restore};
pub use write::Write;

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::{MethodRouter, get, post};
use meshd_api::coordinator::admin::{Done, NetworkCreate, NetworkInfo};
use meshd_core::id::NetworkId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::answer::{Answer, Failure};
use super::overlaps;
use super::proof::Admin;
use crate::coordinator::{Coordinator, Refusal, State as Everything};

/// Most bytes of an admin's request.
pub const MAX_BODY: usize = 64 * 1024;

/// Serves something of a network: `GET .../networks/{network}...`.
pub fn reads<T>(work: fn(&mut Everything, NetworkId) -> Result<T, Refusal>) -> MethodRouter<Coordinator>
where
    T: Serialize + Send + 'static,
{
    get(
        move |State(coordinator), admin: Admin, Path(network): Path<String>| async move {
            read(&coordinator, admin, network, work).await
        },
    )
}

/// Serves something of what the path's second variable names in a network.
pub fn reads_of<T>(
    work: fn(&mut Everything, NetworkId, &str) -> Result<T, Refusal>,
) -> MethodRouter<Coordinator>
where
    T: Serialize + Send + 'static,
{
    get(
        move |State(coordinator), admin: Admin, Path((network, what)): Path<(String, String)>| async move {
            read(&coordinator, admin, network, move |state, id| {
                work(state, id, &what)
            })
            .await
        },
    )
}

/// Serves a change of a network: `POST .../networks/{network}...`.
pub fn changes<W, T>(
    work: fn(&mut Everything, NetworkId, &W) -> Result<T, Refusal>,
) -> MethodRouter<Coordinator>
where
    W: DeserializeOwned + Send + 'static,
    T: Serialize + DeserializeOwned + Send + 'static,
{
    post(
        move |State(coordinator), Path(network): Path<String>, write: Write<W>| async move {
            change(&coordinator, network, write, work).await
        },
    )
}

/// Serves a change of what the path's second variable names in a network.
pub fn changes_of<W, T>(
    work: fn(&mut Everything, NetworkId, &str, &W) -> Result<T, Refusal>,
) -> MethodRouter<Coordinator>
where
    W: DeserializeOwned + Send + 'static,
    T: Serialize + DeserializeOwned + Send + 'static,
{
    post(
        move |State(coordinator), Path((network, what)): Path<(String, String)>, write: Write<W>| async move {
            change(&coordinator, network, write, move |state, id, wanted| {
                work(state, id, &what, wanted)
            })
            .await
        },
    )
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
