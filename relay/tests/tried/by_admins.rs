//! What admins do.

use hyper::Method;
use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::checked::Checked;
use crate::schema::misfit;
use crate::world::{PATIENCE, TestNode, World};

/// A network, its tokens, nodes, names, ranges and prefixes.
pub async fn admins(checked: &mut Checked, world: &World) {
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
    gateway["names"] = json!(["printer=192.168.50.9"]);
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
    checked.endpoints(world, "db2").await;
    checked.exposures(world, "db2").await;
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

/// A relay on another host, and what it is told.
pub async fn relays(checked: &mut Checked, world: &World) {
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
    let ended = tokio::time::timeout(PATIENCE, ends).await;
    assert!(ended.is_ok(), "its stream is cut");
}

/// The document itself, the network's end, and its return from a backup.
pub async fn ends(checked: &mut Checked, world: &World) {
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
