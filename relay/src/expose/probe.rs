//! How a target is: whether it takes a connection, or, for UDP, whether its node does, on the port that every meshd has.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshd_core::balance::{Ask, Outcome};
use meshd_core::statement::{Protocol, ProxyVersion};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::carry::connect;
use super::service::Service;
use super::tunnels::Tunnel;
use super::{Place, Target};

/// Where each node gives others its map (docs/wire.md section 9).
const NODE_PORT: u16 = 7441;

/// Whom to ask, what, and how long the answer may take.
pub type Due = (Place, Ask, Duration);

/// What came of it, and how long that took.
pub struct Found {
    pub target: Target,
    pub ask: Ask,
    pub outcome: Outcome,
    pub took: Duration,
}

/// Probes under way, one of a target at most.
#[derive(Default)]
pub struct Prober(JoinSet<Found>);

impl Prober {
    /// Begins to probe.
    pub fn begin(
        &mut self,
        (place, ask, patience): Due,
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
            let begun = Instant::now();
            let found = timeout(patience, question(address, header, tunnel)).await;
            let outcome = match (found.unwrap_or(Outcome::Silent), protocol) {
                // a node that refuses is there
                (Outcome::Refused, Protocol::Udp) => Outcome::Ready,
                (outcome, _) => outcome,
            };
            Found {
                target,
                ask,
                outcome,
                took: begun.elapsed(),
            }
        });
    }

    /// The next that ends; never where none is under way.
    pub async fn next(&mut self) -> Found {
        loop {
            match self.0.join_next().await {
                Some(Ok(found)) => return found,
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }
}

async fn question(address: SocketAddr, proxy: Option<ProxyVersion>, tunnel: Option<Tunnel>) -> Outcome {
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

/// Probes targets when the balancer says so.
pub async fn probe(service: Arc<Service>) {
    let mut prober = Prober::default();
    loop {
        let (asks, (protocol, proxy), next) = service.due();
        for due in asks {
            prober.begin(due, protocol, proxy, service.tunnel());
        }
        tokio::select! {
            found = prober.next() => service.probed(&found),
            () = service.wake.notified() => {}
            () = until(next) => {}
        }
    }
}

async fn until(next: Option<Instant>) {
    match next {
        Some(next) => tokio::time::sleep_until(next.into()).await,
        None => std::future::pending().await,
    }
}
