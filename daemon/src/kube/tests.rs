//! What the API says, in the form in which it says it (`examples/`, written by hand so that every case that counts is there), and how a
//! watch goes on.

use super::credentials::Credentials;
use super::objects::{ApiNode, ApiPod, Watched};
use super::policies::ApiPolicy;
use super::state::{State, What};
use super::watching::{Word, watch};
use kube::client::Body;
use kube::{Api, Client};
use meshd_core::policy::{Direction, Operator, Peer, PortNumber, Protocol};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::mpsc;

const POD: &str = include_str!("examples/pod.json");
const POLICY: &str = include_str!("examples/policy.json");

fn read<K: Watched>(text: &str) -> Option<K::Kept> {
    serde_json::from_str::<K>(text).expect("the API's form").kept()
}

#[test]
fn of_a_pod_the_few_fields_that_count_are_kept() {
    let pod = read::<ApiPod>(POD).unwrap();
    assert_eq!(pod.name.to_string(), "default/web-7xk2p");
    assert_eq!(&*pod.uid, "5b3f0a", "what the runtime calls a static pod");
    assert_eq!(pod.labels["app"], "web".into());
    assert_eq!(pod.addresses.len(), 2);
    assert_eq!((&*pod.node, pod.host_network), ("w1", false));
    let ports: Vec<(&str, Protocol, u16)> =
        pod.ports.iter().map(|p| (&*p.name, p.protocol, p.port)).collect();
    assert_eq!(ports, [("http", Protocol::Tcp, 8080), ("dns", Protocol::Udp, 53)]);
    let parsed: ApiPod = serde_json::from_str(POD).unwrap();
    let all = format!("{parsed:?}");
    assert!(
        !all.contains("hunter2") && !all.contains("kube-controller-manager"),
        "{all}"
    );
}

#[test]
fn a_pod_that_ended_is_gone() {
    assert_eq!(read::<ApiPod>(&POD.replace("Running", "Succeeded")), None);
    assert_eq!(read::<ApiPod>(&POD.replace("Running", "Failed")), None);
}

#[test]
fn a_policy_is_taken_as_it_stands() {
    let policy = read::<ApiPolicy>(POLICY).unwrap();
    assert_eq!(policy.name.to_string(), "shop/api");
    assert_eq!(policy.types, [Direction::Ingress, Direction::Egress]);
    let [rule] = &policy.ingress[..] else {
        panic!("{policy:?}")
    };
    let [
        Peer::Block { cidr, except },
        Peer::Pods {
            namespaces: Some(_),
            pods: Some(pods),
        },
        Peer::Pods {
            namespaces: None,
            pods: Some(all),
        },
    ] = &rule.peers[..]
    else {
        panic!("{rule:?}")
    };
    assert_eq!((cidr.to_string(), except.len()), ("10.0.0.0/8".to_owned(), 1));
    assert_eq!(pods.expressions[0].operator, Operator::In);
    assert!(all.is_everything());
    assert_eq!(rule.ports[0].port, Some(PortNumber::Named("http".into())));
    assert_eq!(rule.ports[1].port, Some(PortNumber::Range(8080, 8090)));
    assert_eq!(policy.egress[0].peers, []);
    assert_eq!(policy.egress[0].ports[0].protocol, Protocol::Udp);
}

