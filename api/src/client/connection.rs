//! One HTTP/1.1 connection, whatever carries it.

use super::ClientError;
use crate::Problem;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderName, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Longest answer to a plain request, in bytes.
const MAX_ANSWER: usize = 16 << 20;
/// Longest line of a stream, in bytes: a map of thousands of nodes.
const MAX_LINE: usize = 16 << 20;
/// Bound on a plain request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// One connection; requests go one after the other.
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    address: String,
    exporter: Option<[u8; 32]>,
    local: Option<SocketAddr>,
    authorization: Option<String>,
}

/// An answer: status and body.
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The body, at most 16 MiB.
    pub body: Bytes,
}

impl Connection {
    /// Speaks HTTP/1.1 over `io`. The connection's task ends with the connection.
    pub(super) async fn over<T>(
        io: T,
        address: String,
        exporter: Option<[u8; 32]>,
        local: Option<SocketAddr>,
    ) -> Result<Self, ClientError>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) =
            http1::handshake(TokioIo::new(io))
                .await
                .map_err(|e| ClientError::Broken {
                    address: address.clone(),
                    cause: e.to_string(),
                })?;
        tokio::spawn(connection.with_upgrades());
        Ok(Self {
            sender,
            address,
            exporter,
            local,
            authorization: None,
        })
    }

    /// Keying material that binds a signature to this TLS session (RFC 9266); none over a Unix socket.
    pub fn exporter(&self) -> Option<[u8; 32]> {
        self.exporter
    }

    /// Our end's address on the network; none over a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Sends this `Authorization` with every request from now on.
    pub fn authorize(&mut self, value: String) {
        self.authorization = Some(value);
    }

    /// `GET`, the answer as JSON.
    pub async fn get<A: DeserializeOwned>(&mut self, path: &str) -> Result<A, ClientError> {
        let reply = self.request(Method::GET, path, Bytes::new(), &[]).await?;
        self.json(reply)
    }

    /// A request with a JSON body, the answer as JSON.
    pub async fn send<B: Serialize, A: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: &B,
        headers: &[(HeaderName, String)],
    ) -> Result<A, ClientError> {
        let body = serde_json::to_vec(body).map_err(|e| self.malformed(&e.to_string()))?;
        let reply = self.request(method, path, body.into(), headers).await?;
        self.json(reply)
    }

    /// `POST` with a JSON body, the answer as JSON.
    pub async fn post<B: Serialize, A: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &B,
    ) -> Result<A, ClientError> {
        self.send(Method::POST, path, body, &[]).await
    }

    /// A request, its whole answer. An error status becomes [`ClientError::Refused`].
    pub async fn request(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        headers: &[(HeaderName, String)],
    ) -> Result<Reply, ClientError> {
        let address = self.address.clone();
        let exchange = async {
            let response = self.begin(method, path, body, headers).await?;
            self.collect(response).await
        };
        tokio::time::timeout(REQUEST_TIMEOUT, exchange)
            .await
            .map_err(|_| ClientError::Timeout {
                address,
                seconds: REQUEST_TIMEOUT.as_secs(),
            })?
    }

    /// A `GET` whose answer never ends: newline-delimited JSON. Uses the connection up.
    pub async fn lines(mut self, path: &str) -> Result<LineStream, ClientError> {
        let address = self.address.clone();
        let begin = self.begin(Method::GET, path, Bytes::new(), &[]);
        let response =
            tokio::time::timeout(REQUEST_TIMEOUT, begin)
                .await
                .map_err(|_| ClientError::Timeout {
                    address: address.clone(),
                    seconds: REQUEST_TIMEOUT.as_secs(),
                })??;
        if !response.status().is_success() {
            let reply = self.collect(response).await?;
            return Err(self.malformed(&format!("status {}", reply.status)));
        }
        Ok(LineStream {
            body: response.into_body(),
            buffer: Vec::new(),
            scanned: 0,
            address,
            _sender: self.sender,
        })
    }

    /// Asks with `Upgrade: protocol` on `path`; gives what the connection became. Uses the connection up.
    ///
    /// # Errors
    /// [`ClientError::Refused`] where the other side says no.
    pub async fn upgrade(mut self, path: &str, protocol: &str) -> Result<TokioIo<Upgraded>, ClientError> {
        let headers = [(CONNECTION, "upgrade".to_owned()), (UPGRADE, protocol.to_owned())];
        let begin = self.begin(Method::GET, path, Bytes::new(), &headers);
        let response = tokio::time::timeout(REQUEST_TIMEOUT, begin).await;
        let response = response.map_err(|_| ClientError::Timeout {
            address: self.address.clone(),
            seconds: REQUEST_TIMEOUT.as_secs(),
        })??;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let reply = self.collect(response).await?;
            return Err(self.malformed(&format!("status {} instead of an upgrade", reply.status)));
        }
        let upgraded = hyper::upgrade::on(response).await;
        upgraded.map(TokioIo::new).map_err(|e| self.broken(&e))
    }

    async fn begin(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        headers: &[(HeaderName, String)],
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, "meshd");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|e| self.malformed(&e.to_string()))?;
        self.sender.ready().await.map_err(|e| self.broken(&e))?;
        self.sender
            .send_request(request)
            .await
            .map_err(|e| self.broken(&e))
    }

    async fn collect(&self, response: Response<Incoming>) -> Result<Reply, ClientError> {
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|e| ClientError::Broken {
                address: self.address.clone(),
                cause: e.to_string(),
            })?
            .to_bytes();
        if status.is_success() {
            return Ok(Reply {
                status: status.as_u16(),
                body,
            });
        }
        let problem = serde_json::from_slice(&body)
            .unwrap_or_else(|_| Problem::new("http", format!("{} answered {status}", self.address)));
        Err(ClientError::Refused {
            status: status.as_u16(),
            problem,
        })
    }

    fn json<A: DeserializeOwned>(&self, reply: Reply) -> Result<A, ClientError> {
        serde_json::from_slice(&reply.body).map_err(|e| self.malformed(&e.to_string()))
    }

    fn broken(&self, cause: &hyper::Error) -> ClientError {
        ClientError::Broken {
            address: self.address.clone(),
            cause: cause.to_string(),
        }
    }

    fn malformed(&self, cause: &str) -> ClientError {
        ClientError::Malformed {
            address: self.address.clone(),
            cause: cause.to_owned(),
        }
    }
}

/// A long-lived answer of JSON lines.
pub struct LineStream {
    body: Incoming,
    buffer: Vec<u8>,
    scanned: usize,
    address: String,
    _sender: http1::SendRequest<Full<Bytes>>,
}

impl LineStream {
    /// The next line; `None` when the other side ended the stream. Safe to cancel.
    pub async fn next<L: DeserializeOwned>(&mut self) -> Result<Option<L>, ClientError> {
        loop {
            if let Some(end) = self.buffer[self.scanned..].iter().position(|b| *b == b'\n') {
                let end = self.scanned + end;
                let line = serde_json::from_slice(&self.buffer[..end]).map_err(|e| ClientError::Malformed {
                    address: self.address.clone(),
                    cause: e.to_string(),
                });
                self.buffer.drain(..=end);
                self.scanned = 0;
                return line.map(Some);
            }
            self.scanned = self.buffer.len();
            if self.buffer.len() > MAX_LINE {
                return Err(ClientError::Malformed {
                    address: self.address.clone(),
                    cause: "a line of over 16 MiB".into(),
                });
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(e)) => {
                    return Err(ClientError::Broken {
                        address: self.address.clone(),
                        cause: e.to_string(),
                    });
                }
            }
        }
    }
}
