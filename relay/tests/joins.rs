//! Tokens, names, addresses, and who is who.

mod world;

use meshd_api::client::ClientError;
use meshd_api::coordinator::admin::{NodeInfo, TokenCreate, TokenInfo};
use meshd_api::coordinator::node::{JoinPreview, JoinReply};
use meshd_api::local::Membership;
use meshd_core::auth::NodeAuthorization;
use meshd_core::keys::{IdentitySecret, JoinSecret};
use meshd_core::statement::{Enrolment, Signed};
use world::{TestNode, World};

fn uses(uses: u32) -> TokenCreate {
    TokenCreate {
        uses: Some(uses),
        ..TokenCreate::default()
    }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> (String, String) {
    match result {
        Err(ClientError::Refused { problem, .. }) => (problem.code, problem.message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn fifty_joins_that_race_for_twenty_uses_are_twenty_nodes() {
    let world = World::new().await;
    world.create_network("prod", "10.77.0.0/24").await;
    let token = world.token("prod", uses(20)).await;
    let at = world.https();
    let joins: Vec<_> = (0..50)
        .map(|n| {
            let token = token.clone();
            tokio::spawn(async move { TestNode::new(&token).try_join(at, &format!("n{}", n % 7)).await })
        })
        .collect();
    let mut replies = Vec::new();
    for join in joins {
        match join.await.unwrap() {
            Ok(reply) => replies.push(reply),
            other => assert_eq!(refusal(other).0, "token-used-up"),
        }
    }
    assert_eq!(replies.len(), 20);
    let distinct = |of: fn(&JoinReply) -> String| {
        let values: std::collections::BTreeSet<String> = replies.iter().map(of).collect();
        values.len()
    };
    assert_eq!(distinct(|reply| reply.ipv4.to_string()), 20);
    assert_eq!(distinct(|reply| reply.ipv6.to_string()), 20);
    assert_eq!(distinct(|reply| reply.hostname.clone()), 20);
    assert_eq!(world.nodes("prod").await.len(), 20);
    let tokens: Vec<TokenInfo> = world.get("/networks/prod/tokens").await.unwrap();
    assert_eq!((tokens[0].used, tokens[0].state.as_str()), (20, "used-up"));
}

#[tokio::test]
async fn joining_again_costs_no_use_and_gives_the_same_node_also_after_a_restart() {
    let world = World::new().await;
    world.create_network("prod", "10.77.0.0/24").await;
    let token = world.token("prod", uses(1)).await;
    let mut node = TestNode::new(&token);
    let first = node.try_join(world.https(), "db1").await.unwrap();
    let world = world.restart().await;
    let again = node.try_join(world.https(), "other").await.unwrap();
    let same = |reply: &JoinReply| (reply.node.clone(), reply.hostname.clone(), reply.ipv4);
    assert_eq!(same(&first), same(&again));
    assert_eq!(
        refusal(TestNode::new(&token).try_join(world.https(), "db2").await).0,
        "token-used-up"
    );
}

#[tokio::test]
async fn each_state_of_a_token_has_its_own_sentence() {
    let world = World::new().await;
    world.create_network("prod", "10.77.0.0/24").await;
    let expired = TokenCreate {
        expires_in: Some(0),
        ..TokenCreate::default()
    };
    let expired = world.token("prod", expired).await;
    let revoked = world.token("prod", uses(1)).await;
    world
        .act(&format!("/networks/prod/tokens/{}/revoke", revoked.id))
        .await;
    let mut forged = world.token("prod", uses(1)).await;
    forged.secret = JoinSecret::from_seed(&[9; 32]);
    let mut foreign = forged.clone();
    foreign.id = [1; 8].into();
    for (token, code, word) in [
        (expired, "token-expired", "expired"),
        (revoked, "token-revoked", "revoked"),
        (forged, "statement-refused", "not signed by the token's join key"),
        (foreign, "token-unknown", "unknown here"),
    ] {
        let (got, sentence) = refusal(TestNode::new(&token).try_join(world.https(), "x").await);
        assert_eq!(got, code);
        assert!(sentence.contains(word), "{sentence}");
    }
}

#[tokio::test]
async fn addresses_and_names_are_had_or_refused_with_their_holder() {
    let world = World::new().await;
    world.create_network("prod", "10.77.0.0/28").await;
    let token = world.token("prod", TokenCreate::default()).await;
    let join = async |hostname: &str, ip: Option<&str>| {
        let node = TestNode::new(&token);
        let mut request = node.join_request(hostname);
        request.ip = ip.map(|ip| ip.parse().unwrap());
        let reply = node
            .connect(world.https())
            .await
            .post::<_, JoinReply>("/v1/join", &request)
            .await;
        reply.map(|reply| (reply.hostname, reply.ipv4.to_string()))
    };
    assert_eq!(
        join("DB.Example", Some("10.77.0.9")).await.unwrap(),
        ("db-example".into(), "10.77.0.9".into())
    );
    let (code, sentence) = refusal(join("x", Some("10.77.0.9")).await);
    assert_eq!(code, "address-taken");
    assert!(sentence.contains("db-example"), "{sentence}");
    assert_eq!(refusal(join("x", Some("10.78.0.1")).await).0, "address-refused");
    assert_eq!(refusal(join("x", Some("10.77.0.14")).await).0, "address-refused");
    assert_eq!(refusal(join("localhost", None).await).0, "name-refused");
    for _ in 0..12 {
        join("many", None).await.unwrap();
    }
    assert_eq!(refusal(join("many", None).await).0, "network-full");
}

#[tokio::test]
async fn a_token_may_fix_name_address_and_port() {
    let world = World::new().await;
    world.create_network("prod", "10.77.0.0/24").await;
    let fixed = TokenCreate {
        hostname: Some("db1".into()),
        ip: Some("10.77.0.50".parse().unwrap()),
        listen_port: Some(51820),
        ..TokenCreate::default()
    };
    let token = world.token("prod", fixed).await;
    let reply = TestNode::new(&token)
        .try_join(world.https(), "elsewhere")
        .await
        .unwrap();
    assert_eq!(
        (reply.hostname.as_str(), reply.ipv4.to_string().as_str()),
        ("db1", "10.77.0.50")
    );
    assert_eq!(reply.listen_port, Some(51820));
}

#[tokio::test]
async fn a_proof_counts_in_its_session_for_its_identity_only() {
    let world = World::new().await;
    world.create_network("prod", "10.77.0.0/24").await;
    let token = world.token("prod", TokenCreate::default()).await;
    let node = TestNode::new(&token);
    let request = node.join_request("db1");
    let mut connection = node.connect(world.https()).await;
    let other = NodeAuthorization::sign(token.network(), node.id, &[0; 32], &node.identity);
    connection.authorize(other.to_string());
    assert_eq!(
        refusal(connection.post::<_, JoinReply>("/v1/join", &request).await).0,
        "unproven"
    );

    let mut connection = node.connect(world.https()).await;
    let exporter = connection.exporter().unwrap();
    let stranger = IdentitySecret::from_seed(&[5; 32]);
    let other = NodeAuthorization::sign(token.network(), node.id, &exporter, &stranger);
    connection.authorize(other.to_string());
    assert_eq!(
        refusal(connection.post::<_, JoinReply>("/v1/join", &request).await).0,
        "unproven"
    );
}

#[tokio::test]
async fn nobody_takes_the_node_id_of_another() {
    let world = World::new().await;
    world.create_network("prod", "10.77.0.0/24").await;
    let token = world.token("prod", TokenCreate::default()).await;
    let victim = TestNode::enter(&token, world.https(), "db1").await;
    let mut thief = TestNode::new(&token);
    thief.id = victim.id;
    let value = Enrolment {
        node: victim.id,
        ..thief.enrolment.value().clone()
    };
    thief.enrolment = Signed::sign(value, &token.secret).unwrap();
    assert_eq!(
        refusal(thief.try_join(world.https(), "thief").await).0,
        "conflict"
    );
    let mut stream = victim.stream(world.https()).await;
    stream.until_names(&["db1"]).await;
}

#[tokio::test]
async fn a_preview_tells_the_ranges_and_costs_nothing() {
    let world = World::new().await;
    world.create_network("prod", "10.77.0.0/24").await;
    let token = world.token("prod", uses(1)).await;
    let node = TestNode::new(&token);
    let mut connection = node.connect(world.https()).await;
    let preview: JoinPreview = connection
        .post("/v1/join/preview", &node.join_request("x"))
        .await
        .unwrap();
    assert_eq!(
        (preview.network.as_str(), preview.cidr.as_str()),
        ("prod", "10.77.0.0/24")
    );
    assert_eq!(world.nodes("prod").await.len(), 0);
}

#[tokio::test]
async fn who_waits_for_approval_gets_no_map_and_no_relay() {
    let world = World::new().await;
    world.create_network("prod", "10.77.0.0/24").await;
    let open = world.token("prod", TokenCreate::default()).await;
    let first = TestNode::enter(&open, world.https(), "first").await;
    let mut stream = first.stream(world.https()).await;
    let wanting = TokenCreate {
        approval: true,
        ..TokenCreate::default()
    };
    let token = world.token("prod", wanting).await;
    let mut node = TestNode::new(&token);
    let reply = node.try_join(world.https(), "waiting").await.unwrap();
    assert_eq!(reply.state, Membership::Pending);
    assert!(reply.params.is_none());
    node.put_record(world.https()).await.unwrap();
    let mut pending = node.stream(world.https()).await;
    pending
        .until("a notice", |stream| !stream.notices.is_empty())
        .await;
    assert_eq!(pending.notices[0].0, "pending");
    assert!(pending.relays.is_empty() && pending.holder.view().is_none());
    let info: NodeInfo = world.get("/networks/prod/nodes/waiting").await.unwrap();
    assert_eq!(info.state, "pending");

    world.act("/networks/prod/nodes/waiting/approve").await;
    pending.until_names(&["first", "waiting"]).await;
    assert!(pending.notices.iter().any(|(code, _)| code == "approved"));
    stream.until_names(&["first", "waiting"]).await;
    let again = node.try_join(world.https(), "waiting").await.unwrap();
    assert_eq!(again.state, Membership::Joined);
}
