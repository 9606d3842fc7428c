//! What a cluster exposes by itself: only nodes that the root allowed ask, only for what it allowed, and only for addresses of the network.

mod world;

use std::time::Duration;

use meshd_api::client::ClientError;
use meshd_api::coordinator::admin::{Done, ExposeInfo, IngressInfo, TokenCreate};
use meshd_api::coordinator::ingress::{IngressAsk, IngressGiven, IngressPort};
use serde_json::json;
use tokio::net::TcpStream;
use world::{PATIENCE, TestNode, World, free_port};

const ALLOWANCES: &str = "/networks/prod/allowances";

/// A network with pods, two control planes and a worker.
struct Cluster {
    world: World,
    cp1: TestNode,
    cp2: TestNode,
    w1: TestNode,
}

impl Cluster {
    async fn new() -> Self {
        let (world, token) = World::with_token(TokenCreate::default()).await;
        let at = world.https();
        let [cp1, cp2, w1] = ["cp1", "cp2", "w1"].map(|name| (token.clone(), name));
        let cluster = Self {
            cp1: TestNode::enter(&cp1.0, at, cp1.1).await,
            cp2: TestNode::enter(&cp2.0, at, cp2.1).await,
            w1: TestNode::enter(&w1.0, at, w1.1).await,
            world,
        };
        let pods = json!({"pods": {"cidr": "10.42.0.0/16", "node_prefix": 24}});
        let _: Done = cluster.world.post("/networks/prod/pods", &pods).await.unwrap();
        cluster
    }

    async fn allow(&self, ports: &[String]) -> String {
        let body = json!({"name": "cluster", "nodes": ["cp1", "cp2"], "ports": ports, "max_ports": 3});
        let done: Done = self.world.post(ALLOWANCES, &body).await.unwrap();
        done.message
    }

    /// An address of a pod on w1.
    async fn pod(&self) -> String {
        let nodes = self.world.nodes("prod").await;
        let part = nodes.iter().find(|node| node.name == "w1").unwrap().pods[0].clone();
        part.replace(".0/24", ".7")
    }

    async fn ask(
        &self,
        who: &TestNode,
        term: u64,
        ports: Vec<IngressPort>,
    ) -> Result<IngressGiven, ClientError> {
        let ask = IngressAsk {
            allowance: "cluster".into(),
            term,
            ports,
        };
        who.put(self.world.https(), "ingress", &ask).await
    }

    async fn listed(&self) -> Vec<ExposeInfo> {
        self.world.get("/networks/prod/exposures").await.unwrap()
    }

    async fn allowed(&self) -> IngressInfo {
        let all: Vec<IngressInfo> = self.world.get(ALLOWANCES).await.unwrap();
        all.into_iter().next().unwrap()
    }
}

fn port(port: u16, targets: &[&str]) -> IngressPort {
    IngressPort {
        namespace: "default".into(),
        service: "web".into(),
        protocol: "tcp".into(),
        port,
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
        ..IngressPort::default()
    }
}

fn refused(given: &IngressGiven) -> String {
    given.ports[0].refused.clone().unwrap_or_default()
}

async fn until_open(port: u16, open: bool) {
    let tried = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_ok() != open {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, tried).await.unwrap();
}

#[tokio::test]
async fn a_port_that_was_allowed_opens_for_pods_and_closes_with_the_allowance() {
    let cluster = Cluster::new().await;
    let public = free_port();
    let message = cluster.allow(&[format!("{public}/tcp")]).await;
    assert!(
        message.contains("cp1, cp2 may give the public ports"),
        "{message}"
    );
    let pod = format!("{}:8080", cluster.pod().await);
    let given = cluster
        .ask(&cluster.cp1, 1, vec![port(public, &[&pod])])
        .await
        .unwrap();
    assert_eq!(
        (given.addresses.as_slice(), refused(&given)),
        (&["127.0.0.1".to_owned()][..], String::new())
    );
    assert_eq!(given.ports[0].warnings, [""; 0]);
    until_open(public, true).await;
    let info = cluster.listed().await.remove(0);
    assert_eq!(info.name, format!("default/web:{public}/tcp"));
    assert_eq!(info.allowance.as_deref(), Some("cluster"));
    assert!(
        info.targets[0].node.starts_with("w1/10.42."),
        "{:?}",
        info.targets
    );
    let allowed = cluster.allowed().await;
    assert_eq!((allowed.asked_by.as_deref(), allowed.held), (Some("cp1"), 1));

    let given = cluster.ask(&cluster.cp2, 2, Vec::new()).await.unwrap();
    assert_eq!(given.ports, []);
    until_open(public, false).await;
    cluster
        .ask(&cluster.cp2, 2, vec![port(public, &[&pod])])
        .await
        .unwrap();
    until_open(public, true).await;
    let remove = json!({"name": "cluster"});
    let _: Done = cluster
        .world
        .post(&format!("{ALLOWANCES}/remove"), &remove)
        .await
        .unwrap();
    until_open(public, false).await;
    assert!(
        cluster
            .ask(&cluster.cp2, 2, vec![port(public, &[&pod])])
            .await
            .is_err()
    );
}

