//! What a real TLS server's answers come to.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// A server's certificate, valid between these years.
    fn server(&self, years: (i32, i32)) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["kubernetes".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }
}

/// A server that gives these answers to the questions of one connection, and then closes it.
async fn serving(config: ServerConfig, answers: &'static [&'static str]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut tls) = acceptor.accept(stream).await else {
                continue;
            };
            for status in answers {
                let mut question = [0; 1024];
                let Ok(1..) = tls.read(&mut question).await else {
                    break;
                };
                assert!(question.starts_with(b"GET /readyz HTTP/1.1\r\n"));
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok");
                tls.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    at
}

async fn asked(authority: &Authority, at: SocketAddr) -> (Outcome, Option<Link>) {
    let found = ask(at, config(&[authority.der()]).unwrap(), None).await;
    (found.outcome, found.link)
}

#[tokio::test]
async fn one_connection_serves_many_questions_and_a_closed_one_is_replaced() {
    let authority = Authority::new();
    let answers = &["200 OK", "500 Internal Server Error", "403 Forbidden"];
    let at = serving(authority.server((2020, 2090)), answers).await;
    let tls = config(&[authority.der()]).unwrap();
    let mut link = None;
    for wanted in [Outcome::Ready, Outcome::NotReady, Outcome::Ready, Outcome::Ready] {
        let found = ask(at, tls.clone(), link).await;
        assert_eq!(found.outcome, wanted);
        link = found.link;
    }
}

#[tokio::test]
async fn dates_are_not_judged_and_issuers_are() {
    let (authority, other) = (Authority::new(), Authority::new());
    for years in [(2080, 2090), (2000, 2001)] {
        let at = serving(authority.server(years), &["200 OK"]).await;
        assert_eq!(asked(&authority, at).await.0, Outcome::Ready, "{years:?}");
        assert_eq!(asked(&other, at).await.0, Outcome::NotReady, "{years:?}");
    }
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    assert_eq!(asked(&Authority::new(), at).await.0, Outcome::Refused);
}

#[test]
fn what_is_no_certificate_is_said() {
    assert!(config(&[vec![0x30, 0]]).unwrap_err().contains("cannot be read"));
}
