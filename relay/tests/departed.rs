//! What a coordinator keeps of a node that is gone.

mod world;

use meshd_api::coordinator::admin::{Done, TokenCreate};
use meshd_core::token::JoinToken;
use stats_alloc::{INSTRUMENTED_SYSTEM, Stats, StatsAlloc};
use std::alloc::System;
use world::{TestNode, World};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that are allocated now, by all of the process.
fn live() -> usize {
    let Stats {
        bytes_allocated,
        bytes_deallocated,
        ..
    } = GLOBAL.stats();
    bytes_allocated - bytes_deallocated
}

/// A node comes, hears the map, and leaves.
async fn come_and_go(world: &World, token: &JoinToken, number: u32) {
    let node = TestNode::enter(token, world.https(), &format!("n{number}")).await;
    let mut stream = node.stream(world.https()).await;
    stream.until_names(&[&format!("n{number}")]).await;
    drop(stream);
    node.post::<Done>(world.https(), "leave", &node.departure())
        .await
        .unwrap();
}

#[tokio::test]
async fn who_is_gone_costs_little_for_ever() {
    let (world, token) = World::with_token(TokenCreate::default()).await;
    for number in 0..50 {
        come_and_go(&world, &token, number).await;
    }
    let before = live();
    for number in 50..150 {
        come_and_go(&world, &token, number).await;
    }
    // the statements that prove that it was there and that it left
    let each = live().saturating_sub(before) / 100;
    assert!(each <= 4096, "{each} bytes are kept of each");
}
