//! Map exchange between nodes (docs/wire.md section 9): who meets a peer with a newer map fetches it through the tunnel,
//! coordinator or not. What arrives is verified like any map; the exchange itself is trusted with nothing.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use meshd_api::client::{ClientError, plain};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::debug;

/// TCP port on mesh addresses.
const PORT: u16 = 7441;
/// Largest map taken from a peer, in bytes.
const MAX_MAP: usize = 4 << 20;
/// Bound on one fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before an address that could not be bound is tried again.
const BIND_PAUSE: Duration = Duration::from_secs(1);

/// Serves this node's map on its mesh addresses until dropped.
pub struct Server {
    _tasks: JoinSet<()>,
}

impl Server {
    /// Serves whatever `map` holds (the CBOR form) on each of `addresses`.
    pub fn start(addresses: [IpAddr; 2], map: watch::Receiver<Bytes>) -> Self {
        let mut tasks = JoinSet::new();
        for address in addresses {
            tasks.spawn(serve(SocketAddr::new(address, PORT), map.clone()));
        }
        Self { _tasks: tasks }
    }
}

async fn serve(address: SocketAddr, map: watch::Receiver<Bytes>) {
    let app = Router::new().route("/v1/map", get(current)).with_state(map);
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => debug!(%address, %error, "cannot serve the map yet"),
        }
        tokio::time::sleep(BIND_PAUSE).await;
    };
    let _ = axum::serve(listener, app).await;
}

async fn current(
    State(map): State<watch::Receiver<Bytes>>,
) -> ([(axum::http::HeaderName, &'static str); 1], Bytes) {
    ([(CONTENT_TYPE, "application/cbor")], map.borrow().clone())
}

/// Fetches the map of the peer with this mesh address.
///
/// # Errors
/// Where the peer does not answer in time, or with more than 4 MiB.
pub async fn fetch(peer: IpAddr) -> Result<Bytes, ClientError> {
    let address = SocketAddr::new(peer, PORT);
    let slow = |_| ClientError::Timeout {
        address: address.to_string(),
        seconds: FETCH_TIMEOUT.as_secs(),
    };
    let exchange = async {
        let mut connection = plain::connect(address).await?;
        connection
            .request(hyper::Method::GET, "/v1/map", Bytes::new(), &[])
            .await
    };
    let reply = tokio::time::timeout(FETCH_TIMEOUT, exchange)
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
