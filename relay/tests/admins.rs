//! Admins: over the socket, over TLS with the root's signature, and with the root key kept elsewhere.

mod world;

use hyper::Method;
use hyper::header::HeaderName;
use meshd_api::client::ClientError;
use meshd_api::coordinator::IDEMPOTENCY_KEY;
use meshd_api::coordinator::admin::{Done, NetworkInfo, NodeAct, NodeInfo, TokenCreate, TokenCreated};
use meshd_core::auth::{AdminAuthorization, AdminRequest};
use meshd_core::id::TokenId;
use meshd_core::keys::{CoordinatorPublic, JoinSecret, LanKey, RootSecret};
use meshd_core::statement::{Act, Deed, Delegation, Fixed, Limits, Params, Signed, Terms};
use meshd_core::token::JoinToken;
use serde_json::{Value, json};
use world::remote::Remote;
use world::{TestNode, World};

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    match result {
        Err(ClientError::Refused { problem, .. }) => problem.code,
        other => panic!("{other:?}"),
    }
}

fn root() -> RootSecret {
    RootSecret::from_seed(&[42; 32])
}

fn params() -> Signed<Params> {
    let params = Params {
        root: root().public(),
        serial: 1,
        name: "away".into(),
        ipv4: "10.88.0.0/16".parse().unwrap(),
        ipv6: "fd00:1:2:3::/64".parse().unwrap(),
        mtu: 1408,
        lan_key: LanKey::from_bytes([1; 32]),
    };
    Signed::sign(params, &root()).unwrap()
}

fn delegation(serial: u64, secret: &JoinSecret) -> Signed<Delegation> {
    let delegation = Delegation {
        network: params().value().network(),
        token: TokenId::from_bytes([serial as u8; 8]),
        join: secret.public(),
        serial,
        terms: Terms::default(),
        fixed: Fixed::default(),
        limits: Limits::default(),
    };
    Signed::sign(delegation, &root()).unwrap()
}

/// A network whose root key is kept elsewhere, and a token of it.
async fn away(world: &World) -> JoinToken {
    let body = json!({ "name": "away", "cidr": "10.88.0.0/16", "statement": data(params().bytes()) });
    let info: NetworkInfo = world.post("/networks", &body).await.unwrap();
    assert!(!info.root_on_relay);
    let secret = JoinSecret::from_seed(&[7; 32]);
    let wanted = TokenCreate {
        statement: Some(delegation(2, &secret).bytes().into()),
        ..TokenCreate::default()
    };
    let created: TokenCreated = world.post("/networks/away/tokens", &wanted).await.unwrap();
    assert_eq!(created.token, None);
    let coordinator: CoordinatorPublic = info.coordinator.parse().unwrap();
    let addresses = info.addresses.iter().map(|text| text.parse().unwrap()).collect();
    JoinToken {
        id: created.id.parse().unwrap(),
        secret,
        coordinator,
        root: root().public(),
        addresses,
    }
}

fn data(bytes: &[u8]) -> String {
    data_encoding::BASE64.encode(bytes)
}

fn act(serial: u64, deed: Deed) -> NodeAct {
    let act = Act {
        network: params().value().network(),
        serial,
        deed,
    };
    NodeAct {
        name: None,
        statement: Some(Signed::sign(act, &root()).unwrap().bytes().into()),
    }
}

#[tokio::test]
async fn with_the_root_elsewhere_only_its_statements_change_anything() {
    let world = World::new().await;
    let token = away(&world).await;
    assert_eq!(
        code(
            world
                .post::<TokenCreated>("/networks/away/tokens", &json!({}))
                .await
        ),
        "root-elsewhere"
    );
    let a = TestNode::enter(&token, world.https(), "a").await;
    let b = TestNode::enter(&token, world.https(), "b").await;
    let mut stream = a.stream(world.https()).await;
    stream.until_names(&["a", "b"]).await;
    let path = "/networks/away/nodes/b/remove";
    assert_eq!(code(world.post::<Done>(path, &json!({})).await), "root-elsewhere");
    let other = act(3, Deed::Approve { node: b.id });
    assert_eq!(code(world.post::<Done>(path, &other).await), "invalid");
    let remove = |serial| {
        act(
            serial,
            Deed::Remove {
                node: b.id,
                name: Some("b".into()),
                blocked_until: Some(9),
            },
        )
    };
    assert_eq!(code(world.post::<Done>(path, &remove(2)).await), "stale-serial");
    let forged = Act {
        network: token.network(),
        serial: 3,
        deed: Deed::Remove {
            node: b.id,
            name: None,
            blocked_until: None,
        },
    };
    let forged = Signed::sign(forged, &RootSecret::from_seed(&[1; 32])).unwrap();
    let forged = NodeAct {
        name: None,
        statement: Some(forged.bytes().into()),
    };
    assert_eq!(code(world.post::<Done>(path, &forged).await), "statement-refused");
    let _: Done = world.post(path, &remove(3)).await.unwrap();
    stream.until_names(&["a"]).await;
    let info: NetworkInfo = world.get("/networks/away").await.unwrap();
    assert_eq!((info.last_serial, info.nodes), (3, 1));
    let world = world.restart().await;
    assert_eq!(world.nodes("away").await.len(), 1);
}

