//! What nodes do.

use hyper::Method;
use meshd_api::coordinator::admin::TokenCreate;
use meshd_api::coordinator::node::{Entries, Leave, Pong, RecordUpdate, StreamLine};
use meshd_core::statement::{Departure, Signed};
use serde_json::{Value, json};

use crate::checked::Checked;
use crate::schema::misfit;
use crate::world::{TestNode, World};

/// A node from its join to its departure.
pub async fn nodes(checked: &mut Checked, world: &World) {
    let token = world.token("prod", TokenCreate::default()).await;
    let mut node = TestNode::new(&token);
    let join = serde_json::to_value(node.join_request("web")).unwrap();
    checked
        .node(world, &node, Method::POST, "/v1/join/preview", join.clone())
        .await;
    checked.node(world, &node, Method::POST, "/v1/join", join).await;
    node.try_join(world.https(), "web").await.unwrap();
    let update = RecordUpdate {
        record: node.record().bytes().into(),
        facts: node.facts.clone(),
    };
    let update = serde_json::to_value(update).unwrap();
    checked
        .node(world, &node, Method::PUT, "/v1/networks/{id}/record", update)
        .await;
    let pong = serde_json::to_value(Pong { nonce: 1 }).unwrap();
    checked
        .node(world, &node, Method::POST, "/v1/networks/{id}/pong", pong)
        .await;
    let entries = serde_json::to_value(Entries { entries: vec![] }).unwrap();
    checked
        .node(
            world,
            &node,
            Method::POST,
            "/v1/networks/{id}/statements",
            entries,
        )
        .await;
    lines(checked, world, &node).await;
    let stream = node.connect(world.https()).await;
    let stream = stream
        .upgrade("/v1/relay", meshd_api::coordinator::RELAY_PROTOCOL)
        .await;
    assert!(stream.is_ok(), "it becomes a stream");
    checked.seen.insert("get /v1/relay".into());
    let departure = Departure {
        network: token.network(),
        node: node.id,
        serial: 9,
    };
    let departure = Signed::sign(departure, &node.identity).unwrap();
    let leave = serde_json::to_value(Leave {
        departure: departure.bytes().into(),
        facts: Default::default(),
    })
    .unwrap();
    checked
        .node(world, &node, Method::POST, "/v1/networks/{id}/leave", leave)
        .await;
}

/// A node of a network in which Kubernetes allots the pods' prefixes.
pub async fn control_planes(checked: &mut Checked, world: &World) {
    let network = json!({ "name": "kube", "cidr": "10.78.0.0/16" });
    let _: Value = world.post("/networks", &network).await.unwrap();
    let pods =
        json!({ "pods": { "cidr": "10.244.0.0/16", "node_prefix": 24, "control_plane_tags": ["cp"] } });
    let _: Value = world.post("/networks/kube/pods", &pods).await.unwrap();
    let tagged = TokenCreate {
        tags: vec!["cp".into()],
        ..TokenCreate::default()
    };
    let node = TestNode::enter(&world.token("kube", tagged).await, world.https(), "cp").await;
    let part = json!({ "node": node.id.to_string(), "cidr": "10.244.1.0/24", "cidr6": null });
    let path = "/v1/networks/{id}/parts";
    checked
        .node(world, &node, Method::POST, path, json!({ "parts": [part] }))
        .await;
    let allow = json!({ "name": "cluster", "tags": ["cp"], "ports": ["80/tcp"] });
    let _: Value = world.post("/networks/kube/allowances", &allow).await.unwrap();
    let port = json!({ "namespace": "web", "service": "shop", "protocol": "tcp", "port": 81, "sites": ["a.example.org"],
        "proxy_protocol": "v2", "targets": ["10.244.1.7:80"] });
    let ask = json!({ "allowance": "cluster", "term": 1, "ports": [port] });
    checked
        .node(world, &node, Method::PUT, "/v1/networks/{id}/ingress", ask)
        .await;
}

/// Lines of the stream as they come, and one of each kind.
async fn lines(checked: &mut Checked, world: &World, node: &TestNode) {
    let path = "/v1/networks/{id}/map";
    let operation = checked.operation("get", path).clone();
    let schema = &operation["responses"]["200"]["content"]["application/x-ndjson"]["itemSchema"];
    let served = path.replace("{id}", &node.token.network().to_string());
    let mut stream = node.connect(world.https()).await.lines(&served).await.unwrap();
    for _ in 0..2 {
        let line: Value = stream.next().await.unwrap().unwrap();
        assert_eq!(misfit(&checked.document, schema, &line), None);
    }
    for line in [
        StreamLine::Delta {
            from_version: 1,
            header: vec![1].into(),
            add: vec![vec![2].into()],
            drop: vec![],
        },
        StreamLine::Ping {
            nonce: 1,
            answer: true,
        },
        StreamLine::Notice {
            code: "a".into(),
            message: "b".into(),
        },
    ] {
        let line = serde_json::to_value(line).unwrap();
        assert_eq!(misfit(&checked.document, schema, &line), None);
    }
    checked.seen.insert(format!("get {path}"));
}
