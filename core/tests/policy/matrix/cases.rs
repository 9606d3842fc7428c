//! The cases, one line of the table each.

use meshd_core::policy::{
    Direction, Labels, Name, Operator, Peer, Policy, PolicyRule, Port, PortNumber, Protocol, Requirement,
    Selector,
};

use super::{Case, Flow, policy, select};

fn express(key: &str, operator: Operator, values: &[&str]) -> Selector {
    Selector {
        labels: Labels::new(),
        expressions: vec![Requirement {
            key: key.into(),
            operator,
            values: values.iter().map(|value| (*value).into()).collect(),
        }],
    }
}

fn from(pods: Option<Selector>, namespaces: Option<Selector>) -> PolicyRule {
    PolicyRule {
        peers: vec![Peer::Pods { namespaces, pods }],
        ports: Vec::new(),
    }
}

fn block(cidr: &str, except: &[&str]) -> PolicyRule {
    PolicyRule {
        peers: vec![Peer::Block {
            cidr: cidr.parse().expect("a prefix"),
            except: except
                .iter()
                .map(|part| part.parse().expect("a prefix"))
                .collect(),
        }],
        ports: Vec::new(),
    }
}

fn at(protocol: Protocol, port: Option<PortNumber>) -> Port {
    Port { protocol, port }
}

fn on(rule: PolicyRule, ports: &[Port]) -> PolicyRule {
    PolicyRule {
        ports: ports.to_vec(),
        ..rule
    }
}

fn one(protocol: Protocol, port: u16) -> Port {
    at(protocol, Some(PortNumber::Range(port, port)))
}

fn ingress(pods: Selector, rules: Vec<PolicyRule>) -> Vec<Policy> {
    vec![Policy {
        types: vec![Direction::Ingress],
        ingress: rules,
        ..policy("in", pods)
    }]
}

fn egress(pods: Selector, rules: Vec<PolicyRule>) -> Vec<Policy> {
    vec![Policy {
        types: vec![Direction::Egress],
        egress: rules,
        ..policy("out", pods)
    }]
}

fn all() -> Selector {
    Selector::default()
}

fn case(name: &'static str, policies: Vec<Policy>, passes: fn(&Flow) -> bool) -> Case {
    Case {
        name,
        policies,
        passes,
    }
}

/// The table.
pub fn cases() -> Vec<Case> {
    [defaults(), selectors(), ports(), blocks(), several()]
        .into_iter()
        .flatten()
        .collect()
}

fn defaults() -> Vec<Case> {
    vec![
        case("no policy", Vec::new(), |_| true),
        case("default deny ingress", ingress(all(), Vec::new()), |f| {
            f.to.0 != "x"
        }),
        case("default deny egress", egress(all(), Vec::new()), |f| {
            f.from.0 != "x"
        }),
        case(
            "default deny all",
            vec![Policy {
                types: Direction::BOTH.to_vec(),
                ..policy("deny", all())
            }],
            |f| f.to.0 != "x" && f.from.0 != "x",
        ),
        case(
            "no types and no rules: ingress",
            vec![policy("deny", all())],
            |f| f.to.0 != "x",
        ),
        case(
            "no types and rules for egress: both",
            vec![Policy {
                egress: vec![PolicyRule::default()],
                ..policy("p", all())
            }],
            |f| f.to.0 != "x",
        ),
        case(
            "allow all ingress",
            ingress(all(), vec![PolicyRule::default()]),
            |_| true,
        ),
        case(
            "allow all egress",
            egress(all(), vec![PolicyRule::default()]),
            |_| true,
        ),
        case(
            "deny ingress of one pod",
            ingress(select(&[("pod", "a")]), Vec::new()),
            |f| f.to != ("x", "a"),
        ),
        case(
            "a policy that selects nobody",
            ingress(select(&[("pod", "q")]), Vec::new()),
            |_| true,
        ),
    ]
}

