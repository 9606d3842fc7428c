//! Connecting to a relay over TLS: all its addresses, a little after one another, and the first that works wins.

use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use meshd_api::client::ClientError;
use meshd_api::coordinator::RELAY_PROTOCOL;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::network::coordinator::{Identity, Targets, connect};

/// Head start of each address over the next: an address family that is broken costs no more than this.
const HEAD_START: Duration = Duration::from_millis(150);

/// The connection to the first address that takes us, and which it is.
///
/// # Errors
/// The reason that says most: a foreign certificate or a refusal before a mere silence.
pub(super) async fn first(
    identity: &Identity,
    targets: &Targets,
) -> Result<(String, TokioIo<Upgraded>), ClientError> {
    let mut tries = JoinSet::new();
    for (nth, (host, port)) in (0..).zip(targets.addresses.clone()) {
        let (identity, pins) = (identity.clone(), targets.pins.clone());
        tries.spawn(async move {
            sleep(HEAD_START * nth).await;
            let connection = connect(&identity, &pins, &host, port).await?;
            let stream = connection.upgrade("/v1/relay", RELAY_PROTOCOL).await?;
            Ok::<_, ClientError>((format!("{host}:{port}"), stream))
        });
    }
    let mut failure = None;
    while let Some(ended) = tries.join_next().await {
        match ended {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(error)) if failure.as_ref().is_none_or(|held| weight(held) < weight(&error)) => {
                failure = Some(error);
            }
            _ => {}
        }
    }
    Err(failure.unwrap_or_else(|| ClientError::Malformed {
        address: "the coordinator".into(),
        cause: "it names no TLS address of this relay".into(),
    }))
}

fn weight(error: &ClientError) -> u8 {
    match error {
        ClientError::Untrusted { .. } => 3,
        ClientError::Refused { .. } => 2,
        ClientError::Unreachable { .. } => 0,
        _ => 1,
    }
}
