//! One TCP connection: to a target that takes it, told who the client is where that is wanted, and both ways until it ends.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use meshd_core::expose::proxy_header;
use meshd_core::statement::Protocol;
use meshd_net::tcp::settle;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tracing::debug;

use super::pump::{End, pump};
use super::service::Inside;
use super::tunnels::Tunnel;

/// How long one target may take to accept a connection. With two that are silent a third is reached within the bar of 3 s.
const DIAL: Duration = Duration::from_secs(1);
/// How long the last one may take: nobody is left to be asked, and a packet that is lost on the way is sent again after 1 s.
const LAST_DIAL: Duration = Duration::from_secs(4);
/// Targets that are tried for one connection.
const MAX_DIALS: usize = 5;

/// Carries a client's connection, of which `seen` was read already, to the first target that takes it.
pub async fn carry(mut client: TcpStream, seen: Vec<u8>, inside: Inside) {
    let (service, from) = (inside.service(), inside.from());
    settle(&client);
    let Ok(reached) = client.local_addr() else { return };
    let (proxy, idle) = service.manner();
    let mut places = service.choose();
    places.truncate(MAX_DIALS);
    let count = places.len();
    for (nth, place) in (1..).zip(places) {
        let patience = if nth == count { LAST_DIAL } else { DIAL };
        let mut target = match dial(place.address, service.tunnel().as_ref(), patience).await {
            Ok(target) => target,
            Err(refused) => {
                service.failed(place.target, refused);
                continue;
            }
        };
        let (open, end) = service.opened(place.target);
        let dead = end.notified();
        settle(&target);
        let mut first = proxy.map_or_else(Vec::new, |version| {
            proxy_header(version, Protocol::Tcp, from, reached)
        });
        first.extend_from_slice(&seen);
        let whole = async {
            match target.write_all(&first).await {
                Ok(()) => pump(&mut client, &mut target, service.moved(), idle).await,
                Err(_) => End::Broken,
            }
        };
        let ended = tokio::select! {
            ended = whole => ended,
            () = dead => {
                debug!(target = %place.name, "a connection ends, for its target is dead");
                open.ended();
                End::Broken
            }
        };
        if ended == End::Idle {
            open.idle();
        }
        if ended == End::Broken {
            // a reset, so that neither side takes it for the end of what was said
            let _ = client.set_zero_linger();
            let _ = target.set_zero_linger();
        }
        return;
    }
    service.unserved();
    let _ = client.set_zero_linger();
}

/// `Err(true)` where it was refused.
async fn dial(address: SocketAddr, tunnel: Option<&Tunnel>, patience: Duration) -> Result<TcpStream, bool> {
    let tunnel = tunnel.ok_or(false)?;
    match timeout(patience, connect(address, tunnel)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(error.kind() == io::ErrorKind::ConnectionRefused),
        Err(_) => Err(false),
    }
}

/// Connects through the tunnel, and by no other way: without it nothing leaves this machine.
pub async fn connect(address: SocketAddr, tunnel: &Tunnel) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind_device(Some(tunnel.interface.as_bytes()))?;
    socket.connect(address).await
}
