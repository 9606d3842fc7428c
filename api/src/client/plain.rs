//! HTTP over plain TCP, for addresses inside the tunnel.

use super::{ClientError, Connection};
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// Connects to `address`.
pub async fn connect(address: SocketAddr) -> Result<Connection, ClientError> {
    let unreachable = |cause| ClientError::Unreachable {
        address: address.to_string(),
        cause,
    };
    let stream = TcpStream::connect(address).await.map_err(unreachable)?;
    let local = stream.local_addr().ok();
    Connection::over(stream, address.to_string(), None, local).await
}
