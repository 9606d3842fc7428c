//! What only the admin on the relay's own host may do: relays on other hosts, the whole state.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use meshd_api::coordinator::admin::{Done, RelayCreate, RelayCreated, RelayInfo};

use super::Write;
use crate::coordinator::{Coordinator, State as Everything};
use crate::serve::answer::{Answer, Failure};
use crate::serve::proof::Admin;

/// Most bytes of a backup file.
const MAX_BACKUP: usize = 256 << 20;

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
