//! The OpenAPI document against what is really served: every path answers, and every answer fits its schema.

mod checked;
mod schema;
mod world;

use std::collections::BTreeSet;

use checked::Checked;
use hyper::Method;
use hyper::body::Bytes;
use meshd_api::coordinator::admin::TokenCreate;
use meshd_api::coordinator::node::{Entries, Leave, Pong, RecordUpdate, StreamLine};
use meshd_core::statement::{Departure, Signed};
use schema::misfit;
use serde_json::{Value, json};
use world::{TestNode, World};

#[tokio::test]
async fn every_documented_path_is_served_and_every_answer_fits_its_schema() {
    let world = World::new().await;
    let document: Value = world.admin().await.get("/v1/openapi.json").await.unwrap();
    let mut checked = Checked {
        document,
        seen: BTreeSet::new(),
    };
    admins(&mut checked, &world).await;
    nodes(&mut checked, &world).await;
    control_planes(&mut checked, &world).await;
    relays(&mut checked, &world).await;
    ends(&mut checked, &world).await;
    let paths = checked.document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, methods)| {
        methods
            .as_object()
            .unwrap()
            .keys()
            .map(move |method| format!("{method} {path}"))
    });
    let missing: Vec<String> = all
        .filter(|operation| !checked.seen.contains(operation))
        .collect();
    assert_eq!(missing, [] as [String; 0], "documented, and not tried");
    let problem = checked.document["components"]["schemas"]["Problem"].clone();
    assert_eq!(
        misfit(
            &checked.document,
            &problem,
            &json!({ "code": "a", "message": "b" })
        ),
        None
    );
}

async fn admins(checked: &mut Checked, world: &World) {
    let base = "/v1/admin/networks";
    let wanted = json!({ "name": "prod", "cidr": "10.77.0.0/16", "cidr6": null, "mtu": 1280 });
    checked.admin(world, Method::POST, base, &[], wanted).await;
    checked.admin(world, Method::GET, base, &[], Value::Null).await;
    checked
        .admin(
            world,
            Method::GET,
            &format!("{base}/{{network}}"),
            &["prod"],
            Value::Null,
        )
        .await;
    let tokens = format!("{base}/{{network}}/tokens");
    let wanted = json!({ "uses": 3, "expires_in": 900, "tags": ["a"], "approval": true });
    let token = checked
        .admin(world, Method::POST, &tokens, &["prod"], wanted)
        .await;
    checked
        .admin(world, Method::GET, &tokens, &["prod"], Value::Null)
        .await;
    let word = token["token"].as_str().unwrap().parse().unwrap();
    let node = TestNode::enter(&word, world.https(), "db1").await;
    let nodes = format!("{base}/{{network}}/nodes");
    let of_node = |verb: &str| format!("{nodes}/{{node}}{verb}");
    checked
        .admin(world, Method::GET, &nodes, &["prod"], Value::Null)
        .await;
    checked
        .admin(
            world,
            Method::POST,
            &of_node("/approve"),
            &["prod", "db1"],
            json!({}),
        )
        .await;
    checked
        .admin(
            world,
            Method::GET,
            &of_node(""),
            &["prod", &node.id.to_string()],
            Value::Null,
        )
        .await;
    checked
        .admin(
            world,
            Method::POST,
            &of_node("/rename"),
            &["prod", "db1"],
            json!({ "name": "db2" }),
        )
        .await;
    checked
        .admin(
            world,
            Method::POST,
            &of_node("/relay"),
            &["prod", "db2"],
            json!({ "on": true }),
        )
        .await;
    let pods = json!({ "pods": { "cidr": "10.42.0.0/16", "node_prefix": 24 } });
    let of_network = format!("{base}/{{network}}/pods");
    checked
        .admin(world, Method::POST, &of_network, &["prod"], pods)
        .await;
    let part = json!({ "cidr": "10.42.0.0/24" });
    // it got one with the network's, and keeps it: the path is served, and says so
    let path = of_node("/pods")
        .replace("{network}", "prod")
        .replace("{node}", "db2");
    let refused = world
        .admin()
        .await
        .request(Method::POST, &path, part.to_string().into(), &[])
        .await;
    assert!(refused.is_err_and(|why| why.to_string().contains("10.42.0.0/24 already")));
    checked.seen.insert(format!("post {}", of_node("/pods")));
    checked
        .admin(
            world,
            Method::POST,
            &of_node("/replace"),
            &["prod", "db2"],
            json!({}),
        )
        .await;
    let gateways = format!("{base}/{{network}}/gateways");
    let range = json!({ "node": "db2", "range": "192.168.50.0/24" });
    let mut gateway = range.clone();
    (gateway["nat"], gateway["priority"]) = (json!(true), json!(10));
    checked
        .admin(world, Method::POST, &gateways, &["prod"], gateway)
        .await;
    checked
        .admin(world, Method::GET, &gateways, &["prod"], Value::Null)
        .await;
    let grants = format!("{base}/{{network}}/grants");
    let grant = json!({ "tag": "worker", "prefix": "10.244.0.0/16", "on": true });
    checked
        .admin(world, Method::POST, &grants, &["prod"], grant)
        .await;
    let withdraw = format!("{gateways}/remove");
    checked
        .admin(world, Method::POST, &withdraw, &["prod"], range)
        .await;
    checked
        .admin(
            world,
            Method::POST,
            &of_node("/remove"),
            &["prod", "db2"],
            json!({}),
        )
        .await;
    let free = format!("{base}/{{network}}/names/free");
    checked
        .admin(world, Method::POST, &free, &["prod"], json!({ "name": "db2" }))
        .await;
    let revoke = format!("{tokens}/{{token}}/revoke");
    let id = token["id"].as_str().unwrap().to_owned();
    checked
        .admin(
            world,
            Method::POST,
            &revoke,
            &["prod", &id],
            json!({ "with_nodes": true }),
        )
        .await;
}

