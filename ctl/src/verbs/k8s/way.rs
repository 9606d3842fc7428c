//! The endpoint that leads to the API servers, kept in step with the control planes where this machine may: beside the relay,
//! or with the network's root key. Elsewhere the command is said that does it.

use std::path::Path;
use std::time::{Duration, Instant};

use meshd_api::local::NetworkStatus;
use meshd_core::cluster::{API_SERVER_PORT, ENDPOINT, Ground};

use super::facts;
use crate::cli::Global;
use crate::failure::Failure;
use crate::verbs::{endpoint, pem};

/// For the word of a change to come round.
const SOON: Duration = Duration::from_secs(15);
/// Between looks.
const PAUSE: Duration = Duration::from_millis(200);
/// The cluster's certificate authority.
pub const AUTHORITY: &str = "/etc/kubernetes/pki/ca.crt";

/// Whether an admin's requests are answered from here.
pub fn is_ours(global: &Global) -> bool {
    global.relay.is_some() || global.relay_socket.exists()
}

/// Puts this node behind the endpoint, where it is not yet and this machine may.
pub async fn open(
    global: &Global,
    network: NetworkStatus,
    ground: &Ground,
) -> Result<NetworkStatus, Failure> {
    let own = |network: &NetworkStatus| {
        let way = facts::mesh(network).way;
        way.is_some_and(|way| way.own)
    };
    if own(&network) || !is_ours(global) {
        return Ok(network);
    }
    let name = name(&network, ground);
    endpoint::put_behind(global, &network.name, &name, (&network.hostname, API_SERVER_PORT)).await?;
    let end = Instant::now() + SOON;
    loop {
        let now = facts::network(global, Some(&network.name)).await?;
        if own(&now) || Instant::now() >= end {
            return Ok(now);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Has the API servers asked how they are, now that the authority in this file exists; gives a sentence where somebody else has to.
pub async fn check_by(
    global: &Global,
    network: &NetworkStatus,
    ground: &Ground,
    authority: &str,
) -> Result<Option<String>, Failure> {
    let checked = facts::endpoint(network, ground).is_some_and(|endpoint| endpoint.check == "readyz");
    if checked {
        return Ok(None);
    }
    let name = name(network, ground);
    if !is_ours(global) {
        return Ok(Some(format!(
            "copy {authority} to the relay's host and run `meshctl endpoint add {name} --ca {file}` there: API servers are asked then whether they are ready",
            file = Path::new(authority).file_name().unwrap_or_default().display()
        )));
    }
    let authorities = pem::certificates(Path::new(authority))?;
    endpoint::check_by(global, &network.name, &name, &authorities).await?;
    Ok(None)
}

/// Takes this node out of the endpoint, where it is behind it; gives a sentence where somebody else has to.
pub async fn close(
    global: &Global,
    network: &NetworkStatus,
    ground: &Ground,
) -> Result<Option<String>, Failure> {
    let own = facts::mesh(network).way.is_some_and(|way| way.own);
    if !own {
        return Ok(None);
    }
    let (name, node) = (name(network, ground), &network.hostname);
    if !is_ours(global) {
        return Ok(Some(format!(
            "run `meshctl endpoint remove {name} --to {node}:{API_SERVER_PORT}` on the relay's host: nothing answers here any more"
        )));
    }
    endpoint::take_from(global, &network.name, &name, (node, API_SERVER_PORT)).await?;
    Ok(None)
}

/// What the endpoint at the address that every node holds is called, or would be.
fn name(network: &NetworkStatus, ground: &Ground) -> String {
    let there = facts::endpoint(network, ground);
    there.map_or_else(|| ENDPOINT.to_owned(), |endpoint| endpoint.name.clone())
}
