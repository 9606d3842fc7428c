//! Starts and ends the services of a network's endpoints.

use super::service::Service;
use super::{Told, Wanted};
use std::collections::BTreeMap;
use std::sync::PoisonError;
use tokio::sync::watch;
use tracing::info;

/// Serves what is wanted until the sender is gone.
pub async fn keep(mut wanted: watch::Receiver<Vec<Wanted>>, told: Told) {
    let mut services: BTreeMap<String, Service> = BTreeMap::new();
    loop {
        let now = wanted.borrow_and_update().clone();
        services.retain(|name, service| {
            let stays = now
                .iter()
                .any(|endpoint| endpoint.name == *name && endpoint.at == service.at());
            if !stays {
                info!(endpoint = %name, "the endpoint is no longer served here; its connections end");
            }
            stays
        });
        for endpoint in now {
            match services.get(&endpoint.name) {
                Some(service) => service.set(endpoint),
                None => {
                    info!(endpoint = %endpoint.name, at = ?endpoint.at, "an endpoint is served");
                    services.insert(endpoint.name.clone(), Service::start(endpoint));
                }
            }
        }
        let reports = services.values().map(Service::report).collect();
        *told.lock().unwrap_or_else(PoisonError::into_inner) = reports;
        if wanted.changed().await.is_err() {
            return;
        }
    }
}
