//! Random clusters that change at random: what is compiled step by step is what the API means at each step.

use std::net::IpAddr;

use meshd_core::policy::{
    Cluster, Compiler, Direction, Labels, Local, Name, NamedPort, Namespace, Operator, Peer, Pod,
    PodIdentity, Policy, PolicyRule, Port, PortNumber, Protocol, Requirement, Ruleset, Selector,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{evaluate, oracle, text};

const NAMESPACES: [&str; 3] = ["n0", "n1", "n2"];
const PORTS: [u16; 4] = [79, 80, 81, 443];

/// A change.
#[derive(Clone, Debug)]
pub enum Step {
    Namespace(Namespace),
    NamespaceGone(Box<str>),
    Pod(Pod),
    PodGone(Name),
    Pods(Vec<Pod>),
    Policy(Policy),
    PolicyGone(Name),
    Policies(Vec<Policy>),
    /// The pods that are on this node.
    Locals(Vec<Name>),
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = Box<str>> {
    select(words).prop_map(Into::into)
}

fn labels() -> impl Strategy<Value = Labels> {
    btree_map(word(&["a", "b"]), word(&["1", "2"]), 0..3)
}

fn selector() -> impl Strategy<Value = Selector> {
    let operators = select(vec![
        Operator::In,
        Operator::NotIn,
        Operator::Exists,
        Operator::DoesNotExist,
    ]);
    let requirement =
        (word(&["a", "b"]), operators, vec(word(&["1", "2"]), 0..2)).prop_map(|(key, operator, values)| {
            Requirement {
                key,
                operator,
                values,
            }
        });
    (
        btree_map(word(&["a", "b"]), word(&["1", "2"]), 0..2),
        vec(requirement, 0..2),
    )
        .prop_map(|(labels, expressions)| Selector { labels, expressions })
}

fn name(names: &'static [&'static str]) -> impl Strategy<Value = Name> {
    (select(&NAMESPACES[..]), select(names)).prop_map(|(namespace, name)| Name::new(namespace, name))
}

const POD_NAMES: [&str; 3] = ["p0", "p1", "p2"];

/// A pod's addresses follow from its name, so that no two have the same.
fn addresses(name: &Name) -> [IpAddr; 2] {
    let digit = |text: &str| text.as_bytes()[1] - b'0';
    let host = 16 * digit(&name.namespace) + digit(&name.name) + 1;
    [
        IpAddr::from([10, 42, 0, host]),
        format!("fd42::{host:x}").parse().expect("an address"),
    ]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    select(Protocol::ALL.to_vec())
}

fn pod() -> impl Strategy<Value = Pod> {
    let ports = (word(&["web", "dns"]), protocol(), select(&PORTS[..]));
    let ports = ports.prop_map(|(name, protocol, port)| NamedPort { name, protocol, port });
    (
        name(&POD_NAMES),
        labels(),
        vec(ports, 0..3),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(name, labels, ports, host_network)| Pod {
            addresses: if host_network {
                vec!["10.77.0.1".parse().expect("an address")]
            } else {
                addresses(&name).to_vec()
            },
            uid: format!("uid of {name}").into(),
            name,
            labels,
            ports,
            host_network,
            node: "n".into(),
        })
}

fn peer() -> impl Strategy<Value = Peer> {
    let blocks: &[(&str, &[&str])] = &[
        ("10.42.0.0/24", &["10.42.0.16/28", "10.42.0.17/32"]),
        ("0.0.0.0/0", &[]),
        ("::/0", &["fd42::10/124"]),
        ("10.42.0.32/28", &["10.42.0.0/16"]),
        ("192.0.2.0/24", &["192.0.2.9/32"]),
    ];
    let block = select(blocks).prop_map(|(cidr, except)| Peer::Block {
        cidr: cidr.parse().expect("a prefix"),
        except: except
            .iter()
            .map(|part| part.parse().expect("a prefix"))
            .collect(),
    });
    let pods = (option::of(selector()), option::of(selector()))
        .prop_map(|(namespaces, pods)| Peer::Pods { namespaces, pods });
    prop_oneof![3 => pods, 1 => block]
}

fn port() -> impl Strategy<Value = Port> {
    let range = (select(&PORTS[..]), select(&PORTS[..])).prop_map(|(a, b)| PortNumber::Range(a, b));
    let named = word(&["web", "dns"]).prop_map(PortNumber::Named);
    (protocol(), option::of(prop_oneof![range, named])).prop_map(|(protocol, port)| Port { protocol, port })
}

fn rules() -> impl Strategy<Value = Vec<PolicyRule>> {
    let rule = (vec(peer(), 0..3), vec(port(), 0..3));
    vec(rule.prop_map(|(peers, ports)| PolicyRule { peers, ports }), 0..3)
}

fn policy() -> impl Strategy<Value = Policy> {
    let types = select(vec![
        Vec::new(),
        vec![Direction::Ingress],
        vec![Direction::Egress],
        Direction::BOTH.to_vec(),
    ]);
    (name(&["r0", "r1", "r2"]), selector(), types, rules(), rules()).prop_map(
        |(name, pods, types, ingress, egress)| Policy {
            name,
            pods,
            types,
            ingress,
            egress,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let namespace = || {
        (select(&NAMESPACES[..]), labels()).prop_map(|(name, labels)| Namespace {
            name: name.into(),
            labels,
        })
    };
    prop_oneof![
        2 => namespace().prop_map(Step::Namespace),
        1 => word(&NAMESPACES).prop_map(Step::NamespaceGone),
        6 => pod().prop_map(Step::Pod),
        2 => name(&POD_NAMES).prop_map(Step::PodGone),
        1 => vec(pod(), 0..9).prop_map(Step::Pods),
        6 => policy().prop_map(Step::Policy),
        2 => name(&["r0", "r1", "r2"]).prop_map(Step::PolicyGone),
        1 => vec(policy(), 0..6).prop_map(Step::Policies),
        2 => vec(name(&POD_NAMES), 0..9).prop_map(Step::Locals),
    ]
}

fn take(cluster: &mut Cluster, compiler: &mut Compiler, locals: &mut Vec<Name>, step: Step) {
    match step {
        Step::Namespace(one) => cluster.upsert_namespace(one).expect("there is room"),
        Step::NamespaceGone(name) => cluster.remove_namespace(&name),
        Step::Pod(one) => cluster.upsert_pod(one).expect("there is room"),
        Step::PodGone(name) => cluster.remove_pod(&name),
        Step::Pods(all) => cluster.replace_pods(all).expect("there is room"),
        Step::Policy(one) => cluster.upsert_policy(one).expect("there is room"),
        Step::PolicyGone(name) => cluster.remove_policy(&name),
        Step::Policies(all) => cluster.replace_policies(all).expect("there is room"),
        Step::Locals(names) => {
            *locals = names;
            compiler.set_locals(locals.iter().map(|name| Local {
                host: host(name),
                addresses: addresses(name).to_vec(),
                pod: Some(PodIdentity {
                    name: name.clone(),
                    uid: format!("uid of {name}").into(),
                }),
            }));
        }
    }
}

fn host(name: &Name) -> String {
    format!("mpod{}{}", name.namespace, name.name)
}

/// Every pair of addresses, some of them nobody's, with every protocol and port, as far as pods of this node that are known
/// have a part in it.
fn check(cluster: &Cluster, ruleset: &Ruleset, locals: &[Name]) {
    let known = |name: &Name| cluster.pod(name).filter(|pod| !pod.host_network);
    let strangers: [IpAddr; 3] =
        ["192.0.2.9", "192.0.2.10", "fd42::dead"].map(|ip| ip.parse().expect("an address"));
    let all = NAMESPACES
        .iter()
        .flat_map(|ns| POD_NAMES.iter().map(move |pod| Name::new(ns, pod)));
    let mut sides: Vec<(IpAddr, Option<&Pod>, Option<String>)> = Vec::new();
    for name in all {
        let local = locals.contains(&name);
        let pod = known(&name);
        if local && pod.is_none() {
            continue; // other tests are about those
        }
        for ip in addresses(&name) {
            sides.push((ip, pod, local.then(|| host(&name))));
        }
    }
    sides.extend(strangers.into_iter().map(|ip| (ip, None, None)));
    for from in &sides {
        for to in sides.iter().filter(|to| to.0.is_ipv4() == from.0.is_ipv4()) {
            for (protocol, port) in Protocol::ALL
                .into_iter()
                .flat_map(|protocol| PORTS.map(|port| (Some(protocol), port)))
                .chain([(None, 0)])
            {
                // pods of other nodes are judged there
                let judged = |side: &(IpAddr, Option<&'_ Pod>, Option<String>)| side.2.is_some();
                let asked = oracle::Asked {
                    source: (from.0, from.1),
                    destination: (to.0, to.1),
                    protocol,
                    port,
                };
                let packet = evaluate::Packet {
                    source: (from.0, from.2.as_deref()),
                    destination: (to.0, to.2.as_deref()),
                    protocol,
                    port,
                };
                let expected = oracle::passes(cluster, &asked, (judged(from), judged(to)));
                assert_eq!(
                    evaluate::passes(ruleset, &packet),
                    expected,
                    "{packet:?}\n{ruleset:#?}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_is_compiled_step_by_step_is_what_the_api_means(steps in vec(step(), 1..40)) {
        let (mut cluster, mut compiler) = (Cluster::default(), Compiler::default());
        let mut locals = Vec::new();
        cluster.replace_namespaces(Vec::new()).unwrap();
        cluster.replace_pods(Vec::new()).unwrap();
        cluster.replace_policies(Vec::new()).unwrap();
        let every: Vec<Name> = NAMESPACES.iter().flat_map(|ns| ["p0", "p1"].map(|pod| Name::new(ns, pod))).collect();
        take(&mut cluster, &mut compiler, &mut locals, Step::Locals(every));
        let mut before = compiler.compile(&mut cluster);
        for (number, step) in steps.into_iter().enumerate() {
            take(&mut cluster, &mut compiler, &mut locals, step);
            if number % 3 == 1 {
                continue; // two changes at once
            }
            let now = compiler.compile(&mut cluster);
            check(&cluster, &now, &locals);
            text::check_change(&before, &now);
            before = now;
        }
    }
}