async fn relays(checked: &mut Checked, world: &World) {
    let base = "/v1/admin/relays";
    let wanted = json!({ "name": "east" });
    let made = checked.admin(world, Method::POST, base, &[], wanted).await;
    checked.admin(world, Method::GET, base, &[], Value::Null).await;
    let word: meshd_core::relay::word::RelayWord = made["word"].as_str().unwrap().parse().unwrap();
    let at = world.https();
    let pins = [*word.coordinator.as_bytes()];
    let host = at.ip().to_string();
    let mut connection = meshd_api::client::pinned::connect(&host, at.port(), &pins)
        .await
        .unwrap();
    let exporter = connection.exporter().unwrap();
    connection.authorize(word.secret.prove(word.id, &exporter).to_string());
    let path = "/v1/relays/stream";
    let mut lines = connection
        .lines(&format!("{path}?udp=:3478&tls=r.example.net:443"))
        .await
        .unwrap();
    let mut line = Value::Null;
    while line["type"] != "complete" {
        line = lines.next().await.unwrap().unwrap();
        let operation = checked.operation("get", path);
        let schema = &operation["responses"]["200"]["content"]["application/x-ndjson"]["itemSchema"];
        assert_eq!(misfit(&checked.document, schema, &line), None);
    }
    checked.seen.insert(format!("get {path}"));
    let listed = checked.admin(world, Method::GET, base, &[], Value::Null).await;
    assert_eq!(listed[1]["udp"], json!([format!("{host}:3478")]));
    assert_eq!(listed[1]["tls"], json!(["r.example.net:443"]));
    let remove = format!("{base}/{{relay}}/remove");
    checked
        .admin(world, Method::POST, &remove, &["east"], json!({}))
        .await;
    let ends = async { while let Ok(Some(_)) = lines.next::<Value>().await {} };
    let ended = tokio::time::timeout(world::PATIENCE, ends).await;
    assert!(ended.is_ok(), "its stream is cut");
}

async fn nodes(checked: &mut Checked, world: &World) {
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
async fn control_planes(checked: &mut Checked, world: &World) {
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

async fn ends(checked: &mut Checked, world: &World) {
    checked
        .admin(world, Method::GET, "/v1/openapi.json", &[], Value::Null)
        .await;
    let backup = world
        .admin()
        .await
        .request(Method::GET, "/v1/admin/backup", Bytes::new(), &[])
        .await
        .unwrap();
    checked.seen.insert("get /v1/admin/backup".into());
    checked
        .admin(
            world,
            Method::DELETE,
            "/v1/admin/networks/{network}",
            &["prod"],
            json!({}),
        )
        .await;
    let restored = world
        .admin()
        .await
        .request(Method::POST, "/v1/admin/restore", backup.body, &[])
        .await
        .unwrap();
    let answer = serde_json::from_slice(&restored.body).unwrap();
    checked.answer("post", "/v1/admin/restore", &Value::Null, &answer);
}

/// The check above is worth something only where it fails: each field of an answer is taken out of the document, and documented as
/// something else.
#[tokio::test]
async fn a_document_that_differs_from_the_code_in_one_field_is_found() {
    let world = World::with_network().await;
    let document: Value = world.admin().await.get("/v1/openapi.json").await.unwrap();
    let answer: Value = world.get("/networks/prod").await.unwrap();
    let schema = json!({ "$ref": "#/components/schemas/NetworkInfo" });
    assert_eq!(misfit(&document, &schema, &answer), None);
    let fields: Vec<String> = answer.as_object().unwrap().keys().cloned().collect();
    assert!(fields.len() > 10, "{fields:?}");
    for field in fields {
        let mut lacking = document.clone();
        let known =
            |document: &mut Value| document["components"]["schemas"]["NetworkInfo"]["properties"].take();
        let mut properties = known(&mut lacking);
        properties
            .as_object_mut()
            .unwrap()
            .remove(&field)
            .expect("documented");
        lacking["components"]["schemas"]["NetworkInfo"]["properties"] = properties.clone();
        assert!(
            misfit(&lacking, &schema, &answer).is_some(),
            "{field} is not missed"
        );
        let other = if answer[&field].is_boolean() {
            "string"
        } else {
            "boolean"
        };
        properties[&field] = json!({ "type": other });
        lacking["components"]["schemas"]["NetworkInfo"]["properties"] = properties;
        assert!(
            misfit(&lacking, &schema, &answer).is_some(),
            "{field} may be anything"
        );
    }
}
