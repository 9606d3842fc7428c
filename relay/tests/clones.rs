//! One identity, several machines: clones, moves, power cuts.

mod world;

use hyper::Method;
use meshd_api::client::ClientError;
use meshd_api::coordinator::admin::{Done, NodeInfo, TokenCreate};
use meshd_api::coordinator::node::{Leave, RecordUpdate};
use world::{MapStream, TestNode, World};

const ORIGINAL: [&str; 3] = ["m", "d", "r"];
const OTHER: [&str; 3] = ["m2", "d2", "r"];

async fn joined(template: bool) -> (World, TestNode) {
    let world = World::new().await;
    world.create_network("prod", "10.77.0.0/24").await;
    let token = world
        .token(
            "prod",
            TokenCreate {
                template,
                ..TokenCreate::default()
            },
        )
        .await;
    let node = TestNode::enter(&token, world.https(), "db1").await;
    assert_eq!(node.facts, world::facts(ORIGINAL));
    (world, node)
}

/// Opens a stream while `alive` answers the coordinator's pings.
async fn stream_beside(
    world: &World,
    node: &TestNode,
    alive: (&TestNode, &mut MapStream),
) -> Result<MapStream, ClientError> {
    beside(world, alive, node.stream_from(world.https(), (0, 0))).await
}

/// Asks something while `alive` answers the coordinator's pings.
async fn beside<T>(
    world: &World,
    alive: (&TestNode, &mut MapStream),
    asking: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let (owner, stream) = alive;
    tokio::pin!(asking);
    loop {
        tokio::select! {
            answer = &mut asking => return answer,
            more = stream.step() => {
                for nonce in std::mem::take(&mut stream.pings) {
                    owner.pong(world.https(), nonce).await;
                }
                if !more {
                    return asking.await;
                }
            }
        }
    }
}

fn refused<T>(result: Result<T, ClientError>) -> (String, String) {
    match result {
        Err(ClientError::Refused { problem, .. }) => (problem.code, problem.message),
        Ok(_) => panic!("let in"),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_clone_beside_its_living_original_is_refused_and_both_are_named() {
    let (world, node) = joined(false).await;
    let mut original = node.stream(world.https()).await;
    original.until_names(&["db1"]).await;
    let (code, sentence) = refused(stream_beside(&world, &node.cloned(OTHER), (&node, &mut original)).await);
    assert_eq!(code, "clone");
    assert!(
        sentence.contains("clone of node \"db1\" at 127.0.0.1"),
        "{sentence}"
    );
    original
        .until("a notice", |stream| !stream.notices.is_empty())
        .await;
    assert_eq!(original.notices[0].0, "clone");
}

#[tokio::test]
async fn a_clone_does_not_leave_in_the_name_of_its_living_original() {
    let (world, node) = joined(false).await;
    let clone = node.cloned(OTHER);
    let mut original = node.stream(world.https()).await;
    original.until_names(&["db1"]).await;
    let leave = clone.departure();
    let leaving = clone.post::<Done>(world.https(), "leave", &leave);
    let (code, _) = refused(beside(&world, (&node, &mut original), leaving).await);
    assert_eq!(code, "clone");
    // also over a connection that was refused before, and that now says nothing of its machine
    let mut connection = clone.connect(world.https()).await;
    let path = format!("/v1/networks/{}", node.token.network());
    let update = RecordUpdate {
        record: clone.cloned(OTHER).record().bytes().into(),
        facts: clone.facts.clone(),
    };
    let record = format!("{path}/record");
    let publishing = connection.send::<_, Done>(Method::PUT, &record, &update, &[]);
    let refusal = refused(beside(&world, (&node, &mut original), publishing).await);
    assert_eq!(refusal.0, "clone");
    let silent = Leave {
        facts: Default::default(),
        ..leave
    };
    let left = connection
        .post::<_, Done>(&format!("{path}/leave"), &silent)
        .await;
    assert_eq!(refused(left).0, "clone");
    assert_eq!(world.nodes("prod").await.len(), 1, "the original is in");
    let leave = node.departure();
    node.post::<Done>(world.https(), "leave", &leave).await.unwrap();
    assert_eq!(world.nodes("prod").await.len(), 0, "it may leave itself");
}

#[tokio::test]
async fn a_template_clone_is_told_to_take_an_identity_of_its_own() {
    let (world, node) = joined(true).await;
    let mut original = node.stream(world.https()).await;
    original.until_names(&["db1"]).await;
    let clone = node.cloned(OTHER);
    assert_eq!(
        refused(stream_beside(&world, &clone, (&node, &mut original)).await).0,
        "clone-new-identity"
    );
    let new = TestNode::enter(&node.token, world.https(), "db1").await;
    assert_eq!(new.reply.unwrap().hostname, "db1-2");
}

#[tokio::test]
async fn a_clone_that_booted_first_gives_way_to_the_original() {
    let (world, node) = joined(false).await;
    let clone = node.cloned(OTHER);
    let mut first = clone.stream(world.https()).await;
    first.until_names(&["db1"]).await;
    assert_eq!(
        first.notices[0].0, "moved",
        "alone, it is the node, on another machine"
    );
    let mut original = stream_beside(&world, &node, (&clone, &mut first)).await.unwrap();
    original.until_names(&["db1"]).await;
    first.until_end().await;
    assert!(first.notices.iter().any(|(code, _)| code == "clone"));
}

#[tokio::test]
async fn a_half_open_connection_is_taken_over_at_once_by_the_same_machine() {
    let (world, node) = joined(false).await;
    let mut dead = node.stream(world.https()).await;
    dead.until_names(&["db1"]).await;
    let mut back = node.stream(world.https()).await;
    back.until_names(&["db1"]).await;
    dead.until_end().await;
    let info: NodeInfo = world.get("/networks/prod/nodes/db1").await.unwrap();
    assert!(info.connected && !info.moved);
}

#[tokio::test]
async fn one_changed_fact_never_matters_and_a_new_board_is_a_move() {
    let (world, node) = joined(false).await;
    let swapped = node.cloned(["m", "d2", "r"]);
    let mut stream = swapped.stream(world.https()).await;
    stream.until_names(&["db1"]).await;
    assert!(stream.notices.is_empty());
    drop(stream);
    let mut moved = node.cloned(OTHER);
    // the older connection is silent: it is given two seconds, then the newcomer takes over
    let mut stream = moved.stream(world.https()).await;
    stream.until_names(&["db1"]).await;
    assert_eq!(stream.notices[0].0, "moved");
    moved.serial = 10;
    moved.put_record(world.https()).await.unwrap();
    let info: NodeInfo = world.get("/networks/prod/nodes/db1").await.unwrap();
    assert!(info.moved && info.connected);
    let world = world.restart().await;
    let info: NodeInfo = world.get("/networks/prod/nodes/db1").await.unwrap();
    assert!(info.moved);
}

#[tokio::test]
async fn a_silent_original_loses_its_place_to_a_machine_that_is_there() {
    let (world, node) = joined(false).await;
    let mut silent = node.stream(world.https()).await;
    silent.until_names(&["db1"]).await;
    let mut newcomer = node.cloned(OTHER).stream(world.https()).await;
    newcomer.until_names(&["db1"]).await;
    silent.until_end().await;
    assert!(silent.notices.iter().any(|(code, _)| code == "taken-over"));
}
