//! HTTP over a Unix socket.

use super::{ClientError, Connection};
use std::path::Path;
use tokio::net::UnixStream;

/// Connects to the socket at `path`.
pub async fn connect(path: &Path) -> Result<Connection, ClientError> {
    let address = path.display().to_string();
    let stream = UnixStream::connect(path)
        .await
        .map_err(|cause| ClientError::Unreachable {
            address: address.clone(),
            cause,
        })?;
    Connection::over(stream, address, None, None).await
}
