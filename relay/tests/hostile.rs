//! Bytes from strangers: nothing is answered that should not be, nothing is held for long, and others go on.

mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meshd_api::coordinator::admin::TokenCreate;
use meshd_core::stun;
use rand_core::{OsRng, RngCore};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use world::{PATIENCE, TestNode, World};

/// Trusts anybody: the attacker does not care.
#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]
    }
}

async fn tls(at: SocketAddr, alpn: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let tcp = TcpStream::connect(at).await?;
    TlsConnector::from(Arc::new(config))
        .connect("meshd".try_into().unwrap(), tcp)
        .await
}

/// What comes back until the other side closes; its close is waited for.
async fn until_closed(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the connection stays open");
    answer
}

async fn still_serves(world: &World) {
    let name = format!("n{}", OsRng.next_u32());
    let token = world.token("prod", TokenCreate::default()).await;
    let node = TestNode::enter(&token, world.https(), &name).await;
    let mut stream = node.stream(world.https()).await;
    stream
        .until("itself", |stream| stream.names().contains(&name))
        .await;
}

#[tokio::test]
async fn what_is_no_tls_is_closed_without_a_byte() {
    let world = World::with_network().await;
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"SSH-2.0-x\r\n",
        &[22, 3, 1, 0, 5, 2, 0, 0, 1, 0],
        &[0; 400],
    ] {
        let mut tcp = TcpStream::connect(world.https()).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        assert_eq!(until_closed(&mut tcp).await, b"");
    }
    still_serves(&world).await;
}

#[tokio::test]
async fn other_protocols_are_closed_without_a_handshake() {
    let world = World::with_network().await;
    for alpn in [&[][..], &[&b"h2"[..]], &[&b"http/1.1"[..], &b"meshd/2"[..]]] {
        assert!(tls(world.https(), alpn).await.is_err());
    }
    tls(world.https(), &[b"h2", b"meshd/1"]).await.unwrap();
}

#[tokio::test]
async fn damaged_hellos_and_handshakes_are_closed() {
    let world = World::with_network().await;
    // a real hello, caught on its way
    let trap = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = trap.local_addr().unwrap();
    let caught = tokio::spawn(async move {
        let (mut tcp, _) = trap.accept().await.unwrap();
        let mut hello = vec![0; 4096];
        let len = tcp.read(&mut hello).await.unwrap();
        hello.truncate(len);
        hello
    });
    assert!(tls(at, &[b"meshd/1"]).await.is_err());
    let hello = caught.await.unwrap();
    let attempts = (0..120usize).map(|n| {
        let mut bytes = hello.clone();
        match n % 3 {
            0 => {
                let at = OsRng.next_u32() as usize % bytes.len();
                bytes[at] ^= 1 << (n % 8);
            }
            1 => bytes.truncate(n * bytes.len() / 120),
            _ => bytes.extend((0..n * 40).map(|_| OsRng.next_u32() as u8)),
        }
        let at = world.https();
        tokio::spawn(async move {
            let mut tcp = TcpStream::connect(at).await.unwrap();
            let _ = tcp.write_all(&bytes).await;
            let _ = tcp.shutdown().await;
            until_closed(&mut tcp).await;
        })
    });
    for attempt in attempts.collect::<Vec<_>>() {
        attempt.await.unwrap();
    }
    still_serves(&world).await;
}

#[tokio::test]
async fn http_is_bounded_in_every_direction() {
    let world = World::with_network().await;
    let big_header = format!(
        "GET /v1/openapi.json HTTP/1.1\r\nX: {}\r\n\r\n",
        "a".repeat(40_000)
    );
    let many: String = (0..200).map(|n| format!("X{n}: y\r\n")).collect();
    let many = format!("GET /v1/openapi.json HTTP/1.1\r\n{many}\r\n");
    for (bytes, status) in [
        (big_header.as_str(), "431"),
        (many.as_str(), "431"),
        ("\0\0\0\r\n\r\n", "400"),
        ("GET / HTTP/9.9\r\n\r\n", "400"),
        (
            "POST /v1/join HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "400",
        ),
    ] {
        let mut stream = tls(world.https(), &[b"meshd/1"]).await.unwrap();
        let _ = stream.write_all(bytes.as_bytes()).await;
        let answer = String::from_utf8_lossy(&until_closed(&mut stream).await).into_owned();
        assert!(answer.is_empty() || answer.contains(status), "{status}: {answer}");
    }
    still_serves(&world).await;
}