#[tokio::test]
async fn over_tls_the_roots_signature_administers_its_own_network_only() {
    let world = World::with(|config| config.admin_public = true).await;
    let token = away(&world).await;
    world.create_network("other", "10.77.0.0/16").await;
    TestNode::enter(&token, world.https(), "a").await;
    let mut remote = Remote::connect(&world, world.https(), root()).await;
    let networks: Vec<NetworkInfo> = remote
        .ask(Method::GET, "/v1/admin/networks", json!({}))
        .await
        .unwrap();
    assert_eq!(networks.len(), 1);
    let nodes: Vec<NodeInfo> = remote
        .ask(Method::GET, "/v1/admin/networks/away/nodes", json!({}))
        .await
        .unwrap();
    assert_eq!(nodes[0].name, "a");
    let secret = JoinSecret::from_seed(&[8; 32]);
    let wanted = json!({ "statement": data(delegation(3, &secret).bytes()) });
    let _: TokenCreated = remote
        .ask(Method::POST, "/v1/admin/networks/away/tokens", wanted)
        .await
        .unwrap();
    let refused: Result<NetworkInfo, _> = remote
        .ask(Method::GET, "/v1/admin/networks/other", json!({}))
        .await;
    assert_eq!(code(refused), "unproven");
    let mut remote = Remote::connect(&world, world.https(), root()).await;
    for path in ["/v1/admin/backup", "/v1/admin/restore"] {
        let method = if path.ends_with("restore") {
            Method::POST
        } else {
            Method::GET
        };
        assert_eq!(
            code(remote.ask::<Value>(method, path, json!({})).await),
            "socket-only"
        );
    }
    let create = json!({ "name": "mine", "cidr": "10.99.0.0/16" });
    assert_eq!(
        code(
            remote
                .ask::<Value>(Method::POST, "/v1/admin/networks", create)
                .await
        ),
        "socket-only"
    );
}

#[tokio::test]
async fn from_elsewhere_only_networks_whose_root_keys_the_settings_name_are_made() {
    let world = World::with(|config| {
        config.admin_public = true;
        config.network_keys = vec![root().public()];
    })
    .await;
    let mine = |statement: &Signed<Params>| json!({ "name": "away", "cidr": "10.88.0.0/16", "statement": data(statement.bytes()) });
    let make = async |root: RootSecret, body: Value| -> Result<NetworkInfo, ClientError> {
        let mut remote = Remote::connect(&world, world.https(), root).await;
        remote.ask(Method::POST, "/v1/admin/networks", body).await
    };
    let stranger = RootSecret::from_seed(&[1; 32]);
    let params_of_stranger = Params {
        root: stranger.public(),
        ..params().value().clone()
    };
    let foreign = Signed::sign(params_of_stranger, &stranger).unwrap();
    assert_eq!(code(make(stranger, mine(&foreign)).await), "unknown-network");
    // the key that is named makes its own network, and no other's, and none whose root key the relay would hold
    assert_eq!(code(make(root(), mine(&foreign)).await), "socket-only");
    let held = json!({ "name": "held", "cidr": "10.99.0.0/16" });
    assert_eq!(code(make(root(), held).await), "socket-only");
    let made = make(root(), mine(&params())).await.unwrap();
    assert!(!made.root_on_relay);
    assert_eq!(code(make(root(), mine(&params())).await), "conflict");
    let networks: Vec<NetworkInfo> = world.get("/networks").await.unwrap();
    assert_eq!(networks.len(), 1);
}

