//! Who is out is told so with a proof that it can check itself, for good.

mod world;

use meshd_api::Base64Bytes;
use meshd_api::client::ClientError;
use meshd_api::coordinator::admin::{Done, TokenCreate, TokenCreated};
use meshd_api::coordinator::node::Entries;
use meshd_core::map::{Death, RemovalProof};
use meshd_core::token::JoinToken;
use serde_json::json;
use world::{TestNode, World};

async fn network() -> (World, JoinToken) {
    let (world, token) = World::with_token(TokenCreate::default()).await;
    (world, token)
}

/// What the coordinator proves to a node that it does not let in.
async fn told<T: std::fmt::Debug>(node: &TestNode, refused: Result<T, ClientError>) -> Option<Death> {
    match refused {
        Err(ClientError::Refused { problem, .. }) if problem.code == "node-removed" => {
            node.proven_death(&problem)
        }
        other => panic!("{other:?}"),
    }
}

async fn replace(world: &World, name: &str) -> TestNode {
    let path = format!("/networks/prod/nodes/{name}/replace");
    let created: TokenCreated = world.post(&path, &json!({})).await.unwrap();
    let token = created.token.unwrap().parse().unwrap();
    TestNode::enter(&token, world.https(), "x").await
}

#[tokio::test]
async fn a_replaced_node_is_shown_who_took_its_place_also_when_that_one_is_out_itself() {
    let (world, token) = network().await;
    let mut old = TestNode::enter(&token, world.https(), "db1").await;
    let new = replace(&world, "db1").await;
    let death = Some(Death::ReplacedBy(new.id));
    let refused = old.put_record(world.https()).await;
    assert_eq!(told(&old, refused).await, death);
    world.act("/networks/prod/nodes/db1/remove").await;
    let mut world = world.restart().await;
    for _ in 0..2 {
        let refused = old.put_record(world.https()).await;
        assert_eq!(told(&old, refused).await, death, "its key stays dead");
        world = world.restart().await;
    }
    assert!(world.nodes("prod").await.is_empty());
}

#[tokio::test]
async fn a_node_that_left_is_shown_its_own_departure() {
    let (world, token) = network().await;
    let mut node = TestNode::enter(&token, world.https(), "a").await;
    node.post::<Done>(world.https(), "leave", &node.departure())
        .await
        .unwrap();
    let world = world.restart().await;
    let refused = node.put_record(world.https()).await;
    assert_eq!(told(&node, refused).await, Some(Death::Departed));
}

#[tokio::test]
async fn who_was_removed_with_its_token_is_shown_the_act_when_it_says_how_it_came_in() {
    let (world, _) = network().await;
    let token = world.token("prod", TokenCreate::default()).await;
    let node = TestNode::enter(&token, world.https(), "x").await;
    let mut stream = node.stream(world.https()).await;
    stream.until_names(&["x"]).await;
    let path = format!("/networks/prod/tokens/{}/revoke", token.id);
    let _: Done = world.post(&path, &json!({ "with_nodes": true })).await.unwrap();
    let world = world.restart().await;
    let entries = stream.holder.testimony();
    let entries = entries.iter().map(|e| Base64Bytes::from(e.encode())).collect();
    let refused = node
        .post::<Done>(world.https(), "statements", &Entries { entries })
        .await;
    assert_eq!(told(&node, refused).await, Some(Death::TokenRevoked(token.id)));
}

#[tokio::test]
async fn a_proof_about_one_node_proves_nothing_to_another() {
    let (world, token) = network().await;
    let mut old = TestNode::enter(&token, world.https(), "db1").await;
    let other = TestNode::enter(&token, world.https(), "web").await;
    replace(&world, "db1").await;
    let Err(ClientError::Refused { problem, .. }) = old.put_record(world.https()).await else {
        panic!("the old key is dead")
    };
    assert!(RemovalProof::decode(&problem.proof.as_ref().unwrap().0).is_ok());
    assert_eq!(other.proven_death(&problem), None);
}
