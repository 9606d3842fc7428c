//! How a member is: whether it takes a connection, or, where its authority is known, whether it answers `GET /readyz` over TLS.

use super::Place;
use super::readyz::{self, Link};
use meshd_core::balance::Outcome;
use meshd_core::statement::Member;
use rustls::ClientConfig;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

/// Bound on one probe. A member whose program hangs is left after the time between probes and this, within the bar of 3 s.
const PROBE: Duration = Duration::from_millis(1500);

/// What a probe found, and the connection by which the next one goes.
type Found = (Member, Outcome, Option<Link>);

/// Probes under way, one of a member at most.
#[derive(Default)]
pub struct Prober {
    under_way: JoinSet<Found>,
    links: BTreeMap<Member, Link>,
    /// The authorities, and what follows from them.
    trust: (Vec<Vec<u8>>, Option<Arc<ClientConfig>>),
}

impl Prober {
    /// Begins to probe.
    pub fn begin(&mut self, place: &Place, authorities: &[Vec<u8>]) {
        if self.trust.0 != authorities {
            self.trust(authorities);
        }
        let (member, address) = (place.member, place.address);
        let link = self
            .links
            .remove(&member)
            .filter(|link| link.address() == address);
        let (by_connection, tls) = (authorities.is_empty(), self.trust.1.clone());
        self.under_way.spawn(async move {
            let found = async {
                match tls {
                    Some(tls) => readyz::ask(address, tls, link).await,
                    None if by_connection => (connect(address).await, None),
                    None => (Outcome::NotReady, None),
                }
            };
            let (outcome, link) = timeout(PROBE, found).await.unwrap_or((Outcome::Silent, None));
            (member, outcome, link)
        });
    }

    /// The next that ends; never where none is under way.
    pub async fn next(&mut self) -> (Member, Outcome) {
        loop {
            match self.under_way.join_next().await {
                Some(Ok((member, outcome, link))) => {
                    self.links.extend(link.map(|link| (member, link)));
                    return (member, outcome);
                }
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    fn trust(&mut self, authorities: &[Vec<u8>]) {
        self.links.clear();
        let config = match authorities.is_empty() {
            true => None,
            false => readyz::config(authorities)
                .map_err(|why| warn!("members of an endpoint cannot be asked how they are: {why}"))
                .ok(),
        };
        self.trust = (authorities.to_vec(), config);
    }
}

async fn connect(address: SocketAddr) -> Outcome {
    match TcpStream::connect(address).await {
        Ok(_) => Outcome::Ready,
        Err(error) => not_connected(&error),
    }
}

/// What a connection that was not made says of a member.
pub fn not_connected(error: &std::io::Error) -> Outcome {
    match error.kind() {
        ErrorKind::ConnectionRefused => Outcome::Refused,
        _ => Outcome::Silent,
    }
}