fn selectors() -> Vec<Case> {
    let x_a = || select(&[("pod", "a")]);
    vec![
        case(
            "pods of the own namespace",
            ingress(x_a(), vec![from(Some(select(&[("pod", "b")])), None)]),
            |f| f.to != ("x", "a") || f.from == ("x", "b"),
        ),
        case(
            "all pods of the own namespace",
            ingress(all(), vec![from(Some(all()), None)]),
            |f| f.to.0 != "x" || f.from.0 == "x",
        ),
        case(
            "a namespace by its label",
            ingress(x_a(), vec![from(None, Some(select(&[("ns", "y")])))]),
            |f| f.to != ("x", "a") || f.from.0 == "y",
        ),
        case(
            "all namespaces",
            ingress(x_a(), vec![from(None, Some(all()))]),
            |_| true,
        ),
        case(
            "both selectors: a pod in a namespace",
            ingress(
                x_a(),
                vec![from(Some(select(&[("pod", "c")])), Some(select(&[("ns", "y")])))],
            ),
            |f| f.to != ("x", "a") || f.from == ("y", "c"),
        ),
        case(
            "either of two peers",
            ingress(
                x_a(),
                vec![PolicyRule {
                    peers: [
                        from(Some(select(&[("pod", "c")])), None).peers,
                        from(None, Some(select(&[("ns", "z")]))).peers,
                    ]
                    .concat(),
                    ports: Vec::new(),
                }],
            ),
            |f| f.to != ("x", "a") || f.from == ("x", "c") || f.from.0 == "z",
        ),
        case(
            "expressions: In",
            ingress(
                x_a(),
                vec![from(None, Some(express("ns", Operator::In, &["y", "q"])))],
            ),
            |f| f.to != ("x", "a") || f.from.0 == "y",
        ),
        case(
            "expressions: NotIn",
            ingress(
                x_a(),
                vec![from(Some(express("pod", Operator::NotIn, &["b"])), Some(all()))],
            ),
            |f| f.to != ("x", "a") || f.from.1 != "b",
        ),
        case(
            "expressions: Exists",
            ingress(
                x_a(),
                vec![from(None, Some(express("ns", Operator::Exists, &[])))],
            ),
            |_| true,
        ),
        case(
            "expressions: DoesNotExist",
            ingress(
                x_a(),
                vec![from(None, Some(express("ns", Operator::DoesNotExist, &[])))],
            ),
            |f| f.to != ("x", "a"),
        ),
        case(
            "expressions choose the pods",
            ingress(express("pod", Operator::NotIn, &["a"]), Vec::new()),
            |f| f.to.0 != "x" || f.to.1 == "a",
        ),
        case(
            "egress to pods of a namespace",
            egress(
                x_a(),
                vec![from(Some(select(&[("pod", "a")])), Some(select(&[("ns", "y")])))],
            ),
            |f| f.from != ("x", "a") || f.to == ("y", "a"),
        ),
    ]
}

fn ports() -> Vec<Case> {
    let x_a = || select(&[("pod", "a")]);
    let anybody = PolicyRule::default;
    vec![
        case(
            "one port",
            ingress(x_a(), vec![on(anybody(), &[one(Protocol::Tcp, 80)])]),
            |f| f.to != ("x", "a") || f.is_tcp(80),
        ),
        case(
            "a port for a namespace",
            ingress(
                x_a(),
                vec![on(
                    from(None, Some(select(&[("ns", "y")]))),
                    &[one(Protocol::Tcp, 81)],
                )],
            ),
            |f| f.to != ("x", "a") || (f.from.0 == "y" && f.is_tcp(81)),
        ),
        case(
            "every port of a protocol",
            ingress(x_a(), vec![on(anybody(), &[at(Protocol::Udp, None)])]),
            |f| f.to != ("x", "a") || f.protocol == Protocol::Udp,
        ),
        case(
            "a range of ports",
            ingress(
                x_a(),
                vec![on(
                    anybody(),
                    &[at(Protocol::Tcp, Some(PortNumber::Range(81, 90)))],
                )],
            ),
            |f| f.to != ("x", "a") || f.is_tcp(81),
        ),
        case(
            "a named port",
            ingress(
                x_a(),
                vec![on(
                    anybody(),
                    &[at(Protocol::Tcp, Some(PortNumber::Named("serve-81-tcp".into())))],
                )],
            ),
            |f| f.to != ("x", "a") || f.is_tcp(81),
        ),
        case(
            "a named port of another protocol",
            ingress(
                x_a(),
                vec![on(
                    anybody(),
                    &[at(Protocol::Udp, Some(PortNumber::Named("serve-81-tcp".into())))],
                )],
            ),
            |f| f.to != ("x", "a"),
        ),
        case(
            "egress to a named port",
            egress(
                x_a(),
                vec![on(
                    from(None, Some(select(&[("ns", "y")]))),
                    &[at(Protocol::Tcp, Some(PortNumber::Named("serve-80-tcp".into())))],
                )],
            ),
            |f| f.from != ("x", "a") || (f.to.0 == "y" && f.is_tcp(80)),
        ),
        case(
            "egress to DNS alone",
            egress(
                all(),
                vec![on(anybody(), &[one(Protocol::Udp, 53), one(Protocol::Tcp, 53)])],
            ),
            |f| f.from.0 != "x" || f.port == 53,
        ),
        case(
            "SCTP allows nothing else",
            ingress(
                x_a(),
                vec![on(
                    anybody(),
                    &[one(Protocol::Sctp, 80), at(Protocol::Sctp, None)],
                )],
            ),
            |f| f.to != ("x", "a"),
        ),
    ]
}

