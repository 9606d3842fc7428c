//! What a large cluster costs a node: live memory of all that is known of a thousand pods and two hundred policies, and of the rules
//! that follow; and the rules of others, which are read and not kept.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use allocation_counter::measure;
use meshd_core::firewall;
use meshd_core::policy::{
    Cluster, Compiler, Direction, Labels, Local, Name, NamedPort, Namespace, Peer, Pod, PodIdentity, Policy,
    PolicyRule, Port, PortNumber, Protocol, Ruleset, Selector,
};
use serde_json::{Value, json};
const PODS: u16 = 1000;
const POLICIES: u16 = 200;

fn labels(all: &[(&str, &str)]) -> Labels {
    all.iter()
        .map(|(key, value)| ((*key).into(), (*value).into()))
        .collect()
}

fn pod(number: u16) -> Pod {
    let [high, low] = number.to_be_bytes();
    let app = format!("app-{}", number % 50);
    Pod {
        name: Name::new("default", &format!("crowd-{number}-7c5ddbdf54-x2x2x")),
        uid: format!("8a4e6c3c-1f1c-4c0e-9d49-{number:012}").into(),
        labels: labels(&[
            ("app", &app),
            ("tier", "backend"),
            ("pod-template-hash", "7c5ddbdf54"),
        ]),
        addresses: vec![
            IpAddr::from(Ipv4Addr::new(10, 244, high, low)),
            IpAddr::from(Ipv6Addr::new(0xfd00, 0x10, 0x244, 0x64, 0, 0, 0, number)),
        ],
        ports: vec![NamedPort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 8080,
        }],
        host_network: false,
        node: format!("far-{}", number % 30).into(),
    }
}

/// It selects every pod of the namespace, and names pods, a port, a range and a name.
fn policy(number: u16) -> Policy {
    let app = |number: u16| Selector {
        labels: labels(&[("app", &format!("app-{}", number % 50))]),
        expressions: Vec::new(),
    };
    let port = |port| Port {
        protocol: Protocol::Tcp,
        port: Some(port),
    };
    Policy {
        name: Name::new("default", &format!("crowd-{number}")),
        pods: Selector::default(),
        types: vec![Direction::Ingress],
        ingress: vec![PolicyRule {
            peers: vec![
                Peer::Pods {
                    namespaces: None,
                    pods: Some(app(number)),
                },
                Peer::Pods {
                    namespaces: Some(Selector::default()),
                    pods: Some(app(number + 1)),
                },
            ],
            ports: vec![
                port(PortNumber::Range(80, 80)),
                port(PortNumber::Range(9000 + number, 9100 + number)),
                port(PortNumber::Named("http".into())),
            ],
        }],
        egress: Vec::new(),
    }
}

#[test]
fn a_thousand_pods_and_two_hundred_policies_cost_a_node_little() {
    let (mut cluster, mut compiler) = (Cluster::default(), Compiler::default());
    let namespace = Namespace {
        name: "default".into(),
        labels: labels(&[("kubernetes.io/metadata.name", "default")]),
    };
    cluster.replace_namespaces(vec![namespace]).unwrap();
    cluster.replace_policies(Vec::new()).unwrap();
    let Pod {
        addresses, name, uid, ..
    } = pod(7);
    compiler.set_locals([Local {
        host: "mpod0123456789".to_owned(),
        addresses,
        pod: Some(PodIdentity { name, uid }),
    }]);
    let pods = measure(|| {
        cluster.replace_pods((0..PODS).map(pod).collect()).unwrap();
        drop(compiler.compile(&mut cluster));
    });
    let each = pods.bytes_current / i64::from(PODS);
    assert!(each <= 2048, "{each} bytes for each pod");
    let policies = measure(|| {
        let all = (0..POLICIES).map(policy).collect();
        cluster.replace_policies(all).unwrap();
    });
    let each = policies.bytes_current / i64::from(POLICIES);
    assert!(each <= 2048, "{each} bytes for each policy");
    let mut rules = Ruleset::default();
    let held = measure(|| rules = compiler.compile(&mut cluster)).bytes_current;
    assert!(held <= 512 << 10, "{held} bytes of rules");
    assert_eq!(rules.policies.len(), usize::from(POLICIES));
    for (what, most, bytes) in [
        (
            "as text for the kernel",
            640 << 10,
            measure(|| drop(rules.script("t", None))),
        ),
        (
            "policies for the disk",
            640 << 10,
            measure(|| drop(cluster.save_policies())),
        ),
        (
            "pods for the disk",
            2048 << 10,
            measure(|| drop(cluster.save_pods())),
        ),
    ] {
        assert!(bytes.bytes_max <= most, "{} bytes {what}", bytes.bytes_max);
        assert!(
            bytes.bytes_current <= 0,
            "{} bytes stay: {what}",
            bytes.bytes_current
        );
    }
}

/// A node of a cluster has a chain for each service and each policy, and some firewalls have thousands of rules in one chain.
#[test]
fn a_rule_set_of_any_size_is_read_in_little_memory() {
    let chains = (0..5_000).map(|number| {
        json!({"chain": {"family": "ip", "table": "kube-proxy", "name": format!("service-{number}"), "handle": number}})
    });
    let rules = (0..5_000).map(|number| {
        let expr = json!([
            {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": format!("10.0.{}.1", number % 256)}},
            {"counter": {"packets": 0, "bytes": 0}}, {"drop": null}]);
        json!({"rule": {"family": "ip", "table": "filter", "chain": "INPUT", "handle": number, "expr": expr}})
    });
    let printed = |objects: Vec<Value>| serde_json::to_vec(&json!({ "nftables": objects })).unwrap();
    let (chains, rules) = (printed(chains.collect()), printed(rules.collect()));
    let most = measure(|| {
        let mut ruleset = firewall::Ruleset::parse(&chains).unwrap();
        ruleset.read(&rules).unwrap();
    })
    .bytes_max;
    assert!(most <= 16 << 10, "{most} bytes");
}