#[tokio::test]
async fn an_unsigned_replayed_or_foreign_request_is_refused() {
    let world = World::with(|config| config.admin_public = true).await;
    away(&world).await;
    let mut remote = Remote::connect(&world, world.https(), root()).await;
    assert_eq!(
        code(remote.connection.get::<Value>("/v1/admin/networks").await),
        "unproven"
    );
    let mut remote = Remote::connect(&world, world.https(), RootSecret::from_seed(&[1; 32])).await;
    assert_eq!(
        code(
            remote
                .ask::<Value>(Method::GET, "/v1/admin/networks", json!({}))
                .await
        ),
        "unknown-network"
    );
    // signed for another session
    let mut first = Remote::connect(&world, world.https(), root()).await;
    let _: Value = first
        .ask(Method::GET, "/v1/admin/networks", json!({}))
        .await
        .unwrap();
    let exporter = first.connection.exporter().unwrap();
    let request = AdminRequest {
        exporter: &exporter,
        method: "GET",
        path: "/v1/admin/networks",
        body: b"",
    };
    let mut second = Remote::connect(&world, world.https(), root()).await;
    second
        .connection
        .authorize(AdminAuthorization::sign(&request, &root()).to_string());
    assert_eq!(
        code(second.connection.get::<Value>("/v1/admin/networks").await),
        "unproven"
    );
}

#[tokio::test]
async fn admins_are_not_answered_on_public_addresses_unless_wanted() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let world = World::with(|config| config.admin_listen = Some(listen)).await;
    away(&world).await;
    let mut remote = Remote::connect(&world, world.https(), root()).await;
    assert_eq!(
        code(
            remote
                .ask::<Value>(Method::GET, "/v1/admin/networks", json!({}))
                .await
        ),
        "admin-not-here"
    );
    let mut remote = Remote::connect(&world, world.relay.admin.unwrap(), root()).await;
    let networks: Vec<NetworkInfo> = remote
        .ask(Method::GET, "/v1/admin/networks", json!({}))
        .await
        .unwrap();
    assert_eq!(networks.len(), 1);
}

#[tokio::test]
async fn an_idempotency_key_does_a_write_once_also_over_a_restart() {
    let world = World::new().await;
    let ask = async |world: &World, path: &str, body: Value| -> Result<Value, ClientError> {
        let key = (HeaderName::from_static(IDEMPOTENCY_KEY), "key-1".to_owned());
        world
            .admin()
            .await
            .send(Method::POST, &format!("/v1/admin{path}"), &body, &[key])
            .await
    };
    let wanted = json!({ "name": "prod", "cidr": "10.77.0.0/16" });
    let first = ask(&world, "/networks", wanted.clone()).await.unwrap();
    assert_eq!(ask(&world, "/networks", wanted.clone()).await.unwrap(), first);
    let world = world.restart().await;
    assert_eq!(ask(&world, "/networks", wanted.clone()).await.unwrap(), first);
    assert_eq!(
        code(
            ask(
                &world,
                "/networks",
                json!({ "name": "lab", "cidr": "10.78.0.0/16" })
            )
            .await
        ),
        "invalid"
    );
    let without = world.post::<Value>("/networks", &wanted).await;
    assert_eq!(code(without), "conflict");
}

#[tokio::test]
async fn what_an_admin_mistypes_is_named() {
    let world = World::with_network().await;
    for (path, body, code_wanted) in [
        (
            "/networks",
            json!({ "name": "Prod!", "cidr": "10.1.0.0/16" }),
            "invalid",
        ),
        (
            "/networks",
            json!({ "name": "x", "cidr": "8.8.0.0/16" }),
            "prefix-refused",
        ),
        (
            "/networks",
            json!({ "name": "x", "cidr": "10.1.0.0/16", "mtu": 1400 }),
            "prefix-refused",
        ),
        (
            "/networks",
            json!({ "name": "x", "cidr": "10.1.0.0/16", "cidr6": "fe80::/64" }),
            "prefix-refused",
        ),
        ("/networks", json!({ "name": "x" }), "bad-request"),
        ("/networks/none/tokens", json!({}), "unknown-network"),
        ("/networks/prod/tokens", json!({ "uses": 0 }), "token-refused"),
        (
            "/networks/prod/tokens",
            json!({ "hostname": "localhost" }),
            "token-refused",
        ),
        ("/networks/prod/tokens/zz/revoke", json!({}), "unknown-token"),
        ("/networks/prod/nodes/none/remove", json!({}), "unknown-node"),
        ("/networks/prod/names/free", json!({ "name": "db1" }), "conflict"),
        ("/none", json!({}), "no-such-path"),
    ] {
        assert_eq!(
            code(world.post::<Value>(path, &body).await),
            code_wanted,
            "{path} {body}"
        );
    }
    let wrong = world
        .admin()
        .await
        .send::<_, Value>(Method::PUT, "/v1/admin/networks", &json!({}), &[])
        .await;
    assert_eq!(code(wrong), "no-such-method");
}