fn blocks() -> Vec<Case> {
    let x_a = || select(&[("pod", "a")]);
    // y's pods have .33, .34 and .35
    vec![
        case(
            "a block",
            ingress(
                x_a(),
                vec![block("10.42.0.32/28", &[]), block("fd42::20/124", &[])],
            ),
            |f| f.to != ("x", "a") || f.from.0 == "y",
        ),
        case(
            "a block with exceptions",
            ingress(
                x_a(),
                vec![
                    block(
                        "10.42.0.0/24",
                        &["10.42.0.32/28", "10.42.0.34/32", "10.42.0.51/32"],
                    ),
                    block("fd42::/64", &["fd42::20/124", "fd42::33/128"]),
                ],
            ),
            |f| f.to != ("x", "a") || !(f.from.0 == "y" || f.from == ("z", "c")),
        ),
        case(
            "everything",
            ingress(x_a(), vec![block("0.0.0.0/0", &[]), block("::/0", &[])]),
            |_| true,
        ),
        case(
            "egress to a block with exceptions",
            egress(
                x_a(),
                vec![
                    block("10.42.0.32/28", &["10.42.0.35/32"]),
                    block("fd42::20/124", &["fd42::23/128"]),
                ],
            ),
            |f| f.from != ("x", "a") || (f.to.0 == "y" && f.to.1 != "c"),
        ),
        case(
            "egress to everything but a block",
            egress(
                x_a(),
                vec![
                    block("0.0.0.0/0", &["10.42.0.48/28"]),
                    block("::/0", &["fd42::30/124"]),
                ],
            ),
            |f| f.from != ("x", "a") || f.to.0 != "z",
        ),
    ]
}

fn several() -> Vec<Case> {
    let x_a = || select(&[("pod", "a")]);
    let named = |name: &str, mut policies: Vec<Policy>| {
        policies[0].name = Name::new("x", name);
        policies.remove(0)
    };
    vec![
        case(
            "policies add up",
            vec![
                named("deny", ingress(all(), Vec::new())),
                named(
                    "web",
                    ingress(x_a(), vec![on(PolicyRule::default(), &[one(Protocol::Tcp, 80)])]),
                ),
                named(
                    "y",
                    ingress(x_a(), vec![from(None, Some(select(&[("ns", "y")])))]),
                ),
            ],
            |f| f.to.0 != "x" || (f.to.1 == "a" && (f.is_tcp(80) || f.from.0 == "y")),
        ),
        case(
            "both directions must allow",
            vec![
                named(
                    "in",
                    ingress(all(), vec![from(None, Some(select(&[("ns", "x")])))]),
                ),
                named(
                    "out",
                    egress(all(), vec![from(Some(select(&[("pod", "a")])), Some(all()))]),
                ),
            ],
            |f| {
                let came_in = f.to.0 != "x" || f.from.0 == "x";
                let went_out = f.from.0 != "x" || f.to.1 == "a";
                came_in && went_out
            },
        ),
        case(
            "policies of another namespace are its own",
            vec![Policy {
                name: Name::new("y", "deny"),
                ..named("deny", ingress(all(), Vec::new()))
            }],
            |f| f.to.0 != "y",
        ),
    ]
}
