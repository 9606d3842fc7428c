//! Public ports: at which addresses they are, and that they are listened on as soon as they can be.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meshd_core::statement::Protocol;
use meshd_net::udp::{PathMtuDiscovery, UdpConfig, UdpError, UdpSocket};
use tokio::net::{TcpListener, TcpSocket};
use tracing::{debug, warn};

use super::owner;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 1024;
/// Pause before a port that could not be had is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// Failed tries after which somebody should know.
const WORRY: u32 = 4;
/// Buffers of a public UDP socket.
const UDP_BUFFER: usize = 1 << 20;

/// Which ports are listened on, and which should be and are not.
#[derive(Default)]
pub struct Ports(Mutex<BTreeMap<(Protocol, SocketAddr), Result<(), String>>>);

impl Ports {
    fn held(&self) -> MutexGuard<'_, BTreeMap<(Protocol, SocketAddr), Result<(), String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a port is listened on here.
    pub fn is_open(&self, protocol: Protocol, port: u16) -> bool {
        self.at(protocol, port).any(|(_, state)| state.is_ok())
    }

    /// Where a port is, and why it is not where it should be.
    pub fn at(
        &self,
        protocol: Protocol,
        port: u16,
    ) -> impl Iterator<Item = (SocketAddr, Result<(), String>)> {
        let held = self.held().clone();
        held.into_iter()
            .filter(move |((of, at), _)| *of == protocol && at.port() == port)
            .map(|((_, at), state)| (at, state))
    }

    /// A port is meshrelay's own, and shared.
    pub fn note(&self, protocol: Protocol, at: SocketAddr) {
        self.held().insert((protocol, at), Ok(()));
    }

    /// A port is wanted no longer.
    pub fn forget(&self, protocol: Protocol, port: u16) {
        self.held()
            .retain(|(of, at), _| *of != protocol || at.port() != port);
    }

    /// Listens as soon as it can; `name` is whose port it is.
    pub async fn open<T>(
        &self,
        protocol: Protocol,
        at: SocketAddr,
        name: &str,
        bind: impl Fn(SocketAddr) -> io::Result<T>,
    ) -> T {
        let mut tries = 0;
        loop {
            match bind(at) {
                Ok(socket) => {
                    self.held().insert((protocol, at), Ok(()));
                    return socket;
                }
                Err(error) if tries == WORRY => {
                    let why = sentence(protocol, at, &error);
                    warn!(exposure = %name, "not listened on: {why}; it is tried again");
                    self.held().insert((protocol, at), Err(why));
                }
                Err(error) => debug!(%at, %error, "cannot listen yet"),
            }
            tries += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The public addresses that this host has itself; where it is not known, or another machine translates them, all addresses.
pub fn addresses(public: &[String]) -> Vec<IpAddr> {
    let parsed: Option<Vec<IpAddr>> = public.iter().map(|host| host.parse().ok()).collect();
    let has = |ip: &IpAddr| std::net::UdpSocket::bind(SocketAddr::new(*ip, 0)).is_ok();
    match parsed {
        Some(all) if !all.is_empty() && all.iter().any(has) => all.into_iter().filter(has).collect(),
        _ => [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
            .into_iter()
            .filter(has)
            .collect(),
    }
}

/// Listens on a port of TCP.
pub fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = match at {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
            socket
        }
    };
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

/// A socket at a port of UDP.
pub fn receive(at: SocketAddr) -> io::Result<UdpSocket> {
    let config = UdpConfig {
        recv_buffer: UDP_BUFFER,
        send_buffer: UDP_BUFFER,
        path_mtu: PathMtuDiscovery::Off,
        ..UdpConfig::new(at)
    };
    UdpSocket::bind(&config).map_err(|error| match error {
        UdpError::Bind { source, .. } | UdpError::Option { source, .. } => source,
        UdpError::NotUdp => io::Error::other(error),
    })
}

/// Whether a port can be listened on; else a sentence that says why not.
pub fn try_bind(protocol: Protocol, at: SocketAddr) -> Result<(), String> {
    let tried = match protocol {
        Protocol::Tcp => listen_plainly(at),
        Protocol::Udp => std::net::UdpSocket::bind(at).map(drop),
    };
    tried.map_err(|error| sentence(protocol, at, &error))
}

/// As [`listen`], without an event loop.
fn listen_plainly(at: SocketAddr) -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
    let family = match at {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &at)?;
    Ok(listen(&socket, 1)?)
}

fn sentence(protocol: Protocol, at: SocketAddr, error: &io::Error) -> String {
    let (word, port) = (protocol.word(), at.port());
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let who = owner::of(protocol, at).unwrap_or_else(|| {
                "another program of this machine, which `ss -lntup` there names".to_owned()
            });
            format!(
                "port {port} ({word}) of this machine is in use by {who}; take another port, or stop that one"
            )
        }
        io::ErrorKind::PermissionDenied => format!(
            "port {port} ({word}) needs CAP_NET_BIND_SERVICE: run meshrelay by its service, or as root"
        ),
        _ => format!(
            "port {port} ({word}) cannot be listened on at {}: {error}",
            at.ip()
        ),
    }
}
