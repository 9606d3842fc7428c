//! Listening: TCP sockets and the admin's Unix socket, and the loops that accept from them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::watch;
use tracing::{debug, warn};

use super::connection::{TlsService, serve_http};
use super::limits::Limits;
use super::session::{Origin, Session};
use crate::config::Listen;

const BACKLOG: u32 = 1024;
/// After `accept` failed for want of descriptors or memory.
const BREATHER: Duration = Duration::from_millis(100);

/// Why a socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Of a TCP address.
    #[error("cannot listen on {addr} (TCP): {cause}{}", hint(cause))]
    Tcp {
        /// The address.
        addr: SocketAddr,
        /// The system's word.
        cause: io::Error,
    },
    /// Of the admin socket.
    #[error("cannot listen on the admin socket {path}: {cause}{}", hint(cause))]
    Unix {
        /// Its path.
        path: PathBuf,
        /// The system's word.
        cause: io::Error,
    },
}

fn hint(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::AddrInUse => "; another program has this address, `ss -lntup` names it",
        io::ErrorKind::PermissionDenied => "; run it by its service, as root, or with CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

/// Listens on all addresses; one that is not required may fail.
pub fn bind_tcp(addrs: &[Listen]) -> Result<Vec<TcpListener>, ListenError> {
    let mut listeners = Vec::new();
    for Listen { addr, required } in addrs {
        match listen(*addr, false) {
            Ok(listener) => listeners.push(listener),
            Err(cause) if !required => debug!(%addr, %cause, "not listened on"),
            Err(cause) => return Err(ListenError::Tcp { addr: *addr, cause }),
        }
    }
    Ok(listeners)
}

/// Listens on an address that this host may not have yet, such as its mesh address before meshd is up.
pub fn bind_tcp_early(addr: SocketAddr) -> Result<TcpListener, ListenError> {
    listen(addr, true).map_err(|cause| ListenError::Tcp { addr, cause })
}

fn listen(addr: SocketAddr, early: bool) -> io::Result<TcpListener> {
    let socket = match addr.ip() {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
            socket
        }
    };
    if early {
        match addr.ip() {
            IpAddr::V4(_) => rustix::net::sockopt::set_ip_freebind(&socket, true)?,
            IpAddr::V6(_) => rustix::net::sockopt::set_ipv6_freebind(&socket, true)?,
        }
    }
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Accepts until the program stops; each connection is a task of its own.
pub async fn accept_tls(listener: TcpListener, service: TlsService, limits: Limits) {
    let mut stop = service.stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((tcp, from)) => match limits.enter(from.ip()) {
                Some(permit) => {
                    let service = service.clone();
                    tokio::spawn(async move {
                        if let Err(ended) = service.serve(tcp, from, permit).await {
                            debug!(%from, %ended, "connection closed");
                        }
                    });
                }
                None => debug!(%from, "connection closed: too many"),
            },
            Err(cause) => {
                warn!(%cause, "cannot accept a connection");
                tokio::time::sleep(BREATHER).await;
            }
        }
    }
}

/// Listens on a Unix socket for root and this program's own user. A socket left by a dead process is replaced.
pub fn bind_unix(path: &Path) -> Result<UnixListener, ListenError> {
    let refused = |cause| ListenError::Unix {
        path: path.to_owned(),
        cause,
    };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(refused)?;
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(refused(io::Error::from(io::ErrorKind::AddrInUse))),
        Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(refused)?;
        }
        Err(_) => {} // not there, or nothing that may be removed: bind tells
    }
    let listener = UnixListener::bind(path).map_err(refused)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(refused)?;
    Ok(listener)
}

/// Accepts from the admin socket until the program stops.
pub async fn accept_unix(listener: UnixListener, router: Router, mut stop: watch::Receiver<bool>) {
    let own = rustix::process::geteuid().as_raw();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted.and_then(|(stream, _)| Ok((stream.peer_cred()?.uid(), stream))) {
            Ok((uid, stream)) if uid == 0 || uid == own => {
                let session = Session::new(Origin::AdminSocket { uid }, None);
                tokio::spawn(serve_http(stream, router.clone(), session, stop.clone()));
            }
            Ok((uid, _)) => warn!(uid, "refused on the admin socket"),
            Err(cause) => {
                warn!(%cause, "cannot accept on the admin socket");
                tokio::time::sleep(BREATHER).await;
            }
        }
    }
}
