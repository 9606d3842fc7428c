//! A network of 200 nodes: how soon all are told of one more.

mod world;

use std::time::{Duration, Instant};

use meshd_api::coordinator::admin::TokenCreate;
use serde_json::Value;
use world::{TestNode, World};

const NODES: usize = 200;
/// The bar, in an optimised build on an idle machine; tests run in neither, so a multiple of it is what fails.
const BAR: Duration = Duration::from_secs(1);
const SLACK: u32 = 10;

/// Joins one after the other into a network of [`NODES`] that all hold a map stream: how long each took, from the first byte of
/// the join until the last of the others was told.
async fn newcomers(count: usize) -> Vec<Duration> {
    let (world, token) = World::with_token(TokenCreate::default()).await;
    let at = world.https();
    let mut streams = Vec::new();
    for n in 0..NODES {
        let node = TestNode::enter(&token, at, &format!("n{n}")).await;
        streams.push(node.lines(at).await);
    }
    let version = world.get::<Value>("/networks/prod").await.unwrap()["version"]
        .as_u64()
        .unwrap();
    let (heard, mut all_heard) = tokio::sync::mpsc::channel(NODES);
    for mut stream in streams {
        let heard = heard.clone();
        tokio::spawn(async move {
            loop {
                let line: Value = stream.next().await.unwrap().unwrap();
                if line["type"] == "delta" && line["from_version"].as_u64() >= Some(version) {
                    heard.send(line["add"].as_array().unwrap().len()).await.unwrap();
                }
            }
        });
    }
    let mut took = Vec::new();
    for n in 0..count {
        let start = Instant::now();
        TestNode::enter(&token, at, &format!("newcomer-{n}")).await;
        for _ in 0..NODES {
            assert_eq!(all_heard.recv().await, Some(1));
        }
        took.push(start.elapsed());
    }
    took
}

#[tokio::test]
async fn all_of_200_nodes_are_told_of_a_newcomer_at_once() {
    let took = newcomers(1).await[0];
    println!(
        "join and record until all {NODES} nodes are told: {} ms (bar {} ms)",
        took.as_millis(),
        BAR.as_millis()
    );
    assert!(took < BAR * SLACK, "{took:?}");
}

/// The bar itself, where it can be held against: an optimised build.
#[tokio::test]
#[ignore = "a measurement of an optimised build: ./test --long"]
async fn each_of_twenty_newcomers_is_known_to_200_nodes_within_a_second() {
    let mut took = newcomers(20).await;
    took.sort();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    println!(
        "figure: a newcomer is known to all {NODES} nodes: median {} ms, longest {} ms (bar {} ms)",
        median.as_millis(),
        longest.as_millis(),
        BAR.as_millis()
    );
    if cfg!(debug_assertions) {
        panic!("measure it with cargo test --release");
    }
    assert!(longest <= BAR, "{took:?}");
}
