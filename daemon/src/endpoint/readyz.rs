//! `GET /readyz` over TLS, as API servers answer it, by one connection for many questions.
//!
//! The certificate must be one that a known authority issued for a server. Neither its names nor its dates are judged: the address
//! is the mesh's, which proves who is there, a node's clock may be anywhere, and whoever uses the endpoint judges for himself.

use super::probe::{Found, not_connected};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use meshd_core::balance::Outcome;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tracing::debug;

/// Longest answer that is read; `/readyz` says `ok`, or a line for each check.
const MAX_ANSWER: usize = 16 * 1024;
/// Certificates have two dates, and a chain a few certificates.
const MAX_DATES: usize = 8;

/// A connection by which a member was asked, and is asked again.
pub struct Link {
    address: SocketAddr,
    sender: SendRequest<Empty<Bytes>>,
}

impl Link {
    /// Whom it leads to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// What TLS needs to know of these authorities (DER).
///
/// # Errors
/// Where one is no certificate.
pub fn config(authorities: &[Vec<u8>]) -> Result<Arc<ClientConfig>, String> {
    let anchor = |der: &Vec<u8>| {
        let der = CertificateDer::from(der.as_slice());
        let anchor = webpki::anchor_from_trusted_cert(&der).map(|anchor| anchor.to_owned());
        anchor.map_err(|error| format!("the endpoint's certificate of an authority cannot be read: {error}"))
    };
    let anchors = authorities.iter().map(anchor).collect::<Result<_, _>>()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Issued {
        anchors,
        provider: provider.clone(),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?;
    let mut config = config
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Asks by the connection that there is, where it still works, else by a new one.
pub async fn ask(address: SocketAddr, tls: Arc<ClientConfig>, link: Option<Link>) -> Found {
    if let Some(mut link) = link
        && let Some(outcome) = question(&mut link).await
    {
        return Found {
            link: Some(link),
            ..Found::only(outcome)
        };
    }
    let begun = Instant::now();
    let stream = match TcpStream::connect(address).await {
        Ok(stream) => stream,
        Err(error) => return Found::only(not_connected(&error)),
    };
    let round_trip = Some(begun.elapsed());
    let _ = stream.set_nodelay(true);
    let (outcome, link) = match link_over(address, stream, tls).await {
        Ok(mut link) => match question(&mut link).await {
            Some(outcome) => (outcome, Some(link)),
            None => (Outcome::NotReady, None),
        },
        Err(why) => {
            debug!(%address, why, "a member speaks no TLS as it should");
            (Outcome::NotReady, None)
        }
    };
    Found {
        outcome,
        round_trip,
        link,
    }
}

async fn link_over(address: SocketAddr, stream: TcpStream, tls: Arc<ClientConfig>) -> Result<Link, String> {
    let name = ServerName::from(address.ip());
    let tls = TlsConnector::from(tls).connect(name, stream).await;
    let io = TokioIo::new(tls.map_err(|error| error.to_string())?);
    let (sender, connection) = http1::handshake(io).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(Link { address, sender })
}

/// `None` where the connection does not work any more.
async fn question(link: &mut Link) -> Option<Outcome> {
    let request = Request::get("/readyz")
        .header(HOST, link.address.to_string())
        .body(Empty::new())
        .ok()?;
    link.sender.ready().await.ok()?;
    let answer = link.sender.send_request(request).await.ok()?;
    let outcome = match answer.status() {
        // one that answers no stranger lives all the same
        StatusCode::OK | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Outcome::Ready,
        _ => Outcome::NotReady,
    };
    Limited::new(answer.into_body(), MAX_ANSWER)
        .collect()
        .await
        .ok()?;
    Some(outcome)
}

/// A server's certificate that one of the authorities issued.
#[derive(Debug)]
struct Issued {
    anchors: Vec<TrustAnchor<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Issued {
    /// Whether it was issued, at whatever time all dates of the chain allow.
    fn judge(&self, leaf: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> Result<(), webpki::Error> {
        let leaf = webpki::EndEntityCert::try_from(leaf)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        let mut at = UnixTime::now();
        let mut tries = 0;
        loop {
            let usage = webpki::KeyUsage::server_auth();
            let judged = leaf.verify_for_usage(algorithms, &self.anchors, chain, at, usage, None, None);
            tries += 1;
            at = match judged {
                Ok(_) => return Ok(()),
                Err(webpki::Error::CertNotValidYet { not_before, .. }) if tries < MAX_DATES => not_before,
                Err(webpki::Error::CertExpired { not_after, .. }) if tries < MAX_DATES => not_after,
                Err(error) => return Err(error),
            };
        }
    }
}

impl ServerCertVerifier for Issued {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let judged = self.judge(end_entity, intermediates);
        judged.map_err(|error| {
            debug!(%error, "a member's certificate is refused");
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests;
