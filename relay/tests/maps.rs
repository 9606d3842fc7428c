//! What nodes are told, and when.

mod world;

use std::time::Duration;

use meshd_api::client::ClientError;
use meshd_api::coordinator::admin::{Done, NodeInfo, TokenCreate, TokenCreated};
use meshd_api::coordinator::node::Leave;
use meshd_core::map::Death;
use meshd_core::statement::{Departure, Signed};
use serde_json::json;
use world::{TestNode, World};

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    match result {
        Err(ClientError::Refused { problem, .. }) => problem.code,
        other => panic!("{other:?}"),
    }
}

async fn network() -> (World, meshd_core::token::JoinToken) {
    let (world, token) = World::with_token(TokenCreate::default()).await;
    (world, token)
}

#[tokio::test]
async fn who_comes_back_gets_what_it_missed_or_the_whole_map() {
    let (world, token) = network().await;
    let node = TestNode::enter(&token, world.https(), "a").await;
    let mut stream = node.stream(world.https()).await;
    stream.until_names(&["a"]).await;
    let held = stream.holder.at();
    TestNode::enter(&token, world.https(), "b").await;
    TestNode::enter(&token, world.https(), "c").await;
    let mut back = node.stream_from(world.https(), held).await.unwrap();
    std::mem::swap(&mut back.holder, &mut stream.holder);
    back.until_names(&["a", "b", "c"]).await;

    let world = world.restart().await;
    let held = back.holder.at();
    let mut after = node.stream_from(world.https(), held).await.unwrap();
    std::mem::swap(&mut after.holder, &mut back.holder);
    after
        .until("a newer map", |stream| stream.holder.at() > held)
        .await;
    assert_eq!(after.names(), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_rename_reaches_all_and_the_old_name_is_free() {
    let (world, token) = network().await;
    let a = TestNode::enter(&token, world.https(), "web").await;
    let mut stream = a.stream(world.https()).await;
    stream.until_names(&["web"]).await;
    let done: Done = world
        .post("/networks/prod/nodes/web/rename", &json!({ "name": "api" }))
        .await
        .unwrap();
    assert!(done.message.contains("\"api\""), "{}", done.message);
    stream.until_names(&["api"]).await;
    let b = TestNode::enter(&token, world.https(), "web").await;
    assert_eq!(b.reply.unwrap().hostname, "web");
    stream.until_names(&["api", "web"]).await;
    let held = world
        .post::<Done>("/networks/prod/nodes/api/rename", &json!({ "name": "web" }))
        .await;
    assert_eq!(code(held), "name-taken");
}

#[tokio::test]
async fn a_removed_node_is_out_and_its_name_is_blocked_until_freed() {
    let (world, token) = network().await;
    let a = TestNode::enter(&token, world.https(), "a").await;
    let mut gone = TestNode::enter(&token, world.https(), "db1").await;
    let mut stream = a.stream(world.https()).await;
    stream.until_names(&["a", "db1"]).await;
    let message = world.act("/networks/prod/nodes/db1/remove").await;
    assert!(message.contains("meshctl name free db1"), "{message}");
    stream.until_names(&["a"]).await;
    let refused = gone.put_record(world.https()).await;
    let Err(ClientError::Refused { problem, .. }) = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!(gone.proven_death(problem), Some(Death::Removed));
    assert_eq!(code(refused), "node-removed");
    assert_eq!(code(gone.try_join(world.https(), "db1").await), "node-removed");
    let next = TestNode::enter(&token, world.https(), "db1").await;
    assert_eq!(next.reply.unwrap().hostname, "db1-2");
    let done: Done = world
        .post("/networks/prod/names/free", &json!({ "name": "db1" }))
        .await
        .unwrap();
    assert!(done.message.contains("free"));
    let next = TestNode::enter(&token, world.https(), "db1").await;
    assert_eq!(next.reply.unwrap().hostname, "db1");
    let world = world.restart().await;
    assert_eq!(code(gone.try_join(world.https(), "db1").await), "node-removed");
}

#[tokio::test]
async fn a_node_leaves_by_its_own_word() {
    let (world, token) = network().await;
    let a = TestNode::enter(&token, world.https(), "a").await;
    let b = TestNode::enter(&token, world.https(), "b").await;
    let mut stream = a.stream(world.https()).await;
    stream.until_names(&["a", "b"]).await;
    let departure = Departure {
        network: token.network(),
        node: b.id,
        serial: 99,
    };
    let forged = Signed::sign(departure.clone(), &a.identity).unwrap();
    let leave = Leave {
        departure: forged.bytes().into(),
        facts: Default::default(),
    };
    assert_eq!(
        code(b.post::<Done>(world.https(), "leave", &leave).await),
        "statement-refused"
    );
    let leave = Leave {
        departure: Signed::sign(departure, &b.identity).unwrap().bytes().into(),
        facts: Default::default(),
    };
    b.post::<Done>(world.https(), "leave", &leave).await.unwrap();
    stream.until_names(&["a"]).await;
    let world = world.restart().await;
    assert_eq!(world.nodes("prod").await.len(), 1);
    assert_eq!(
        code(b.post::<Done>(world.https(), "leave", &leave).await),
        "node-removed"
    );
}

#[tokio::test]
async fn a_replacement_takes_name_address_and_tags_and_the_old_key_is_dead() {
    let (world, _) = network().await;
    let tagged = TokenCreate {
        tags: vec!["db".into()],
        ..TokenCreate::default()
    };
    let token = world.token("prod", tagged).await;
    let witness = TestNode::enter(&token, world.https(), "a").await;
    let mut old = TestNode::enter(&token, world.https(), "db1").await;
    let address = old.reply.as_ref().unwrap().ipv4;
    let mut stream = witness.stream(world.https()).await;
    stream.until_names(&["a", "db1"]).await;
    let mut old_stream = old.stream(world.https()).await;
    old_stream.until_names(&["a", "db1"]).await;
    let created: TokenCreated = world
        .post("/networks/prod/nodes/db1/replace", &json!({}))
        .await
        .unwrap();
    let token = created.token.unwrap().parse().unwrap();
    let new = TestNode::enter(&token, world.https(), "whatever").await;
    let reply = new.reply.as_ref().unwrap();
    assert_eq!((reply.hostname.as_str(), reply.ipv4), ("db1", address));
    old_stream.until_end().await;
    stream
        .until("the new key", |stream| {
            let view = stream.holder.view().unwrap();
            view.named("db1").is_some_and(|node| node.id == new.id) && view.nodes.len() == 2
        })
        .await;
    assert_eq!(code(old.put_record(world.https()).await), "node-removed");
    let info: NodeInfo = world.get("/networks/prod/nodes/db1").await.unwrap();
    assert_eq!((info.id, info.tags), (new.id.to_string(), vec!["db".to_owned()]));
    let world = world.restart().await;
    assert_eq!(code(old.try_join(world.https(), "db1").await), "node-removed");
    assert_eq!(world.nodes("prod").await.len(), 2);
}

#[tokio::test]
async fn a_node_that_never_gave_a_record_can_be_replaced_too() {
    let (world, token) = network().await;
    let mut old = TestNode::new(&token);
    old.try_join(world.https(), "db1").await.unwrap();
    let created: TokenCreated = world
        .post("/networks/prod/nodes/db1/replace", &json!({}))
        .await
        .unwrap();
    let new = TestNode::enter(&created.token.unwrap().parse().unwrap(), world.https(), "x").await;
    let nodes = world.nodes("prod").await;
    assert_eq!((nodes.len(), &nodes[0].id), (1, &new.id.to_string()));
    assert_eq!(code(old.try_join(world.https(), "db1").await), "node-removed");
}

#[tokio::test]
async fn revoking_a_token_with_its_nodes_removes_them() {
    let (world, token) = network().await;
    let witness = TestNode::enter(&token, world.https(), "a").await;
    let other = world.token("prod", TokenCreate::default()).await;
    let mut gone = TestNode::enter(&other, world.https(), "x").await;
    TestNode::enter(&other, world.https(), "y").await;
    let mut stream = witness.stream(world.https()).await;
    stream.until_names(&["a", "x", "y"]).await;
    let path = format!("/networks/prod/tokens/{}/revoke", other.id);
    let done: Done = world.post(&path, &json!({ "with_nodes": true })).await.unwrap();
    assert!(done.message.contains("2 node(s)"), "{}", done.message);
    stream.until_names(&["a"]).await;
    assert!(gone.put_record(world.https()).await.is_err());
    let next = TestNode::enter(&token, world.https(), "x").await;
    assert_eq!(
        next.reply.unwrap().hostname,
        "x-2",
        "names of removed nodes stay blocked"
    );
    let world = world.restart().await;
    assert_eq!(world.nodes("prod").await.len(), 2);
}

#[tokio::test]
async fn ephemeral_nodes_go_when_they_stay_away() {
    let (world, token) = network().await;
    let witness = TestNode::enter(&token, world.https(), "a").await;
    let mut stream = witness.stream(world.https()).await;
    let passing = world
        .token(
            "prod",
            TokenCreate {
                ephemeral: true,
                ..TokenCreate::default()
            },
        )
        .await;
    TestNode::enter(&passing, world.https(), "e").await;
    stream.until_names(&["a", "e"]).await;
    world
        .relay
        .coordinator
        .call(|state| state.remove_absent(Duration::ZERO))
        .await
        .unwrap();
    stream.until_names(&["a"]).await;
    assert_eq!(world.nodes("prod").await.len(), 1);
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_cut_and_resyncs() {
    let (world, token) = network().await;
    let node = TestNode::enter(&token, world.https(), "a").await;
    let mut stream = node.stream(world.https()).await;
    stream.until_names(&["a"]).await;
    // nobody reads: lines of the size of many maps fill the socket, then the queue
    let ping = || {
        world.relay.coordinator.call(|state| {
            for _ in 0..2_000 {
                state.ping_all();
            }
            Ok(())
        })
    };
    let mut connected = true;
    for _ in 0..200 {
        ping().await.unwrap();
        tokio::task::yield_now().await;
        let info: NodeInfo = world.get("/networks/prod/nodes/a").await.unwrap();
        connected = info.connected;
        if !connected {
            break;
        }
    }
    assert!(!connected, "a stream that nobody reads stayed");
    let mut back = node.stream(world.https()).await;
    back.until_names(&["a"]).await;
}

#[tokio::test]
async fn a_burst_of_joins_is_few_lines() {
    let (world, token) = network().await;
    let node = TestNode::enter(&token, world.https(), "a").await;
    let mut stream = node.stream(world.https()).await;
    stream.until_names(&["a"]).await;
    let at = world.https();
    let joins = (0..30).map(|n| {
        let token = token.clone();
        tokio::spawn(async move { drop(TestNode::enter(&token, at, &format!("n{n}")).await) })
    });
    for join in joins.collect::<Vec<_>>() {
        join.await.unwrap();
    }
    stream
        .until("all nodes", |stream| stream.names().len() == 31)
        .await;
}

#[tokio::test]
async fn networks_know_nothing_of_one_another() {
    let (world, token) = network().await;
    world.create_network("lab", "10.78.0.0/16").await;
    let other = world.token("lab", TokenCreate::default()).await;
    let a = TestNode::enter(&token, world.https(), "a").await;
    let b = TestNode::enter(&other, world.https(), "b").await;
    let mut stream_a = a.stream(world.https()).await;
    let mut stream_b = b.stream(world.https()).await;
    stream_a.until_names(&["a"]).await;
    stream_b.until_names(&["b"]).await;
    let path = format!("/v1/networks/{}/map", other.network());
    let mut connection = a.connect(world.https()).await;
    assert_eq!(code(connection.get::<serde_json::Value>(&path).await), "unproven");
    let relays = (
        stream_a.relays[0].bind_key.clone(),
        stream_b.relays[0].bind_key.clone(),
    );
    assert_ne!(relays.0, relays.1);
    let mut gone = world.admin().await;
    let _: Done = gone
        .send(hyper::Method::DELETE, "/v1/admin/networks/lab", &json!({}), &[])
        .await
        .unwrap();
    stream_b.until_end().await;
    assert_eq!(stream_b.notices[0].0, "network-deleted");
    stream_a.until("a ping", |stream| stream.names() == ["a"]).await;
}

#[tokio::test]
async fn a_record_must_be_newer_and_say_what_was_allotted() {
    let (world, token) = network().await;
    let mut node = TestNode::enter(&token, world.https(), "a").await;
    node.serial = 0;
    let other_bytes_same_serial = node.put_record(world.https()).await;
    assert!(
        other_bytes_same_serial.is_ok(),
        "the very same record again is no change"
    );
    node.reply.as_mut().unwrap().hostname = "other".into();
    node.serial = 0;
    assert_eq!(code(node.put_record(world.https()).await), "stale-serial");
    assert_eq!(code(node.put_record(world.https()).await), "reallotted");
    node.reply.as_mut().unwrap().hostname = "a".into();
    node.put_record(world.https()).await.unwrap();
    let mut refused = String::new();
    for _ in 0..40 {
        if let Err(ClientError::Refused { problem, .. }) = node.put_record(world.https()).await {
            refused = problem.code;
            break;
        }
    }
    assert_eq!(refused, "too-often");
}
