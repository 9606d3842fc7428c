//! HTTP over plain TCP, for addresses inside the tunnel.

use super::{ClientError, Connection};
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// Speaks to `address`, to which `stream` is connected.
///
/// # Errors
/// Where the connection breaks at once.
pub async fn over(stream: TcpStream, address: SocketAddr) -> Result<Connection, ClientError> {
    let local = stream.local_addr().ok();
    Connection::over(stream, address.to_string(), None, local).await
}
