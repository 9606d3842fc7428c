//! HTTP over TLS 1.3 to a coordinator whose identity key is pinned.
//!
//! The coordinator's Ed25519 identity key issues its TLS certificate. The verifier checks that signature and
//! nothing else: no CA, no name, and no date, since a node's clock may be anywhere.

use super::{ClientError, Connection};
use crate::coordinator::{ALPN, EXPORTER_LABEL};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, Der, ServerName, TrustAnchor, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Common name of the issuer in every coordinator's certificate.
pub const ISSUER_NAME: &str = "meshd coordinator";
/// The issuer's name, DER: the inside of a Name with the common name above (RFC 5280 section 4.1.2.4).
const ISSUER_DER: &[u8] = b"\x31\x1a\x30\x18\x06\x03\x55\x04\x03\x0c\x11meshd coordinator";
/// The inside of an Ed25519 SubjectPublicKeyInfo up to the key (RFC 8410 section 4).
const ED25519_SPKI: &[u8] = b"\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
/// The moment at which certificates are judged: 2020-01-01, inside every coordinator certificate's validity.
const JUDGED_AT: Duration = Duration::from_secs(1_577_836_800);
/// Bound on TCP connect and TLS handshake together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

/// Connects to `host:port`, accepting only a coordinator with one of the `pins` (Ed25519 public keys).
pub async fn connect(host: &str, port: u16, pins: &[[u8; 32]]) -> Result<Connection, ClientError> {
    let address = format!("{host}:{port}");
    tokio::time::timeout(CONNECT_TIMEOUT, establish(host, port, pins, &address))
        .await
        .map_err(|_| ClientError::Timeout {
            address: address.clone(),
            seconds: CONNECT_TIMEOUT.as_secs(),
        })?
}

async fn establish(
    host: &str,
    port: u16,
    pins: &[[u8; 32]],
    address: &str,
) -> Result<Connection, ClientError> {
    let tcp = TcpStream::connect((host, port))
        .await
        .map_err(|cause| ClientError::Unreachable {
            address: address.to_owned(),
            cause,
        })?;
    let _ = tcp.set_nodelay(true);
    let local = tcp.local_addr().ok();
    let name = ServerName::try_from("meshd").expect("a constant DNS name");
    let tls = TlsConnector::from(Arc::new(config(pins)))
        .connect(name, tcp)
        .await
        .map_err(|cause| ClientError::Untrusted {
            address: address.to_owned(),
            cause,
        })?;
    let exporter = tls
        .get_ref()
        .1
        .export_keying_material([0u8; 32], EXPORTER_LABEL, Some(&[]))
        .map_err(|e| ClientError::Broken {
            address: address.to_owned(),
            cause: e.to_string(),
        })?;
    Connection::over(tls, address.to_owned(), Some(exporter), local).await
}

fn config(pins: &[[u8; 32]]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(PinnedVerifier::new(pins, provider.clone()));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring does TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    config.resumption = rustls::client::Resumption::disabled();
    config
}

#[derive(Debug)]
struct PinnedVerifier {
    anchors: Vec<TrustAnchor<'static>>,
    provider: Arc<CryptoProvider>,
}

impl PinnedVerifier {
    fn new(pins: &[[u8; 32]], provider: Arc<CryptoProvider>) -> Self {
        let anchors = pins
            .iter()
            .map(|key| TrustAnchor {
                subject: Der::from_slice(ISSUER_DER),
                subject_public_key_info: Der::from([ED25519_SPKI, key].concat()),
                name_constraints: None,
            })
            .collect();
        Self { anchors, provider }
    }
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let refused = |_| rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let leaf = webpki::EndEntityCert::try_from(end_entity).map_err(refused)?;
        leaf.verify_for_usage(
            &[webpki::ring::ED25519],
            &self.anchors,
            &[],
            UnixTime::since_unix_epoch(JUDGED_AT),
            webpki::KeyUsage::server_auth(),
            None,
            None,
        )
        .map_err(refused)?;
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
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