#[tokio::test]
async fn an_unproven_request_is_answered_once_and_its_body_is_not_read() {
    let world = World::with_network().await;
    for path in [
        "/v1/join",
        "/v1/networks/00000000000000000000000000000000/statements",
    ] {
        let mut stream = tls(world.https(), &[b"meshd/1"]).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = String::from_utf8_lossy(&until_closed(&mut stream).await).into_owned();
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let world = World::with_network().await;
    let token = world.token("prod", TokenCreate::default()).await;
    let node = TestNode::new(&token);
    let mut request = node.join_request("x");
    request.hostname = "x".repeat(100_000);
    let mut connection = node.connect(world.https()).await;
    let refused = connection
        .post::<_, serde_json::Value>("/v1/join", &request)
        .await;
    assert!(refused.is_err());
    let mut request = node.join_request("x");
    request.facts = (0..100).map(|n| (n.to_string(), "v".into())).collect();
    let mut connection = node.connect(world.https()).await;
    assert!(
        connection
            .post::<_, serde_json::Value>("/v1/join", &request)
            .await
            .is_err()
    );
    for bad in [
        &b"{"[..],
        b"[]",
        b"\xff",
        b"{\"enrolment\":\"AA==\",\"hostname\":1}",
        b"{\"enrolment\":\"!\",\"hostname\":\"x\"}",
    ] {
        let mut connection = node.connect(world.https()).await;
        let refused = connection
            .request(hyper::Method::POST, "/v1/join", bad.to_vec().into(), &[])
            .await;
        assert!(refused.is_err(), "{bad:?}");
    }
    still_serves(&world).await;
}

#[tokio::test]
async fn connections_that_prove_nothing_give_way_to_newer_ones() {
    let world = World::with_network().await;
    let mut held = Vec::new();
    for _ in 0..600 {
        held.push(TcpStream::connect(world.https()).await.unwrap());
    }
    // from the same address as all of them
    still_serves(&world).await;
    let mut closed = 0;
    for mut tcp in held {
        let mut byte = [0];
        if let Ok(Ok(0) | Err(_)) = tokio::time::timeout(Duration::from_millis(1), tcp.read(&mut byte)).await
        {
            closed += 1;
        }
    }
    assert!(closed >= 600 - 256, "{closed} of 600 were closed");
}

#[tokio::test]
async fn udp_takes_any_bytes_and_answers_no_more_than_it_was_asked() {
    let world = World::with_network().await;
    let token = world.token("prod", TokenCreate::default()).await;
    let node = TestNode::enter(&token, world.https(), "a").await;
    let mut stream = node.stream(world.https()).await;
    stream.until_names(&["a"]).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let udp = world.relay.plane.local_addrs();
    for n in 0..3_000u32 {
        let mut bytes = vec![0; (OsRng.next_u32() % 1400) as usize];
        OsRng.fill_bytes(&mut bytes);
        match n % 4 {
            0 if bytes.len() >= 12 => {
                bytes[..4].copy_from_slice(&5u32.to_le_bytes());
                bytes[4..12].fill(0);
            }
            1 if bytes.len() >= 4 => bytes[..4].copy_from_slice(&5u32.to_le_bytes()),
            2 if bytes.len() >= 8 => {
                bytes[0] &= 0x3f;
                bytes[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
            }
            _ => {}
        }
        let _ = socket.send_to(&bytes, udp[n as usize % udp.len()]).await;
    }
    let request = stun::binding_request([7; 12]);
    let mut answer = [0; 2048];
    let answered = tokio::time::timeout(PATIENCE, async {
        loop {
            socket.send_to(&request, udp[1]).await.unwrap();
            let receive =
                tokio::time::timeout(Duration::from_millis(200), socket.recv_from(&mut answer)).await;
            if let Ok(Ok((len, _))) = receive
                && let Some((transaction, seen)) = stun::parse_answer(&answer[..len])
            {
                return (len, transaction, seen);
            }
        }
    });
    let (len, transaction, seen) = answered.await.expect("no STUN answer");
    assert!(len <= request.len());
    assert_eq!((transaction, seen), ([7; 12], socket.local_addr().unwrap()));
    let metrics = world.relay.plane.metrics();
    assert!(metrics.dropped > 0 && metrics.forwarded == 0, "{metrics:?}");
    still_serves(&world).await;
}
