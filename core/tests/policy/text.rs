//! The text for nft, read back by a model of what nft does with it.

use std::collections::{BTreeMap, BTreeSet};

use meshd_core::policy::{
    Cluster, Compiler, Direction, Local, Name, Peer, Pod, PodIdentity, Policy, PolicyRule, Port, PortNumber,
    Protocol, Ruleset, Selector,
};
use proptest::collection::vec;
use proptest::prelude::*;

const TABLE: &str = "meshd-0-pods0";

/// A table as nft keeps it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Model {
    counters: BTreeSet<String>,
    /// Sets and maps: kind, elements.
    sets: BTreeMap<String, (String, BTreeSet<String>)>,
    chains: BTreeMap<String, Vec<String>>,
}

impl Model {
    /// Does what the text says; whatever nft would refuse is a failure.
    fn run(&mut self, script: &str) {
        for line in script.lines() {
            let (verb, rest) = line.split_once(" inet ").unwrap_or_else(|| panic!("{line}"));
            let rest = rest
                .strip_prefix(TABLE)
                .unwrap_or_else(|| panic!("{line}"))
                .trim_start();
            let (name, body) = rest.split_once(' ').unwrap_or((rest, ""));
            match verb {
                "add table" => {}
                "delete table" => *self = Self::default(),
                "add counter" => drop(self.counters.insert(name.into())),
                "add set" | "add map" => {
                    let new = (body.to_owned(), BTreeSet::new());
                    assert!(self.sets.insert(name.into(), new).is_none(), "{line}");
                }
                "delete set" => {
                    self.sets.remove(name).unwrap_or_else(|| panic!("{line}"));
                    let word = format!("@{name} ");
                    assert!(
                        !self.chains.values().flatten().any(|rule| rule.contains(&word)),
                        "in use: {line}"
                    );
                }
                "add chain" => {
                    let rules = if body.is_empty() {
                        vec![]
                    } else {
                        vec![body.to_owned()]
                    };
                    assert!(self.chains.insert(name.into(), rules).is_none(), "{line}");
                }
                "flush chain" => self.chain(name, line).clear(),
                "delete chain" => {
                    assert!(self.chain(name, line).is_empty(), "{line}");
                    self.chains.remove(name);
                    let jump = format!("jump {name}");
                    let rules = self.chains.values().flatten();
                    let mut all = rules.chain(self.sets.values().flat_map(|(_, elements)| elements));
                    let is_jump = |text: &String| {
                        text.split_once(&jump)
                            .is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with(' '))
                    };
                    assert!(!all.any(is_jump), "in use: {line}");
                }
                "add rule" => {
                    self.refers_to_what_is_there(body, line);
                    self.chain(name, line).push(body.to_owned());
                }
                "add element" | "delete element" => self.elements(verb, name, body, line),
                _ => panic!("{line}"),
            }
        }
    }

    fn chain(&mut self, name: &str, line: &str) -> &mut Vec<String> {
        self.chains
            .get_mut(name)
            .unwrap_or_else(|| panic!("no such chain: {line}"))
    }

    fn refers_to_what_is_there(&self, body: &str, line: &str) {
        for (marker, known) in [
            ("@", self.sets.keys().collect::<Vec<_>>()),
            ("jump ", self.chains.keys().collect()),
        ] {
            for (place, _) in body.match_indices(marker) {
                let word = body[place + marker.len()..].split([' ', '}']).next();
                assert!(known.iter().any(|known| Some(known.as_str()) == word), "{line}");
            }
        }
    }

    fn elements(&mut self, verb: &str, name: &str, body: &str, line: &str) {
        self.refers_to_what_is_there(body, line);
        let inner = body.strip_prefix("{ ").and_then(|body| body.strip_suffix(" }"));
        let inner = inner.unwrap_or_else(|| panic!("{line}"));
        let (_, held) = self
            .sets
            .get_mut(name)
            .unwrap_or_else(|| panic!("no such set: {line}"));
        for element in inner.split(", ") {
            let key = |element: &str| element.split(" : ").next().map(str::to_owned);
            let there = held.iter().find(|held| key(held) == key(element)).cloned();
            match (verb, there) {
                ("add element", None) => drop(held.insert(element.to_owned())),
                ("delete element", Some(there)) => drop(held.remove(&there)),
                _ => panic!("{element}: {line}"),
            }
        }
    }

    fn of(script: &str) -> Self {
        let mut model = Self::default();
        model.run(script);
        model
    }
}

