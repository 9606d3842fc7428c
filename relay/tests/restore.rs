//! A backup that is older than the last joins and removals.

mod world;

use hyper::Method;
use hyper::body::Bytes;
use meshd_api::Base64Bytes;
use meshd_api::client::ClientError;
use meshd_api::coordinator::admin::{Done, TokenCreate, TokenInfo};
use meshd_api::coordinator::node::Entries;
use meshd_core::map::Entry;
use world::{MapStream, TestNode, World};

async fn backup(world: &World) -> Bytes {
    let reply = world
        .admin()
        .await
        .request(Method::GET, "/v1/admin/backup", Bytes::new(), &[])
        .await
        .unwrap();
    reply.body
}

/// Restores, and starts anew on the restored state, as the program does.
async fn restore(world: World, file: Bytes) -> World {
    let reply = world
        .admin()
        .await
        .request(Method::POST, "/v1/admin/restore", file, &[])
        .await
        .unwrap();
    let done: Done = serde_json::from_slice(&reply.body).unwrap();
    assert!(done.message.contains("restored"), "{}", done.message);
    world.relay.coordinator.until_replaced().await;
    world.restart().await
}

/// Hands in all that a node can prove.
async fn testify(world: &World, node: &TestNode, stream: &MapStream) -> String {
    let entries = entries(stream.holder.testimony());
    node.post::<Done>(world.https(), "statements", &entries)
        .await
        .unwrap()
        .message
}

fn entries(entries: Vec<Entry>) -> Entries {
    Entries {
        entries: entries
            .iter()
            .map(|entry| Base64Bytes::from(entry.encode()))
            .collect(),
    }
}

#[tokio::test]
async fn later_joiners_come_back_and_removed_ones_do_not() {
    let wanted = TokenCreate {
        uses: Some(4),
        ..TokenCreate::default()
    };
    let (world, token) = World::with_token(wanted).await;
    let a = TestNode::enter(&token, world.https(), "a").await;
    let mut gone = TestNode::enter(&token, world.https(), "gone").await;
    let file = backup(&world).await;

    let late = TestNode::enter(&token, world.https(), "late").await;
    let other = world.token("prod", TokenCreate::default()).await;
    let mut latest = TestNode::enter(&other, world.https(), "latest").await;
    let mut stream = a.stream(world.https()).await;
    stream.until_names(&["a", "gone", "late", "latest"]).await;
    world.act("/networks/prod/nodes/gone/remove").await;
    stream.until_names(&["a", "late", "latest"]).await;
    let held = stream.holder.at();

    let world = restore(world, file).await;
    let names = |nodes: Vec<_>| {
        let mut names: Vec<String> = nodes
            .into_iter()
            .map(|n: meshd_api::coordinator::admin::NodeInfo| n.name)
            .collect();
        names.sort();
        names
    };
    assert_eq!(
        names(world.nodes("prod").await),
        ["a", "gone"],
        "as in the backup"
    );
    let mut back = a.stream_from(world.https(), held).await.unwrap();
    std::mem::swap(&mut back.holder, &mut stream.holder);
    back.until("the new epoch", |stream| stream.holder.at().0 > held.0)
        .await;
    assert_eq!(
        back.names(),
        ["a", "late", "latest"],
        "a removal is for good, and nobody else is lost"
    );
    let message = testify(&world, &a, &back).await;
    assert!(message.contains("taken"), "{message}");
    assert_eq!(names(world.nodes("prod").await), ["a", "late", "latest"]);
    latest.put_record(world.https()).await.unwrap();
    assert!(matches!(
        gone.put_record(world.https()).await,
        Err(ClientError::Refused { problem, .. }) if problem.code == "node-removed"
    ));
    let tokens: Vec<TokenInfo> = world.get("/networks/prod/tokens").await.unwrap();
    let used = tokens
        .iter()
        .find(|info| info.id == token.id.to_string())
        .unwrap()
        .used;
    assert_eq!(used, 3, "a joiner that comes back counts");
    let mut fresh = late.stream(world.https()).await;
    fresh.until_names(&["a", "late", "latest"]).await;
    let again = testify(&world, &a, &back).await;
    assert!(again.starts_with("0 "), "{again}");
    let world = world.restart().await;
    assert_eq!(names(world.nodes("prod").await), ["a", "late", "latest"]);
}

