//! What is exposed: what the coordinator knows of it, and what the ingress finds.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use meshd_api::coordinator::admin::{Done, ExposeInfo, ExposeSet};
use meshd_core::statement::Protocol;

use super::{Write, change, read};
use crate::coordinator::{Coordinator, Refusal, State as Everything};
use crate::expose::{Ingress, no_tunnel};
use crate::serve::answer::Answer;
use crate::serve::proof::Admin;

/// `GET /v1/admin/networks/{network}/exposures`.
pub async fn list_exposures(
    State(coordinator): State<Coordinator>,
    Extension(ingress): Extension<Ingress>,
    admin: Admin,
    Path(network): Path<String>,
) -> Answer<Json<Vec<ExposeInfo>>> {
    let work = move |state: &mut Everything, id| {
        let mut all = state.list_exposures(id)?;
        for info in &mut all {
            if let Some(status) = ingress.status(id, &info.name) {
                let beside = status.beside;
                status.tell(info);
                info.through = beside.and_then(|address| state.name_at(id, address));
            }
        }
        Ok(all)
    };
    read(&coordinator, admin, network, work).await
}

/// `POST /v1/admin/networks/{network}/exposures`.
pub async fn set_exposure(
    State(coordinator): State<Coordinator>,
    Extension(ingress): Extension<Ingress>,
    Path(network): Path<String>,
    write: Write<ExposeSet>,
) -> Answer<Json<Done>> {
    let (protocol, port) = (write.wanted.protocol.clone(), write.wanted.port);
    let named = network.clone();
    let prefix = coordinator.call(move |state| state.prefix_of(&named)).await;
    let here = ingress.clone();
    let mut done = change(&coordinator, network, write, move |state, id, wanted| {
        let protocol = match protocol.as_str() {
            "udp" => Protocol::Udp,
            _ => Protocol::Tcp,
        };
        if port != 0 {
            here.can_listen(protocol, port).map_err(Refusal::Conflict)?;
        }
        state.set_exposure(id, wanted)
    })
    .await?;
    if let Ok((name, prefix)) = prefix
        && ingress.beside(prefix).await.is_none()
    {
        done.0.message = format!("{}; but {}", done.0.message, no_tunnel(&name));
    }
    Ok(done)
}
