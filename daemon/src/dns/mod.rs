//! Mesh DNS: this node answers for the networks that it is in, on a loopback address of its own, UDP and TCP.
//!
//! It is no resolver: it forwards nothing and keeps nothing, so that it can neither loop nor swallow what another server would have
//! answered. Whatever is not a mesh name is refused at once, and a resolver that has it in its list asks the next one. One task does all
//! of it; a question is answered as it is read, and nothing waits but TCP connections, of which there are few.

mod answer;

pub use answer::answer;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use meshd_core::names::{Wanted, Zone};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// The port of DNS.
const PORT: u16 = 53;
/// The longest question that is read.
const MAX_QUESTION: usize = 4_096;
/// TCP connections at once; more wait.
const CONNECTIONS: usize = 16;
/// A TCP connection that asks nothing for so long ends.
const IDLE: Duration = Duration::from_secs(5);
/// Between two tries to listen.
const AGAIN: Duration = Duration::from_secs(5);

/// Where instance `number` of meshd answers.
pub fn address(number: u16) -> SocketAddr {
    let last = u8::try_from(number).unwrap_or(u8::MAX - 1) + 1;
    SocketAddr::from((Ipv4Addr::new(127, 77, 53, last), PORT))
}

/// Answers, for ever; where the address is taken it says so, and tries again. What is wrong is told by `problem`.
pub async fn serve(
    at: SocketAddr,
    mut wanted: watch::Receiver<Wanted>,
    problem: watch::Sender<Option<String>>,
) {
    loop {
        match Server::bind(at).await {
            Ok(server) => {
                info!(%at, "mesh DNS answers");
                problem.send_replace(None);
                let Err(why) = server.run(&mut wanted).await else {
                    return;
                };
                warn!(%at, %why, "mesh DNS stopped, and begins again");
            }
            Err(why) => {
                let said =
                    format!("mesh DNS cannot listen on {at} ({why}); names come from the hosts file alone");
                if problem.send_replace(Some(said.clone())).is_none() {
                    warn!("{said}");
                }
            }
        }
        sleep(AGAIN).await;
    }
}

struct Server {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Server {
    async fn bind(at: SocketAddr) -> std::io::Result<Self> {
        let (udp, tcp) = (UdpSocket::bind(at).await?, TcpListener::bind(at).await?);
        Ok(Self { udp, tcp })
    }

    /// Until nobody says any more what is wanted.
    async fn run(self, wanted: &mut watch::Receiver<Wanted>) -> std::io::Result<()> {
        let mut zone = Arc::new(Zone::of(&wanted.borrow_and_update().networks));
        let mut connections = JoinSet::new();
        let mut question = vec![0; MAX_QUESTION];
        loop {
            tokio::select! {
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    zone = Arc::new(Zone::of(&wanted.borrow_and_update().networks));
                }
                got = self.udp.recv_from(&mut question) => {
                    let (length, from) = got?;
                    if let Some(said) = answer(&zone, &question[..length], true) {
                        // who does not take it asks again
                        let _ = self.udp.try_send_to(&said, from);
                    }
                }
                got = self.tcp.accept(), if connections.len() < CONNECTIONS => {
                    connections.spawn(converse(got?.0, zone.clone()));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// Questions over one TCP connection, each with its length before it (RFC 1035 section 4.2.2).
async fn converse(mut stream: TcpStream, zone: Arc<Zone>) {
    while let Ok(Ok(())) = timeout(IDLE, exchange(&mut stream, &zone)).await {}
}

async fn exchange(stream: &mut TcpStream, zone: &Zone) -> std::io::Result<()> {
    let length = usize::from(stream.read_u16().await?);
    if length > MAX_QUESTION {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut question = vec![0; length];
    stream.read_exact(&mut question).await?;
    let said = answer(zone, &question, false).ok_or(std::io::ErrorKind::InvalidData)?;
    let length = u16::try_from(said.len()).map_err(std::io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes()[..], &said].concat())
        .await
}