/// From one rule set to the other is the same as the other from nothing.
pub fn check_change(before: &Ruleset, now: &Ruleset) {
    let mut model = Model::of(&before.script(TABLE, None));
    model.run(&now.script(TABLE, Some(before)));
    assert_eq!(model, Model::of(&now.script(TABLE, None)));
    assert_eq!(now.script(TABLE, Some(now)), "", "nothing is to be done");
}

#[test]
fn a_rule_set_reads_as_it_should() {
    let (mut cluster, mut compiler) = (super::matrix::cluster(), Compiler::default());
    compiler.set_locals(super::matrix::locals());
    let case = super::matrix::cases()
        .into_iter()
        .find(|case| case.name == "policies add up");
    cluster
        .replace_policies(case.expect("it is there").policies)
        .unwrap();
    let script = compiler.compile(&mut cluster).script(TABLE, None);
    for line in [
        "add chain inet meshd-0-pods0 ingress { type filter hook forward priority -5; policy accept; }",
        "add rule inet meshd-0-pods0 ingress oifname vmap @coming",
        "add rule inet meshd-0-pods0 p2-in tcp dport { 80 } accept",
        "add rule inet meshd-0-pods0 in-mpod0000000001 jump p2-in comment \"x/web\"",
        "add rule inet meshd-0-pods0 in-mpod0000000001 counter name \"denied-ingress\" drop",
        "add element inet meshd-0-pods0 coming { \"mpod0000000001\" : jump in-mpod0000000001 }",
    ] {
        assert!(
            script.lines().any(|there| there == line),
            "{line} is not in\n{script}"
        );
    }
    assert!(!script.contains("out-mpod"), "nobody is isolated for egress");
}

/// Any text, with what is special to nft more often than by chance.
fn anything() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z\"';#{}\\\\\n ]{0,20}",
        Just("\" }; flush ruleset; #".to_owned())
    ]
}

proptest! {
    #[test]
    fn no_name_and_no_label_reaches_nft(words in vec(anything(), 8)) {
        let word = |number: usize| -> Box<str> { words[number].as_str().into() };
        let name = Name { namespace: word(0), name: word(1) };
        let labels = [(word(2), word(3))].into_iter().collect();
        let (mut cluster, mut compiler) = (Cluster::default(), Compiler::default());
        cluster.replace_namespaces(Vec::new()).unwrap();
        cluster.replace_pods(vec![Pod {
            name: name.clone(),
            uid: word(4),
            labels,
            addresses: vec!["10.42.0.2".parse().unwrap()],
            ports: Vec::new(),
            host_network: false,
            node: word(5),
        }]).unwrap();
        let port = |port| Port { protocol: Protocol::Tcp, port };
        cluster.replace_policies(vec![Policy {
            name: Name { namespace: word(0), name: word(6) },
            pods: Selector::default(),
            types: Direction::BOTH.to_vec(),
            ingress: vec![PolicyRule {
                peers: vec![Peer::Pods {
                    namespaces: None,
                    pods: Some(Selector { labels: [(word(2), word(3))].into_iter().collect(), expressions: Vec::new() }),
                }],
                ports: vec![
                    port(Some(PortNumber::Named(word(7)))),
                    port_range(port, (80, 90)),
                ],
            }],
            egress: vec![PolicyRule { peers: Vec::new(), ports: vec![port_range(port, (0, 0))] }],
        }]).unwrap();
        compiler.set_locals([
            Local {
                host: "mpod0123456789".into(),
                addresses: vec!["10.42.0.2".parse().unwrap()],
                pod: Some(PodIdentity { name, uid: word(4) }),
            },
            Local { host: words[7].clone(), addresses: Vec::new(), pod: None },
        ]);
        let script = compiler.compile(&mut cluster).script(TABLE, None);
        let plain = |c: char| c.is_ascii_alphanumeric() || " \n-_.:;,{}@\"=!/".contains(c);
        prop_assert!(script.chars().all(plain), "{script}");
        prop_assert!(!script.contains("flush ruleset"), "{script}");
        Model::of(&script);
    }
}

fn port_range(port: impl Fn(Option<PortNumber>) -> Port, (first, last): (u16, u16)) -> Port {
    port(Some(PortNumber::Range(first, last)))
}
