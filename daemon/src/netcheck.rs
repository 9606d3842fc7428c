//! A check of what is between this machine and the internet: the core's, with real sockets.
//!
//! Every socket is its own, on a port of its own, and lives as long as the check: what is measured leaves no trace in the
//! tunnel's mappings.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshd_api::coordinator::node::Relay;
use meshd_core::id::RelayId;
use meshd_core::netcheck::{Netcheck, Observer, Report, SocketNumber};
use rand_core::{OsRng, RngCore};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::debug;

/// Datagrams that may wait to be looked at; more are dropped.
const QUEUE: usize = 64;
/// Longer than any STUN answer.
const LONGEST: usize = 548;
/// Bound on the look-up of one relay's name.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a check found, and the relay names that lead nowhere.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What was measured.
    pub report: Report,
    /// Relay, name and reason.
    pub unresolved: Vec<(String, String, String)>,
}

/// A datagram, with the socket that it came to and that socket's port.
type Came = ((SocketNumber, u16), SocketAddr, Vec<u8>);

/// Asks these relays; `own` are this machine's addresses. Takes at most five seconds.
pub async fn run(relays: Vec<Relay>, own: Vec<IpAddr>) -> Checked {
    let (observers, unresolved) = resolve(&relays).await;
    let report = measure(observers, own).await;
    Checked { report, unresolved }
}

/// Every address of every relay, the ports of one address one after the other.
async fn resolve(relays: &[Relay]) -> (Vec<Observer>, Vec<(String, String, String)>) {
    let (mut observers, mut unresolved) = (Vec::new(), Vec::new());
    for relay in relays {
        let Ok(id) = relay.id.parse::<RelayId>() else {
            continue;
        };
        let mut addresses = Vec::new();
        for name in &relay.udp {
            match tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host(name)).await {
                Ok(Ok(found)) => addresses.extend(found),
                Ok(Err(error)) => unresolved.push((relay.id.clone(), name.clone(), error.to_string())),
                Err(_) => unresolved.push((relay.id.clone(), name.clone(), "no answer in time".into())),
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        observers.extend(
            addresses
                .into_iter()
                .map(|address| Observer { relay: id, address }),
        );
    }
    (observers, unresolved)
}

async fn measure(observers: Vec<Observer>, own: Vec<IpAddr>) -> Report {
    let mut seed = [0; 32];
    OsRng.fill_bytes(&mut seed);
    let (sender, mut came) = mpsc::channel::<Came>(QUEUE);
    let mut sockets = Sockets {
        open: BTreeMap::new(),
        readers: JoinSet::new(),
        sender,
    };
    let mut check = Netcheck::new(Instant::now(), observers, own, seed);
    loop {
        while let Some(transmit) = check.poll_transmit() {
            if let Err(error) = sockets.send(transmit.socket, transmit.to, &transmit.bytes).await {
                debug!(to = %transmit.to, %error, "a question was not sent");
            }
        }
        if let Some(report) = check.report(Instant::now()) {
            return report;
        }
        tokio::select! {
            Some((to, from, bytes)) = came.recv() => check.handle_datagram(Instant::now(), to, from, &bytes),
            () = tokio::time::sleep_until(check.poll_timeout().into()) => check.handle_timeout(Instant::now()),
        }
    }
}

/// The sockets of one check; they and their readers end with it.
struct Sockets {
    open: BTreeMap<SocketNumber, Arc<UdpSocket>>,
    readers: JoinSet<()>,
    sender: mpsc::Sender<Came>,
}

impl Sockets {
    async fn send(&mut self, number: SocketNumber, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        if !self.open.contains_key(&number) {
            let any: IpAddr = match number.is_ipv6() {
                true => Ipv6Addr::UNSPECIFIED.into(),
                false => Ipv4Addr::UNSPECIFIED.into(),
            };
            let socket = Arc::new(UdpSocket::bind((any, 0)).await?);
            let at = (number, socket.local_addr()?.port());
            self.readers
                .spawn(read(Arc::clone(&socket), at, self.sender.clone()));
            self.open.insert(number, socket);
        }
        self.open[&number].send_to(bytes, to).await.map(|_| ())
    }
}

async fn read(socket: Arc<UdpSocket>, at: (SocketNumber, u16), sender: mpsc::Sender<Came>) {
    let mut buffer = [0; LONGEST];
    loop {
        // an error is an ICMP message about an earlier datagram; the next may be an answer
        if let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let _ = sender.try_send((at, from, buffer[..length].to_vec()));
        }
    }
}
