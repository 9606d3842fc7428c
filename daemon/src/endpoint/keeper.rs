//! Starts and ends the services of a network's endpoints.

use super::service::Service;
use super::{Ears, Told, Wanted};
use std::collections::BTreeMap;
use std::sync::PoisonError;
use tokio::sync::watch;
use tracing::info;

/// Serves what is wanted until the sender is gone.
pub async fn keep(
    mut wanted: watch::Receiver<(u64, Vec<Wanted>)>,
    done: watch::Sender<u64>,
    told: Told,
    ears: Ears,
) {
    let mut services: BTreeMap<String, Service> = BTreeMap::new();
    loop {
        let (wish, now) = wanted.borrow_and_update().clone();
        for name in services.keys().cloned().collect::<Vec<_>>() {
            let stays = |endpoint: &Wanted| endpoint.name == name && endpoint.at == services[&name].at();
            if !now.iter().any(stays)
                && let Some(service) = services.remove(&name)
            {
                info!(endpoint = %name, "the endpoint is no longer served here; its connections end");
                service.end().await;
            }
        }
        for endpoint in now {
            match services.get(&endpoint.name) {
                Some(service) => service.set(endpoint),
                None => {
                    info!(endpoint = %endpoint.name, at = ?endpoint.at, "an endpoint is served");
                    services.insert(endpoint.name.clone(), Service::start(endpoint, ears.clone()));
                }
            }
        }
        let reports = services.values().map(Service::report).collect();
        *told.lock().unwrap_or_else(PoisonError::into_inner) = reports;
        done.send_replace(wish);
        if wanted.changed().await.is_err() {
            return;
        }
    }
}
