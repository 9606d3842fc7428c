//! Map exchange between nodes (docs/wire.md section 9): who meets a peer with a newer map fetches it through the tunnel,
//! coordinator or not. What arrives is verified like any map; the exchange itself is trusted with nothing.
//!
//! The map holds the network's LAN key, so it is for nodes alone: the listener hears the network's interface and no other,
//! and answers those who ask from a mesh address and a port below 1024, which on the peer's machine takes a privilege that
//! meshd has and ordinary users lack (RFC 6335 section 6, system ports). One request, a bounded time, few at once.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use meshd_api::client::{ClientError, plain};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, warn};

/// TCP port on mesh addresses.
const PORT: u16 = 7441;
/// Ports from which nodes ask: the system ports that programs choose from for themselves.
const ASKING_PORTS: std::ops::Range<u16> = 512..1024;
/// Largest map taken from a peer, in bytes.
const MAX_MAP: usize = 4 << 20;
/// Bound on one exchange, from its connection to its last byte, on both sides.
const EXCHANGE_TIME: Duration = Duration::from_secs(10);
/// Pause before an address that could not be bound is tried again.
const BIND_PAUSE: Duration = Duration::from_secs(1);
/// Failed tries after which somebody should know.
const WORRY: u32 = 3;
/// Connections at a time, and of one peer.
const MAX_GUESTS: usize = 32;
const MAX_OF_ONE: usize = 2;
/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 16;
/// Most bytes of a request's head.
const MAX_HEAD: usize = 8 * 1024;

/// Where a map is served.
#[derive(Debug, Clone)]
pub struct Place {
    /// The network's interface.
    pub interface: String,
    /// This node's mesh addresses.
    pub addresses: [IpAddr; 2],
    /// The network's prefixes: who asks has an address there.
    pub prefixes: [IpNet; 2],
}

/// Serves this node's map until dropped.
pub struct Server {
    _tasks: JoinSet<()>,
    troubles: Troubles,
}

/// Addresses on which the map cannot be served, and why.
type Troubles = Arc<Mutex<BTreeMap<IpAddr, String>>>;

impl Server {
    /// Serves whatever `map` holds (the CBOR form).
    pub fn start(place: &Place, map: &watch::Receiver<Bytes>) -> Self {
        let mut tasks = JoinSet::new();
        let troubles = Troubles::default();
        for address in place.addresses {
            tasks.spawn(serve(address, place.clone(), map.clone(), troubles.clone()));
        }
        Self {
            _tasks: tasks,
            troubles,
        }
    }

    /// What does not work, for `status`.
    pub fn warnings(&self) -> Vec<String> {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.values().cloned().collect()
    }
}

/// Listens as soon as it can. An address may take a moment to be usable; what lasts longer is somebody else's listener.
async fn bound(address: IpAddr, interface: &str, troubles: &Troubles) -> TcpListener {
    let noted = || troubles.lock().unwrap_or_else(PoisonError::into_inner);
    let mut tries = 0;
    loop {
        match listen(address, interface) {
            Ok(listener) => {
                noted().remove(&address);
                return listener;
            }
            Err(error) if tries == WORRY => {
                let sentence = format!(
                    "the map is not served on {}: {error}; peers cannot fetch it from this node while the coordinator is away. \
                     `ss -lntp` names who has the port; it is tried again",
                    SocketAddr::new(address, PORT)
                );
                warn!("{sentence}");
                noted().insert(address, sentence);
            }
            Err(error) => debug!(%address, %error, "cannot serve the map yet"),
        }
        tries += 1;
        tokio::time::sleep(BIND_PAUSE).await;
    }
}

async fn serve(address: IpAddr, place: Place, map: watch::Receiver<Bytes>, troubles: Troubles) {
    let listener = bound(address, &place.interface, &troubles).await;
    let guests = Guests::default();
    let mut exchanges = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) if place.may_ask(from) => {
                    if let Some(guest) = guests.admit(from.ip()) {
                        exchanges.spawn(answer(stream, map.borrow().clone(), guest));
                    }
                }
                Ok((_, from)) => debug!(%from, "the map is for nodes of the network only"),
                // Out of descriptors, most likely: others end.
                Err(_) => tokio::time::sleep(BIND_PAUSE).await,
            },
            Some(_) = exchanges.join_next() => {}
        }
    }
}

/// A listener that hears one interface only: the kernel takes packets to a mesh address on any other (weak host model).
fn listen(address: IpAddr, interface: &str) -> io::Result<TcpListener> {
    let socket = socket_for(address)?;
    socket.set_reuseaddr(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.bind(SocketAddr::new(address, PORT))?;
    socket.listen(BACKLOG)
}

fn socket_for(address: IpAddr) -> io::Result<TcpSocket> {
    if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }
}

