//! What is exposed, as admins say it and as meshrelay listens: what is refused, by whose name, and that a port opens and closes.

mod world;

use std::time::Duration;

use meshd_api::client::ClientError;
use meshd_api::coordinator::admin::{Done, ExposeInfo, TokenCreate};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use world::{PATIENCE, TestNode, World, free_port};

const PATH: &str = "/networks/prod/exposures";

fn exposure(name: &str, port: u16, more: Value) -> Value {
    let mut body = json!({ "name": name, "protocol": "tcp", "port": port, "targets": [{ "node": "db1", "port": 80 }], "based_on": 0 });
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    body
}

async fn set(world: &World, body: Value) -> Result<Done, ClientError> {
    world.post(PATH, &body).await
}

async fn listed(world: &World) -> Vec<ExposeInfo> {
    world.get(PATH).await.unwrap()
}

async fn remove(world: &World, name: &str) {
    let _: Done = world
        .post(&format!("{PATH}/remove"), &json!({ "name": name }))
        .await
        .unwrap();
}

async fn world() -> World {
    let (world, token) = World::with_token(TokenCreate::default()).await;
    TestNode::enter(&token, world.https(), "db1").await;
    world
}

/// Connects until it is taken, or refused, as wanted.
async fn until_open(port: u16, open: bool) {
    let tried = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_ok() != open {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, tried).await.unwrap();
}

#[tokio::test]
async fn a_port_opens_is_there_after_a_restart_and_closes() {
    let world = world().await;
    let port = free_port();
    let done = set(&world, exposure("web", port, json!({}))).await.unwrap();
    assert!(
        done.message
            .contains("leads to db1:80; but nothing can be forwarded"),
        "{}",
        done.message
    );
    until_open(port, true).await;
    let info = listed(&world).await.remove(0);
    assert_eq!((info.at, info.through), (vec![format!("127.0.0.1:{port}")], None));
    assert!(info.troubles[0].contains("meshctl join"), "{:?}", info.troubles);
    assert_eq!((info.limits.connections, info.limits.idle_seconds), (4096, 3600));
    let stale = set(&world, exposure("web", port, json!({}))).await.unwrap_err();
    assert!(stale.to_string().contains("changed meanwhile"), "{stale}");
    let world = world.restart().await;
    until_open(port, true).await;
    let other = free_port();
    let moved = exposure("web", other, json!({ "based_on": info.serial }));
    set(&world, moved).await.unwrap();
    until_open(other, true).await;
    until_open(port, false).await;
    remove(&world, "web").await;
    until_open(other, false).await;
    assert!(listed(&world).await.is_empty());
}

#[tokio::test]
async fn nobody_is_let_wait_where_nothing_can_be_forwarded() {
    let world = world().await;
    let port = free_port();
    set(&world, exposure("web", port, json!({}))).await.unwrap();
    until_open(port, true).await;
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let read = tokio::time::timeout(PATIENCE, client.read_u8()).await.unwrap();
    assert!(read.is_err(), "it is closed");
    let ended = async {
        while listed(&world).await[0].counts.open > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    let counts = listed(&world).await[0].counts;
    assert!(
        counts.unserved >= 1 && counts.accepted >= counts.unserved,
        "{counts:?}"
    );
}

#[tokio::test]
async fn sites_share_the_coordinators_port_and_others_are_closed() {
    let world = world().await;
    let port = world.https().port();
    let site = exposure("web", port, json!({ "sites": ["www.example.org"] }));
    set(&world, site).await.unwrap();
    let taken = exposure("web2", port, json!({ "sites": ["www.example.org"] }));
    let taken = set(&world, taken).await.unwrap_err().to_string();
    assert!(
        taken.contains("the exposure \"web\"'s of network prod"),
        "{taken}"
    );
    for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[22, 3, 1, 0, 1, 2]] {
        let mut client = TcpStream::connect(world.https()).await.unwrap();
        client.write_all(noise).await.unwrap();
        let read = tokio::time::timeout(PATIENCE, client.read_u8()).await.unwrap();
        assert!(read.is_err(), "closed without a byte");
    }
    assert_eq!(
        world
            .admin()
            .await
            .get::<Vec<Value>>("/v1/admin/networks")
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn what_would_break_something_is_refused_in_a_sentence() {
    let world = world().await;
    let mail = free_port();
    set(&world, exposure("mail", mail, json!({}))).await.unwrap();
    let relay = world.relay.plane.local_addrs()[0].port();
    for (port, more, words) in [
        (world.https().port(), json!({}), "the coordinator; with --sni"),
        (relay, json!({ "protocol": "udp" }), "relay and STUN"),
        (mail, json!({}), "the exposure \"mail\"'s"),
        (mail, json!({ "name": "A b" }), "no name for what is exposed"),
        (0, json!({}), "port 0"),
        (1, json!({ "targets": [] }), "nobody would be behind it"),
        (1, json!({ "targets": [{ "node": "db9", "port": 1 }] }), "db9"),
        (1, json!({ "protocol": "sctp" }), "take tcp or udp"),
        (1, json!({ "proxy_protocol": "v3" }), "take v1 or v2"),
        (
            1,
            json!({ "protocol": "udp", "proxy_protocol": "v1" }),
            "for TCP alone",
        ),
        (1, json!({ "sites": ["192.0.2.1"] }), "no name of a site"),
        (1, json!({ "max_connections": 0 }), "lets nothing in"),
        (1, json!({ "max_connections": 99_999 }), "at most 16384"),
    ] {
        let refused = set(&world, exposure("web", port, more.clone()))
            .await
            .unwrap_err();
        assert!(refused.to_string().contains(words), "{port} {more}: {refused}");
    }
    assert_eq!(listed(&world).await.len(), 1);
}

#[tokio::test]
async fn a_port_of_another_program_is_refused_with_its_name() {
    let world = world().await;
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let whose = format!("(process {})", std::process::id());
    for (port, protocol) in [
        (tcp.local_addr().unwrap().port(), "tcp"),
        (udp.local_addr().unwrap().port(), "udp"),
    ] {
        let taken = exposure("web", port, json!({ "protocol": protocol }));
        let refused = set(&world, taken).await.unwrap_err().to_string();
        assert!(
            refused.contains("in use by") && refused.contains(&whose),
            "{refused}"
        );
    }
}
