//! How a member is: whether it takes a connection.

use super::Place;
use meshd_core::balance::Outcome;
use meshd_core::statement::Member;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Bound on one probe. A member whose program hangs is left after the time between probes and this, within the bar of 3 s.
const PROBE: Duration = Duration::from_millis(1500);

/// Probes under way, one of a member at most.
#[derive(Default)]
pub struct Prober {
    under_way: JoinSet<(Member, Outcome)>,
}

impl Prober {
    /// Begins to probe.
    pub fn begin(&mut self, place: &Place, _authorities: &[Vec<u8>]) {
        let (member, address) = (place.member, place.address);
        self.under_way.spawn(async move {
            let outcome = timeout(PROBE, connect(address)).await;
            (member, outcome.unwrap_or(Outcome::Silent))
        });
    }

    /// The next that ends; never where none is under way.
    pub async fn next(&mut self) -> (Member, Outcome) {
        loop {
            match self.under_way.join_next().await {
                Some(Ok(found)) => return found,
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }
}

async fn connect(address: SocketAddr) -> Outcome {
    match TcpStream::connect(address).await {
        Ok(_) => Outcome::Ready,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Outcome::Refused,
        Err(_) => Outcome::Silent,
    }
}