#[test]
fn what_of_a_policy_cannot_be_read_allows_nothing() {
    let broken = POLICY
        .replace("10.0.0.0/8", "nowhere")
        .replace(r#""operator":"In""#, r#""operator":"Like""#)
        .replace(r#",{"podSelector":{}}]"#, "]");
    assert_eq!(
        read::<ApiPolicy>(&broken).unwrap().ingress,
        [],
        "not a rule for everybody"
    );
    let broken = POLICY.replace(r#""protocol":"UDP""#, r#""protocol":"ICMP""#);
    assert_eq!(
        read::<ApiPolicy>(&broken).unwrap().egress,
        [],
        "not a rule for every port"
    );
}

#[test]
fn a_node_is_known_by_its_internal_addresses() {
    let text = r#"{"metadata":{"name":"w1"},"spec":{"podCIDR":"10.244.1.0/24","podCIDRs":["10.244.1.0/24"]},
        "status":{"addresses":[{"address":"10.77.0.2","type":"InternalIP"},{"address":"w1","type":"Hostname"},{"address":"1.2.3.4","type":"ExternalIP"}]}}"#;
    let node = read::<ApiNode>(text).unwrap();
    assert_eq!(node.addresses, ["10.77.0.2".parse::<std::net::IpAddr>().unwrap()]);
    let mut state = State::new(Some("https://x".into()), Instant::now());
    let own = ([10, 77, 0, 2].into(), std::net::Ipv6Addr::LOCALHOST);
    state.set_nodes(vec![node], own);
    assert_eq!(state.own().map(|node| node.pod_cidrs.len()), Some(1));
    state.drop_node("w1", own);
    assert!(state.own().is_none());
}

#[test]
fn it_is_connected_when_everything_is_heard() {
    let mut state = State::new(Some("https://x".into()), Instant::now());
    let all = [What::Namespaces, What::Pods, What::Policies, What::Nodes];
    all.into_iter().for_each(|what| {
        assert!(!state.shown().unwrap().connected);
        state.connected(what);
    });
    assert!(state.shown().unwrap().connected);
    state.away(What::Pods, "it burns".into());
    assert_eq!(state.shown().unwrap().state, "it burns");
    state.connected(What::Pods);
    assert_eq!(state.shown().unwrap().state, "connected");
    assert!(State::new(None, Instant::now()).shown().is_none());
}

fn kubeconfig(cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{{name: a, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
    )
}

#[test]
fn kubeconfigs_that_are_not_taken_are_refused_in_a_sentence_without_their_secrets() {
    let good = "server: \"https://10.77.0.1:6443\"";
    for (cluster, user, words) in [
        ("server: \"http://10.77.0.1\"", "token: s3cret", "in the clear"),
        (
            "server: \"https://x\", insecure-skip-tls-verify: true",
            "token: s3cret",
            "whoever answers",
        ),
        (
            "server: \"https://x\", proxy-url: \"http://p\"",
            "token: s3cret",
            "proxy",
        ),
        (good, "exec: {command: sh, apiVersion: x}", "meshd runs none"),
        (good, "username: s3cret", "neither token"),
        (good, "token: s3cret, token: [", "no kubeconfig"),
    ] {
        let said = Credentials::parse(&kubeconfig(cluster, user), Path::new("/etc"))
            .unwrap_err()
            .to_string();
        assert!(said.contains(words), "{user}: {said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
    let fine = Credentials::parse(&kubeconfig(good, "token: s3cret"), Path::new("/etc")).unwrap();
    assert_eq!(fine.server(), "https://10.77.0.1:6443");
    assert!(!format!("{fine:?}").contains("s3cret"));
    let encoded = Credentials::encode(&kubeconfig(good, "token: s3cret"), Path::new("/etc"));
    assert!(Credentials::decode(&encoded).is_ok());
    assert!(Credentials::decode(b"{}").is_err());
}

#[tokio::test]
async fn files_that_a_kubeconfig_names_lie_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let text = kubeconfig("server: \"https://10.77.0.1:6443\"", "tokenFile: token");
    let credentials = Credentials::parse(&text, folder.path()).unwrap();
    let missing = credentials
        .client()
        .await
        .err()
        .expect("there is no file")
        .to_string();
    assert!(missing.contains("token"), "{missing}");
    std::fs::write(folder.path().join("token"), "s3cret").unwrap();
    assert!(credentials.client().await.is_ok());
}

/// A server that gives these answers, one to each request, and then none; and what it was asked.
fn server(answers: &[String]) -> (Client, Arc<Mutex<Vec<String>>>) {
    let answers = Arc::new(Mutex::new(answers.iter().cloned().collect::<VecDeque<_>>()));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = asked.clone();
    let service = tower::service_fn(move |request: hyper::Request<Body>| {
        heard.lock().unwrap().push(request.uri().to_string());
        let answer = answers.lock().unwrap().pop_front();
        async move {
            match answer {
                Some(answer) => Ok::<_, Infallible>(hyper::Response::new(Body::from(answer.into_bytes()))),
                None => std::future::pending().await,
            }
        }
    });
    (Client::new(service, "default"), asked)
}

fn list(version: u32, more: &str, names: &[&str]) -> String {
    let items: Vec<String> = names
        .iter()
        .map(|name| POD.trim().replace("web-7xk2p", name))
        .collect();
    let items = items.join(",");
    format!(
        r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"{version}","continue":"{more}"}},"items":[{items}]}}"#
    )
}

fn event(kind: &str, name: &str, version: u32) -> String {
    let object = POD
        .trim()
        .replace("web-7xk2p", name)
        .replace("\"812\"", &format!("\"{version}\""));
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

#[tokio::test]
async fn a_watch_goes_on_where_it_was_and_begins_anew_where_the_server_forgot() {
    let bookmark = "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"30\"}}}\n";
    let gone = "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\"message\":\"too old resource version\",\"reason\":\"Expired\",\"code\":410}}\n";
    let (client, asked) = server(&[
        list(10, "next", &["a", "b"]),
        list(10, "", &["c"]),
        event("ADDED", "d", 20) + &event("DELETED", "a", 21) + bookmark,
        gone.to_owned(),
        list(40, "", &["e"]),
    ]);
    let (told, mut heard) = mpsc::channel(8);
    let watching = tokio::spawn(watch(Api::<ApiPod>::all(client), None, told, |word| word));
    let mut said = Vec::new();
    while said.len() < 6 {
        said.push(match heard.recv().await.expect("it watches") {
            Word::All(all) => all
                .iter()
                .map(|pod| pod.name.name.to_string())
                .collect::<Vec<_>>()
                .join(" "),
            Word::Connected => "connected".to_owned(),
            Word::Applied(pod) => format!("+{}", pod.name.name),
            Word::Gone(name) => format!("-{}", name.name),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(said, ["a b c", "connected", "+d", "-a", "connected", "e"]);
    watching.abort();
    let asked = asked.lock().unwrap().clone();
    assert!(asked[1].contains("continue=next"), "{asked:?}");
    assert!(
        asked[2].contains("resourceVersion=10") && asked[2].contains("allowWatchBookmarks=true"),
        "{asked:?}"
    );
    assert!(
        asked[3].contains("resourceVersion=30"),
        "after the bookmark: {asked:?}"
    );
    assert!(!asked[4].contains("watch=true"), "{asked:?}");
}
