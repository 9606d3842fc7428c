//! How a target is: whether it takes a connection, or, for UDP, whether its node does, on the port that every meshd has.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use meshd_core::balance::Outcome;
use meshd_core::statement::{Protocol, ProxyVersion};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::carry::connect;
use super::tunnels::Tunnel;
use super::{Place, Target};

/// Bound on one probe.
const PROBE: Duration = Duration::from_millis(1500);
/// Where each node gives others its map (docs/wire.md section 9).
const NODE_PORT: u16 = 7441;

/// Probes under way, one of a target at most.
#[derive(Default)]
pub struct Prober(JoinSet<(Target, Outcome)>);

impl Prober {
    /// Begins to probe.
    pub fn begin(
        &mut self,
        place: &Place,
        protocol: Protocol,
        proxy: Option<ProxyVersion>,
        tunnel: Option<Tunnel>,
    ) {
        let target = place.target;
        let address = match protocol {
            Protocol::Tcp => place.address,
            Protocol::Udp => SocketAddr::from((place.node, NODE_PORT)),
        };
        let header = proxy.filter(|_| protocol == Protocol::Tcp);
        self.0.spawn(async move {
            let found = timeout(PROBE, ask(address, header, tunnel)).await;
            let outcome = match (found.unwrap_or(Outcome::Silent), protocol) {
                // a node that refuses is there
                (Outcome::Refused, Protocol::Udp) => Outcome::Ready,
                (outcome, _) => outcome,
            };
            (target, outcome)
        });
    }

    /// The next that ends; never where none is under way.
    pub async fn next(&mut self) -> (Target, Outcome) {
        loop {
            match self.0.join_next().await {
                Some(Ok(found)) => return found,
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }
}

async fn ask(address: SocketAddr, proxy: Option<ProxyVersion>, tunnel: Option<Tunnel>) -> Outcome {
    let Some(tunnel) = tunnel else {
        return Outcome::Silent;
    };
    match connect(address, &tunnel).await {
        Ok(mut stream) => {
            if let Some(version) = proxy {
                let _ = stream.write_all(&meshd_core::expose::proxy_local(version)).await;
            }
            Outcome::Ready
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Outcome::Refused,
        Err(_) => Outcome::Silent,
    }
}
