//! One connection from its first byte to its last.
//!
//! 1. The ClientHello is looked at; what does not offer `meshd/1` and asks for a site that is exposed goes to the ingress, and anything
//!    else is closed without a byte of answer.
//! 2. The TLS handshake, within [`HANDSHAKE_TIME`].
//! 3. HTTP/1.1, with bounds on headers and time; each request carries its [`Session`].
//!
//! A connection ends when its peer ends it, when it stays a guest's too long, when a handler cuts it, or when the program
//! stops; nothing it does can hold more than its buffers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use meshd_api::coordinator::{ALPN, EXPORTER_LABEL};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::hello::{HelloError, read_hello};
use super::limits::{GUEST_TIME, Permit};
use super::session::{Origin, Session, TlsOrigin};
use crate::expose::Ingress;

/// How long a TLS handshake may take after the ClientHello.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// How long a client may take for a request's headers, or leave a connection idle between requests.
const HEADER_TIME: Duration = Duration::from_secs(60);
/// What was sent and is not acknowledged for so long means that the other side is gone.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests may go on when the program stops.
const GRACE: Duration = Duration::from_secs(2);
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// What all connections of a listener share.
#[derive(Clone)]
pub struct TlsService {
    /// Keys and ALPN.
    pub tls: Arc<ServerConfig>,
    /// Who answers.
    pub router: Router,
    /// Whether signed admin requests are answered.
    pub admin: bool,
    /// What is exposed at the same port, by site.
    pub ingress: Option<Ingress>,
    /// Becomes true when the program stops.
    pub stop: watch::Receiver<bool>,
}

/// Why a connection ended before HTTP.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// Before TLS.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// The client wants something that is not served here.
    #[error("no protocol offered that is served here")]
    OtherProtocol,
    /// The handshake failed.
    #[error("TLS handshake: {0}")]
    Handshake(std::io::Error),
    /// The handshake took too long.
    #[error("TLS handshake not done within 5 s")]
    SlowHandshake,
    /// Too many connections that prove nothing.
    #[error("gave way to a newer connection: it had proven nothing, and there were too many like it")]
    GaveWay,
    /// No keying material.
    #[error("TLS exporter: {0}")]
    Exporter(#[from] rustls::Error),
}

impl TlsService {
    /// Serves one TCP connection until it ends, or must give way to another.
    pub async fn serve(self, tcp: TcpStream, from: SocketAddr, permit: Permit) -> Result<(), Ended> {
        let go = permit.must_go();
        tokio::select! {
            ended = self.serve_fully(tcp, from, permit) => ended,
            () = go.notified() => Err(Ended::GaveWay),
        }
    }

    async fn serve_fully(self, tcp: TcpStream, from: SocketAddr, permit: Permit) -> Result<(), Ended> {
        let reached = tcp.local_addr().map_err(HelloError::Closed)?;
        let _ = tcp.set_nodelay(true);
        let _ = rustix::net::sockopt::set_tcp_user_timeout(tcp.as_fd(), USER_TIMEOUT.as_millis() as u32);
        let (hello, replay) = read_hello(tcp).await?;
        permit.spoke();
        if !hello.offers(ALPN) {
            let site = |ingress: &Ingress| ingress.site(reached.port(), hello.server_name.as_deref());
            let exposed = self.ingress.as_ref().and_then(site);
            let exposed = exposed.ok_or(Ended::OtherProtocol)?;
            drop(permit);
            let (seen, tcp) = replay.into_parts();
            exposed.take_over(tcp.into_std().map_err(HelloError::Closed)?, seen, from);
            return Ok(());
        }
        let handshake = TlsAcceptor::from(self.tls.clone()).accept(replay);
        let stream = tokio::time::timeout(HANDSHAKE_TIME, handshake)
            .await
            .map_err(|_| Ended::SlowHandshake)?
            .map_err(Ended::Handshake)?;
        let exporter = stream
            .get_ref()
            .1
            .export_keying_material([0; 32], EXPORTER_LABEL, Some(&[]))?;
        let origin = TlsOrigin {
            exporter,
            from,
            reached,
            admin: self.admin,
        };
        let session = Session::new(Origin::Tls(origin), Some(permit));
        serve_http(stream, self.router, session, self.stop).await;
        Ok(())
    }
}

/// HTTP/1.1 over `io` until it ends.
pub async fn serve_http<T>(io: T, router: Router, session: Session, mut stop: watch::Receiver<bool>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let of_request = session.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(of_request.clone());
        let router = router.clone();
        async move {
            Ok::<Response, Infallible>(
                router
                    .oneshot(request)
                    .await
                    .unwrap_or_else(|never| match never {}),
            )
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    tokio::pin!(connection);
    let guest_end = tokio::time::sleep(GUEST_TIME);
    tokio::pin!(guest_end);
    let mut guest = session.is_guest();
    loop {
        tokio::select! {
            _ = connection.as_mut() => return, // its errors are its peer's doing
            () = session.until_cut() => return,
            () = guest_end.as_mut(), if guest => {
                if session.is_guest() {
                    return;
                }
                guest = false;
            }
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, connection).await;
}
