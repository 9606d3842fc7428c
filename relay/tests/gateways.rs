//! Hosts behind gateways that have names: which are refused, and that nobody takes one.

mod world;

use meshd_api::client::ClientError;
use meshd_api::coordinator::admin::{Done, GatewayInfo, TokenCreate};
use meshd_core::token::JoinToken;
use serde_json::{Value, json};
use world::{TestNode, World};

const PATH: &str = "/networks/prod/gateways";

async fn world() -> (World, JoinToken) {
    let (world, token) = World::with_token(TokenCreate::default()).await;
    for name in ["gw1", "gw2", "old"] {
        TestNode::enter(&token, world.https(), name).await;
    }
    (world, token)
}

async fn add(world: &World, node: &str, range: &str, more: Value) -> Result<Done, ClientError> {
    let mut body = json!({ "node": node, "range": range, "nat": true, "priority": 10 });
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    world.post(PATH, &body).await
}

#[tokio::test]
async fn hosts_names_are_made_listed_changed_and_go_with_their_range() {
    let (world, _) = world().await;
    let listed = async || -> Vec<GatewayInfo> { world.get(PATH).await.unwrap() };
    let range = "192.168.50.0/24";
    for names in [
        json!(["printer=192.168.50.9", "nas=192.168.50.20"]),
        json!(["nas=192.168.50.21"]),
    ] {
        add(&world, "gw1", range, json!({ "names": names }))
            .await
            .unwrap();
        assert_eq!(json!(listed().await[0].names), names);
    }
    // the second gateway for the range may say the same, and what is free again is free
    let names = json!({ "names": ["nas=192.168.50.21", "printer=192.168.50.9"] });
    add(&world, "gw2", range, names).await.unwrap();
    let world = world.restart().await;
    let listed: Vec<GatewayInfo> = world.get(PATH).await.unwrap();
    assert_eq!(listed.iter().map(|gateway| gateway.names.len()).sum::<usize>(), 3);
}

#[tokio::test]
async fn names_that_are_anothers_or_none_are_refused_each_with_its_reason() {
    let (world, _) = world().await;
    let held = json!({ "names": ["printer=192.168.50.9"], "published": "10.200.1.0/24" });
    add(&world, "gw1", "192.168.50.0/24", held).await.unwrap();
    world.act("/networks/prod/nodes/old/remove").await;
    let many: Vec<_> = (1..=17).map(|n| format!("h{n}=192.168.70.{n}")).collect();
    let cases = [
        (json!(["a=192.168.71.9"]), "not in 192.168.70.0/24"),
        (json!(["a=fd50::9"]), "not in 192.168.70.0/24"),
        (json!(["localhost=192.168.70.9"]), "cannot be a host's name"),
        (json!(["A.b=192.168.70.9"]), "cannot be a host's name"),
        (json!(["a"]), "write NAME=ADDRESS"),
        (json!(["gw2=192.168.70.9"]), "is the name of a node"),
        (json!(["old=192.168.70.9"]), "meshctl name free old"),
        (
            json!(["printer=192.168.70.9"]),
            "is the name of 192.168.50.9 in 192.168.50.0/24",
        ),
        (json!(["a=192.168.70.8", "a=192.168.70.9"]), "two hosts"),
        (json!(many), "at most 16"),
    ];
    for (names, reason) in cases {
        let said = add(&world, "gw2", "192.168.70.0/24", json!({ "names": names })).await;
        let said = said.unwrap_err().to_string();
        assert!(said.contains(reason), "{names}: {said}");
    }
    let exit = json!({ "names": ["a=1.2.3.4"], "exit": true });
    let said = add(&world, "gw2", "0.0.0.0/0", exit)
        .await
        .unwrap_err()
        .to_string();
    assert!(said.contains("exit node"), "{said}");
    // one host has one name by both IP versions
    let both = json!({ "names": ["printer=fd50::9"] });
    add(&world, "gw1", "fd50::/64", both).await.unwrap();
}

#[tokio::test]
async fn an_act_that_names_too_much_is_refused_with_its_size() {
    let (world, _) = world().await;
    let long = |n: usize| format!("{n:x>63}");
    let names: Vec<_> = (0..16)
        .map(|n| format!("{}=fd50:1:2:3:fff{n:x}:ffff:ffff:ffff", long(n)))
        .collect();
    let mut more = json!({ "names": names, "to_tags": (0..32).map(long).collect::<Vec<_>>(), "pods": format!("a={}", long(1)) });
    add(&world, "gw1", "fd50:1:2:3::/64", more.clone()).await.unwrap();
    more["to_nodes"] = json!(vec!["gw2"; 32]);
    let said = add(&world, "gw1", "fd50:1:2:3::/64", more)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("at most 4096") && said.contains("name fewer"),
        "{said}"
    );
}

#[tokio::test]
async fn no_node_gets_a_hosts_name_by_joining_or_by_an_admin() {
    let (world, token) = world().await;
    let names = json!({ "names": ["printer=192.168.50.9"] });
    add(&world, "gw1", "192.168.50.0/24", names).await.unwrap();
    let at = world.https();
    let reply = TestNode::new(&token).try_join(at, "printer").await.unwrap();
    assert_eq!(reply.hostname, "printer-2");
    let rename = json!({ "name": "printer" });
    let renamed = world
        .post::<Done>("/networks/prod/nodes/gw2/rename", &rename)
        .await;
    let said = renamed.unwrap_err().to_string();
    assert!(said.contains("192.168.50.9 behind \"gw1\""), "{said}");
    let gone = json!({ "node": "gw1", "range": "192.168.50.0/24" });
    let _: Done = world.post(&format!("{PATH}/remove"), &gone).await.unwrap();
    let _: Done = world
        .post("/networks/prod/nodes/gw2/rename", &rename)
        .await
        .unwrap();
}
