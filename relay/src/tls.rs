//! The coordinator's TLS: its identity key issues a certificate for a fresh key at each start.
//!
//! A token pins the Ed25519 identity key. Clients take it as the trust anchor whose name is [`ISSUER_NAME`]; the leaf is
//! valid from 1970 to the end of X.509 time, because neither side may need a right clock. Rotation of the TLS key is a
//! restart; the identity key never appears in a handshake.

use std::sync::Arc;

use meshd_api::client::pinned::ISSUER_NAME;
use meshd_api::coordinator::ALPN;
use meshd_core::keys::{CoordinatorPublic, CoordinatorSecret, StatementSigner};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SignatureAlgorithm, SigningKey, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// The TLS key or certificate could not be made. Nothing that a person did: the system's randomness failed, or worse.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rcgen's word.
    #[error("cannot make the TLS certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// rustls' word.
    #[error("cannot set up TLS: {0}")]
    Config(#[from] rustls::Error),
}

/// The identity key as rcgen's issuer.
struct IssuerKey<'a> {
    secret: &'a CoordinatorSecret,
    public: CoordinatorPublic,
}

impl PublicKeyData for IssuerKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl SigningKey for IssuerKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.secret.sign_message(message).to_vec())
    }
}

/// A server's TLS with a fresh P-256 key, certified by `identity`: TLS 1.3, ALPN `meshd/1`, no resumption.
pub fn server_config(identity: &CoordinatorSecret) -> Result<ServerConfig, TlsError> {
    let mut named = CertificateParams::default();
    named.distinguished_name = common_name(ISSUER_NAME);
    let issuer = Issuer::from_params(
        &named,
        IssuerKey {
            secret: identity,
            public: identity.public(),
        },
    );
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let certificate = leaf().signed_by(&key, &issuer)?;
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(config)
}

fn leaf() -> CertificateParams {
    let mut leaf = CertificateParams::default();
    leaf.distinguished_name = common_name("meshrelay");
    leaf.not_before = date_time_ymd(1970, 1, 1);
    leaf.not_after = date_time_ymd(9999, 12, 31);
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshd_api::client::{ClientError, pinned};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    /// Serves one handshake; the pinned client's verdict.
    async fn handshake(pins: &[[u8; 32]]) -> Result<(), ClientError> {
        let config = server_config(&CoordinatorSecret::from_seed(&[7; 32])).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            TlsAcceptor::from(Arc::new(config)).accept(tcp).await.map(|_| ())
        });
        let result = pinned::connect("127.0.0.1", port, pins).await.map(|_| ());
        let _ = server.await;
        result
    }

    #[tokio::test]
    async fn the_pinned_client_accepts_the_identity_and_no_other() {
        let identity = CoordinatorSecret::from_seed(&[7; 32]).public();
        let other = CoordinatorSecret::from_seed(&[8; 32]).public();
        handshake(&[*identity.as_bytes()]).await.unwrap();
        handshake(&[*other.as_bytes(), *identity.as_bytes()])
            .await
            .unwrap();
        let refused = handshake(&[*other.as_bytes()]).await.unwrap_err();
        assert!(matches!(refused, ClientError::Untrusted { .. }), "{refused}");
    }
}
