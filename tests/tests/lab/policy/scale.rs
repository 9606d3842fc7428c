//! A thousand pods and two hundred policies.

use std::time::{Duration, Instant};

use meshd_core::policy::{
    Direction, Name, NamedPort, Peer, Pod, Policy, PolicyRule, Port, PortNumber, Protocol,
};
use meshd_tests::figure;

use super::bed::{Bed, Rules};
use super::matrix;

/// Pods of the cluster besides those of the matrix.
const MANY: u16 = 1000;
/// Policies, which all select pods of this node.
const POLICIES: u16 = 200;
/// The longest that an allowed packet waits; the rest of that time is the API server's.
const BAR: Duration = Duration::from_millis(700);

/// A pod of another node.
fn pod(number: u16, app: u16) -> Pod {
    let [high, low] = number.to_be_bytes();
    Pod {
        name: Name::new(
            matrix::NAMESPACES[usize::from(number % 3)],
            &format!("app-{number}"),
        ),
        uid: format!("0e2c5a9e-7d04-4b5e-9d3a-{number:012x}").into(),
        labels: matrix::labels(&[
            ("app", &format!("app-{}", app % 50)),
            ("pod-template-hash", "7c5ddbdf54"),
            ("tier", "backend"),
        ]),
        addresses: vec![
            [10, 43, high, low].into(),
            format!("fd43::{number:x}").parse().expect("an address"),
        ],
        ports: vec![NamedPort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 8080,
        }],
        host_network: false,
        node: format!("node-{}", number % 20).into(),
    }
}

fn policy(number: u16) -> Policy {
    let app = |number: u16| Some(matrix::select(&[("app", &format!("app-{}", number % 50))]));
    let peers = vec![
        Peer::Pods {
            namespaces: Some(matrix::select(&[])),
            pods: app(number),
        },
        Peer::Pods {
            namespaces: None,
            pods: app(number + 1),
        },
    ];
    let port = |port| Port {
        protocol: Protocol::Tcp,
        port: Some(port),
    };
    let rule = PolicyRule {
        peers,
        ports: vec![
            port(PortNumber::Range(80, 80)),
            port(PortNumber::Range(9000 + number, 9100 + number)),
            port(PortNumber::Named("http".into())),
        ],
    };
    Policy {
        name: Name::new(
            matrix::NAMESPACES[usize::from(number % 3)],
            &format!("policy-{number}"),
        ),
        pods: matrix::select(&[]),
        types: Direction::BOTH.to_vec(),
        ingress: vec![rule.clone()],
        egress: vec![rule],
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}

fn shown(took: Duration) -> String {
    format!("{} ms", took.as_millis())
}

#[test]
fn a_thousand_pods_and_two_hundred_policies_stay_cheap() {
    let bed = Bed::new();
    bed.run(async |files| {
        let rules = Rules::start(files);
        rules.settle().await;
        let before = resident();
        let start = Instant::now();
        rules.feed().change(|cluster| {
            let all = matrix::pods().chain((1..=MANY).map(|number| pod(number, number)));
            cluster.replace_pods(all.collect()).expect("there is room");
            cluster
                .replace_policies((0..POLICIES).map(policy).collect())
                .expect("there is room");
        });
        rules.settle().await;
        figure(
            "1,000 pods and 200 policies: all rules made",
            shown(start.elapsed()),
            "",
        );
        figure(
            "... memory for them",
            format!("{} kB", resident().saturating_sub(before)),
            "",
        );
        let mut longest = Duration::ZERO;
        for number in 1..=10 {
            let start = Instant::now();
            let relabelled = pod(number, number + 7);
            rules
                .feed()
                .change(|cluster| cluster.upsert_pod(relabelled))
                .expect("there is room");
            rules.settle().await;
            longest = longest.max(start.elapsed());
        }
        figure(
            "... a pod's label changes, the slowest of ten",
            shown(longest),
            shown(BAR),
        );
        let start = Instant::now();
        let changed = Policy {
            ingress: Vec::new(),
            ..policy(7)
        };
        rules
            .feed()
            .change(|cluster| cluster.upsert_policy(changed))
            .expect("there is room");
        rules.settle().await;
        let policy_changed = start.elapsed();
        figure("... a policy changes", shown(policy_changed), shown(BAR));
        let start = Instant::now();
        rules.settle().await;
        figure("... nothing changes", shown(start.elapsed()), "none");
        assert!(
            longest.max(policy_changed) < 4 * BAR,
            "{longest:?} {policy_changed:?}"
        );
        let status = rules.handle.status().await.expect("a cluster is watched");
        assert_eq!((status.policies, status.isolated), (200, 9));
        rules.handle.remove().await;
    });
}
