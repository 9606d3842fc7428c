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
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

/// How long a program may take to say that it is ready; whether its machine lives is watched meanwhile.
const PROGRAM: Duration = Duration::from_millis(2_500);
/// How long a machine is waited for that is asked for a sign of life; by then it was judged.
const TOUCH: Duration = Duration::from_secs(2);

/// What was found.
#[derive(Debug)]
pub enum Said {
    /// A probe ended so; the time to the machine and back, where it was measured.
    Probed(Member, Outcome, Option<Duration>),
    /// A machine gave a sign of life.
    Touched(Member, Option<Duration>),
}

/// What a probe found, the time to the machine and back, and the connection by which the next one goes.
pub struct Found {
    pub outcome: Outcome,
    pub round_trip: Option<Duration>,
    pub link: Option<Link>,
}

impl Found {
    /// Nothing but this.
    pub fn only(outcome: Outcome) -> Self {
        Self {
            outcome,
            round_trip: None,
            link: None,
        }
    }
}

enum Ended {
    Probe(Member, Found),
    Touch(Member, Found),
}

/// Probes under way, one of a member at most.
#[derive(Default)]
pub struct Prober {
    under_way: JoinSet<Ended>,
    links: BTreeMap<Member, Link>,
    /// The authorities, and what follows from them.
    trust: (Vec<Vec<u8>>, Option<Arc<ClientConfig>>),
}

impl Prober {
    /// Begins to probe; a machine may take `patience` to take a connection.
    pub fn begin(&mut self, place: &Place, patience: Duration, authorities: &[Vec<u8>]) {
        if self.trust.0 != authorities {
            self.trust(authorities);
        }
        let (member, address) = (place.member, place.address);
        let link = self
            .links
            .remove(&member)
            .filter(|link| link.address() == address);
        let (by_connection, tls) = (authorities.is_empty(), self.trust.1.clone());
        let patience = if by_connection { patience } else { PROGRAM };
        self.under_way.spawn(async move {
            let found = async {
                match tls {
                    Some(tls) => readyz::ask(address, tls, link).await,
                    None if by_connection => connect(address).await,
                    None => Found::only(Outcome::NotReady),
                }
            };
            let found = timeout(patience, found).await;
            Ended::Probe(member, found.unwrap_or_else(|_| Found::only(Outcome::Silent)))
        });
    }

    /// Begins to ask a machine for a sign of life.
    pub fn touch(&mut self, place: &Place) {
        let (member, address) = (place.member, place.address);
        self.under_way.spawn(async move {
            let found = timeout(TOUCH, connect(address)).await;
            Ended::Touch(member, found.unwrap_or_else(|_| Found::only(Outcome::Silent)))
        });
    }

    /// The next that ends; never where none is under way.
    pub async fn next(&mut self) -> Said {
        loop {
            match self.under_way.join_next().await {
                Some(Ok(Ended::Probe(member, found))) => {
                    self.links.extend(found.link.map(|link| (member, link)));
                    return Said::Probed(member, found.outcome, found.round_trip);
                }
                Some(Ok(Ended::Touch(member, found))) if found.outcome != Outcome::Silent => {
                    return Said::Touched(member, found.round_trip);
                }
                Some(_) => {}
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

async fn connect(address: SocketAddr) -> Found {
    let begun = Instant::now();
    match TcpStream::connect(address).await {
        Ok(_) => Found {
            round_trip: Some(begun.elapsed()),
            ..Found::only(Outcome::Ready)
        },
        Err(error) => Found::only(not_connected(&error)),
    }
}

/// What a connection that was not made says of a member.
pub fn not_connected(error: &std::io::Error) -> Outcome {
    match error.kind() {
        ErrorKind::ConnectionRefused => Outcome::Refused,
        _ => Outcome::Silent,
    }
}
