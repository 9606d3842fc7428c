//! Endpoints as admins make them: what is refused, and that two who change one at once do not undo each other.

mod world;

use meshd_api::client::ClientError;
use meshd_api::coordinator::admin::{Done, EndpointInfo, TokenCreate};
use serde_json::{Value, json};
use world::{TestNode, World};

const PATH: &str = "/networks/prod/endpoints";

fn endpoint(name: &str, based_on: u64, more: Value) -> Value {
    let mut body = json!({ "name": name, "port": 7443, "members": [{ "node": "db1", "port": 6443 }], "based_on": based_on });
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    body
}

async fn set(world: &World, body: Value) -> Result<Done, ClientError> {
    world.post(PATH, &body).await
}

async fn listed(world: &World) -> Vec<EndpointInfo> {
    world
        .admin()
        .await
        .get(&format!("/v1/admin{PATH}"))
        .await
        .unwrap()
}

async fn world() -> World {
    let (world, token) = World::with_token(TokenCreate::default()).await;
    TestNode::enter(&token, world.https(), "db1").await;
    world
}

#[tokio::test]
async fn an_endpoint_is_made_changed_and_taken_away() {
    let world = world().await;
    let done = set(&world, endpoint("api", 0, json!({}))).await.unwrap();
    assert!(done.message.contains("10.77.255.254:7443"), "{}", done.message);
    let first = listed(&world).await.remove(0);
    assert_eq!(
        (first.check.as_str(), first.members[0].node.as_str()),
        ("connect", "db1")
    );
    let authority = json!({ "authorities": ["MAA="] });
    let stale = set(&world, endpoint("api", 0, authority.clone()))
        .await
        .unwrap_err();
    assert!(stale.to_string().contains("changed meanwhile"), "{stale}");
    set(&world, endpoint("api", first.serial, authority))
        .await
        .unwrap();
    assert_eq!(listed(&world).await[0].check, "readyz");
    let remove = format!("{PATH}/remove");
    let _: Done = world.post(&remove, &json!({ "name": "api" })).await.unwrap();
    assert!(listed(&world).await.is_empty());
}

#[tokio::test]
async fn what_would_break_something_is_refused_in_a_sentence() {
    let world = world().await;
    set(&world, endpoint("api", 0, json!({}))).await.unwrap();
    for (name, more, words) in [
        ("db1", json!({}), "is a node"),
        ("A b", json!({}), "no name for an endpoint"),
        ("web", json!({}), "the endpoint \"api\"'s"),
        ("web", json!({ "port": 7441 }), "meshd's own"),
        ("web", json!({ "port": 0 }), "port 0"),
        (
            "web",
            json!({ "address": "10.77.0.9" }),
            "for a node of the network",
        ),
        ("web", json!({ "address": "here" }), "no IP address"),
        (
            "web",
            json!({ "port": 1, "members": [{ "node": "db9", "port": 1 }] }),
            "db9",
        ),
        (
            "web",
            json!({ "port": 1, "authorities": ["MAA=", "MAA=", "MAA="] }),
            "at most 2",
        ),
    ] {
        let refused = set(&world, endpoint(name, 0, more.clone())).await.unwrap_err();
        assert!(refused.to_string().contains(words), "{name} {more}: {refused}");
    }
    assert_eq!(listed(&world).await.len(), 1);
}
