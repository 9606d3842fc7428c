//! Kubernetes' word on nodes' prefixes: only a control plane tells it, and only what fits is signed.

mod world;

use meshd_api::client::ClientError;
use meshd_api::coordinator::admin::{Done, TokenCreate};
use meshd_api::coordinator::node::{NodePart, Parts, PartsTaken};
use serde_json::json;
use world::{TestNode, World};

fn told(node: &TestNode, cidr: &str) -> NodePart {
    NodePart {
        node: node.id.to_string(),
        cidr: cidr.into(),
        cidr6: None,
    }
}

async fn pods(world: &World, of: &str) -> Vec<String> {
    let nodes = world.nodes("prod").await;
    nodes.into_iter().find(|node| node.name == of).unwrap().pods
}

#[tokio::test]
async fn only_a_control_plane_tells_of_parts_and_only_what_fits_is_signed() {
    let world = World::with_network().await;
    let terms = json!({"pods": {"cidr": "10.244.0.0/16", "node_prefix": 24, "control_plane_tags": ["cp"]}});
    let _: Done = world.post("/networks/prod/pods", &terms).await.unwrap();
    let tagged = TokenCreate {
        tags: vec!["cp".into()],
        ..TokenCreate::default()
    };
    let at = world.https();
    let cp = TestNode::enter(&world.token("prod", tagged).await, at, "cp").await;
    let plain = world.token("prod", TokenCreate::default()).await;
    let w1 = TestNode::enter(&plain, at, "w1").await;
    let w2 = TestNode::enter(&plain, at, "w2").await;
    assert_eq!(pods(&world, "w1").await, [""; 0], "the mesh allots nothing");

    let claim = Parts {
        parts: vec![told(&w1, "10.244.7.0/24")],
    };
    let refused = w1.post::<PartsTaken>(at, "parts", &claim).await;
    assert!(
        matches!(refused, Err(ClientError::Refused { .. })),
        "a node claims nothing for itself"
    );

    let all = Parts {
        parts: vec![
            told(&w1, "10.244.1.0/24"),
            told(&w2, "10.244.1.128/25"),
            told(&cp, "10.245.0.0/24"),
        ],
    };
    let taken: PartsTaken = cp.post(at, "parts", &all).await.unwrap();
    assert_eq!((taken.taken, taken.refused.len()), (1, 2), "{taken:?}");
    assert!(taken.refused[0].contains("overlaps 10.244.1.0/24"), "{taken:?}");
    assert!(
        taken.refused[1].contains("outside of the pods' prefix"),
        "{taken:?}"
    );
    assert_eq!(pods(&world, "w1").await, ["10.244.1.0/24"]);

    let moved = Parts {
        parts: vec![told(&w1, "10.244.3.0/24"), told(&w2, "10.244.1.0/24")],
    };
    let taken: PartsTaken = cp.post(at, "parts", &moved).await.unwrap();
    assert_eq!(taken.taken, 2, "Kubernetes' word is followed: {taken:?}");
    assert_eq!(pods(&world, "w2").await, ["10.244.1.0/24"]);

    let by_mesh = json!({"pods": {"cidr": "10.244.0.0/16", "node_prefix": 24}});
    let refused = world
        .post::<Done>("/networks/prod/pods", &by_mesh)
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("chosen before the first one"),
        "{refused}"
    );
}