#[tokio::test]
async fn a_later_joiner_whom_nobody_remembers_brings_its_own_chain() {
    let world = World::with_network().await;
    let file = backup(&world).await;
    let token = world.token("prod", TokenCreate::default()).await;
    let late = TestNode::enter(&token, world.https(), "late").await;
    let mut stream = late.stream(world.https()).await;
    stream.until_names(&["late"]).await;
    let world = restore(world, file).await;
    assert!(matches!(
        late.stream_from(world.https(), (0, 0)).await,
        Err(ClientError::Refused { problem, .. }) if problem.code == "unknown-node"
    ));
    testify(&world, &late, &stream).await;
    let mut back = late.stream(world.https()).await;
    back.until_names(&["late"]).await;
    // a stranger with a chain that the root did not sign stays one
    let (elsewhere, foreign) = World::with_token(TokenCreate::default()).await;
    let mut stranger = TestNode::enter(&foreign, elsewhere.https(), "x").await;
    let mut its = stranger.stream(elsewhere.https()).await;
    its.until_names(&["x"]).await;
    stranger.token = token;
    let lie = entries(its.holder.testimony());
    let lied: Result<Done, _> = stranger.post(world.https(), "statements", &lie).await;
    assert!(lied.is_err() || world.nodes("prod").await.len() == 1);
    assert_eq!(world.nodes("prod").await.len(), 1);
}

#[tokio::test]
async fn an_address_given_again_after_a_restore_is_changed_for_the_one_who_comes_back() {
    let (world, token) = World::with_token(TokenCreate::default()).await;
    let a = TestNode::enter(&token, world.https(), "a").await;
    let file = backup(&world).await;
    let mut late = TestNode::enter(&token, world.https(), "late").await;
    let mut stream = a.stream(world.https()).await;
    stream.until_names(&["a", "late"]).await;
    let world = restore(world, file).await;
    let new = TestNode::enter(&token, world.https(), "new").await;
    let taken = new.reply.as_ref().unwrap().ipv4;
    assert_eq!(taken, late.reply.as_ref().unwrap().ipv4);
    testify(&world, &a, &stream).await;
    let reply = late.try_join(world.https(), "late").await.unwrap();
    assert_ne!(reply.ipv4, taken);
    late.put_record(world.https()).await.unwrap();
    let mut fresh = new.stream(world.https()).await;
    fresh.until_names(&["a", "late", "new"]).await;
}

#[tokio::test]
async fn a_damaged_backup_changes_nothing() {
    let world = World::with_network().await;
    let file = backup(&world).await;
    for bad in [
        file.slice(..file.len() - 5),
        Bytes::from_static(b"\xff\xfe"),
        Bytes::from_static(b"hello"),
    ] {
        let refused = world
            .admin()
            .await
            .request(Method::POST, "/v1/admin/restore", bad, &[])
            .await;
        assert!(matches!(refused, Err(ClientError::Refused { .. })));
    }
    world.create_network("lab", "10.78.0.0/16").await;
}

#[tokio::test]
async fn a_backup_makes_another_machine_the_same_coordinator() {
    let (world, token) = World::with_token(TokenCreate::default()).await;
    let file = backup(&world).await;
    let fresh = World::new().await;
    assert_ne!(
        fresh.relay.coordinator.identity().await.unwrap(),
        token.coordinator
    );
    let fresh = restore(fresh, file).await;
    assert_eq!(
        fresh.relay.coordinator.identity().await.unwrap(),
        token.coordinator
    );
    TestNode::enter(&token, fresh.https(), "a").await;
}