#[tokio::test]
async fn who_was_not_allowed_or_was_elected_before_or_changes_too_often_is_not_heard() {
    let cluster = Cluster::new().await;
    let public = free_port();
    let pod = format!("{}:8080", cluster.pod().await);
    let nobody = cluster
        .ask(&cluster.cp1, 1, vec![port(public, &[&pod])])
        .await
        .unwrap_err();
    assert!(nobody.to_string().contains("meshctl expose allow"), "{nobody}");
    cluster.allow(&[format!("{public}/tcp")]).await;
    let worker = cluster
        .ask(&cluster.w1, 1, vec![port(public, &[&pod])])
        .await
        .unwrap_err();
    assert!(worker.to_string().contains("meshctl expose allow"), "{worker}");
    assert!(cluster.listed().await.is_empty());

    cluster
        .ask(&cluster.cp2, 7, vec![port(public, &[&pod])])
        .await
        .unwrap();
    let before = cluster.ask(&cluster.cp1, 6, Vec::new()).await.unwrap_err();
    assert!(
        before.to_string().contains("another control plane was elected"),
        "{before}"
    );
    assert_eq!(cluster.listed().await.len(), 1);

    let mut outcome = Ok(IngressGiven::default());
    for round in 0..60 {
        let targets = [pod.as_str()];
        outcome = cluster
            .ask(&cluster.cp2, 7, vec![port(public, &targets[..round % 2])])
            .await;
        if outcome.is_err() {
            break;
        }
    }
    let often = outcome.unwrap_err().to_string();
    assert!(often.contains("too often"), "{often}");
    assert_eq!(cluster.listed().await.len(), 1, "what was there stays");
}

#[tokio::test]
async fn ports_and_targets_outside_of_the_allowance_and_the_network_are_refused_by_name() {
    let cluster = Cluster::new().await;
    let (public, own) = (free_port(), cluster.world.https().port());
    cluster
        .allow(&[format!("{public}/tcp"), format!("{own}/tcp")])
        .await;
    let given = cluster.ask(&cluster.cp1, 1, vec![port(22, &[])]).await.unwrap();
    assert!(
        refused(&given).contains("default/web: port 22 (tcp) is none that \"cluster\" allows"),
        "{given:?}"
    );
    let given = cluster.ask(&cluster.cp1, 1, vec![port(own, &[])]).await.unwrap();
    assert!(refused(&given).contains("meshrelay's own"), "{given:?}");
    let node = cluster
        .world
        .nodes("prod")
        .await
        .into_iter()
        .find(|node| node.name == "w1")
        .unwrap();
    let strange = [
        "192.0.2.1:80".to_owned(),
        format!("{}:22", node.ipv4),
        format!("{}:30080", node.ipv4),
    ];
    let targets: Vec<&str> = strange.iter().map(String::as_str).collect();
    let given = cluster
        .ask(&cluster.cp1, 1, vec![port(public, &targets)])
        .await
        .unwrap();
    let warnings = &given.ports[0].warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].contains("192.0.2.1 is no address of a pod or a node"),
        "{warnings:?}"
    );
    assert!(warnings[1].contains("is no node port of w1"), "{warnings:?}");
    assert_eq!(
        cluster.listed().await.remove(0).targets.len(),
        1,
        "the node port is one"
    );

    let many = (0..4).map(|n| port(public + n, &[])).collect();
    let refused = cluster.ask(&cluster.cp1, 1, many).await.unwrap_err().to_string();
    assert!(
        refused.contains("4 ports are asked for, and \"cluster\" allows 3"),
        "{refused}"
    );
    let odd = cluster
        .ask(&cluster.cp1, 1, vec![port(public, &["::1"])])
        .await
        .unwrap_err();
    assert!(odd.to_string().contains("no IPv4 address and port"), "{odd}");
    let exposure = json!({"name": "mine", "protocol": "tcp", "port": public, "targets": [{"node": "w1", "port": 80}], "based_on": 0});
    let _: Done = cluster
        .world
        .post("/networks/prod/exposures", &exposure)
        .await
        .unwrap();
    let given = cluster
        .ask(&cluster.cp1, 1, vec![port(public, &[])])
        .await
        .unwrap();
    let taken = given.ports[0].refused.clone().unwrap();
    assert!(
        taken.contains("the exposure \"mine\"'s"),
        "an admin comes first: {taken}"
    );
    assert!(cluster.allowed().await.refused[0].contains("mine"));
}