impl Place {
    fn may_ask(&self, from: SocketAddr) -> bool {
        from.port() < ASKING_PORTS.end && self.prefixes.iter().any(|prefix| prefix.contains(&from.ip()))
    }
}

/// Answers one request.
async fn answer(stream: TcpStream, map: Bytes, _guest: Guest) {
    let service = service_fn(move |request: Request<Incoming>| {
        let known = request.method() == Method::GET && request.uri().path() == "/v1/map";
        let body = if known { map.clone() } else { Bytes::new() };
        let status = if known {
            StatusCode::OK
        } else {
            StatusCode::NOT_FOUND
        };
        let response = Response::builder()
            .status(status)
            .header(CONTENT_TYPE, "application/cbor");
        std::future::ready(Ok::<_, Infallible>(
            response
                .body(Full::new(body))
                .expect("a status and a fixed header"),
        ))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(EXCHANGE_TIME)
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    // Its errors are its peer's doing.
    let _ = tokio::time::timeout(EXCHANGE_TIME, connection).await;
}

/// Who is being answered.
#[derive(Debug, Clone, Default)]
struct Guests(Arc<Mutex<Vec<IpAddr>>>);

/// One of them, until dropped.
#[derive(Debug)]
struct Guest {
    among: Guests,
    address: IpAddr,
}

impl Guests {
    /// None where there are too many already, in all or of this address.
    fn admit(&self, address: IpAddr) -> Option<Guest> {
        let mut guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = guests.iter().filter(|guest| **guest == address).count();
        (guests.len() < MAX_GUESTS && of_one < MAX_OF_ONE).then(|| {
            guests.push(address);
            Guest {
                among: self.clone(),
                address,
            }
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut guests = self.among.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = guests.iter().position(|guest| *guest == self.address) {
            guests.swap_remove(place);
        }
    }
}

/// Fetches the map of the peer with the mesh address `peer`; `own` is this node's address of the same family.
///
/// # Errors
/// Where the peer does not answer in time, or with more than 4 MiB.
pub async fn fetch(own: IpAddr, peer: IpAddr) -> Result<Bytes, ClientError> {
    let address = SocketAddr::new(peer, PORT);
    let slow = |_| ClientError::Timeout {
        address: address.to_string(),
        seconds: EXCHANGE_TIME.as_secs(),
    };
    let exchange = async {
        let stream = connect(own, address)
            .await
            .map_err(|cause| ClientError::Unreachable {
                address: address.to_string(),
                cause,
            })?;
        let mut connection = plain::over(stream, address).await?;
        connection
            .request(Method::GET, "/v1/map", Bytes::new(), &[])
            .await
    };
    let reply = tokio::time::timeout(EXCHANGE_TIME, exchange)
        .await
        .map_err(slow)??;
    if reply.body.len() > MAX_MAP {
        return Err(ClientError::Malformed {
            address: address.to_string(),
            cause: "a map of over 4 MiB".into(),
        });
    }
    Ok(reply.body)
}

/// Connects from a system port.
async fn connect(own: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let mut taken = io::Error::from(io::ErrorKind::AddrInUse);
    for port in ASKING_PORTS.rev() {
        let socket = socket_for(own)?;
        socket.set_reuseaddr(true)?;
        match socket.bind(SocketAddr::new(own, port)) {
            Ok(()) => match socket.connect(address).await {
                // The same two addresses and ports are still closing.
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => taken = error,
                connected => return connected,
            },
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => taken = error,
            Err(error) => return Err(error),
        }
    }
    Err(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_ask_from_system_ports_and_mesh_addresses() {
        let place = Place {
            interface: "meshd0".into(),
            addresses: ["10.77.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            prefixes: ["10.77.0.0/16".parse().unwrap(), "fd00::/64".parse().unwrap()],
        };
        for (from, may) in [
            ("10.77.0.2:1023", true),
            ("[fd00::2]:600", true),
            ("10.77.0.2:1024", false),
            ("10.77.0.2:40000", false),
            ("192.168.1.2:600", false),
            ("[fd01::2]:600", false),
        ] {
            assert_eq!(place.may_ask(from.parse().unwrap()), may, "{from}");
        }
    }

    #[test]
    fn guests_are_few_in_all_and_of_one_address() {
        let guests = Guests::default();
        let address = |n: u8| IpAddr::from([10, 77, 0, n]);
        let mut held: Vec<Guest> = (0..MAX_OF_ONE).filter_map(|_| guests.admit(address(1))).collect();
        assert_eq!(held.len(), MAX_OF_ONE);
        assert!(guests.admit(address(1)).is_none());
        held.extend((2..=200).filter_map(|n| guests.admit(address(n))));
        assert_eq!(held.len(), MAX_GUESTS);
        held.clear();
        assert!(guests.admit(address(1)).is_some());
    }
}
