//! The API's words, read plainly: no sets, no numbers, nothing kept.

use std::net::IpAddr;

use meshd_core::policy::{
    Cluster, Direction, Labels, Operator, Peer, Pod, Policy, PortNumber, Protocol, Selector,
};

/// A packet between two addresses. Each side is a pod of this cluster or none.
pub struct Asked<'a> {
    /// Source.
    pub source: (IpAddr, Option<&'a Pod>),
    /// Destination.
    pub destination: (IpAddr, Option<&'a Pod>),
    /// Protocol; none for one without ports.
    pub protocol: Option<Protocol>,
    /// Destination port.
    pub port: u16,
}

/// Whether it passes where the sides are judged that are on this node.
pub fn passes(cluster: &Cluster, asked: &Asked<'_>, here: (bool, bool)) -> bool {
    let same = |a: Option<&Pod>, b: Option<&Pod>| matches!((a, b), (Some(a), Some(b)) if a.name == b.name);
    same(asked.source.1, asked.destination.1)
        || ((!here.0 || one(cluster, asked, Direction::Egress))
            && (!here.1 || one(cluster, asked, Direction::Ingress)))
}

fn one(cluster: &Cluster, asked: &Asked<'_>, direction: Direction) -> bool {
    let (own, peer) = match direction {
        Direction::Ingress => (asked.destination, asked.source),
        Direction::Egress => (asked.source, asked.destination),
    };
    let Some(pod) = own.1 else { return true };
    let applies = |policy: &&Policy| {
        policy.name.namespace == pod.name.namespace
            && selects(&policy.pods, &pod.labels)
            && match (policy.types.is_empty(), direction) {
                (true, Direction::Ingress) => true,
                (true, Direction::Egress) => !policy.egress.is_empty(),
                (false, _) => policy.types.contains(&direction),
            }
    };
    let policies: Vec<&Policy> = cluster.policies().filter(applies).collect();
    let rules = policies.iter().flat_map(|policy| {
        let rules = match direction {
            Direction::Ingress => &policy.ingress,
            Direction::Egress => &policy.egress,
        };
        rules.iter().map(move |rule| (policy, rule))
    });
    let mut allowed = rules.map(|(policy, rule)| {
        let is_peer = |wanted: &Peer| is_peer(cluster, &policy.name.namespace, wanted, peer);
        let is_port = |wanted: &meshd_core::policy::Port| {
            asked.protocol == Some(wanted.protocol)
                && match &wanted.port {
                    None => true,
                    Some(PortNumber::Range(first, last)) => *first <= asked.port && asked.port <= *last,
                    Some(PortNumber::Named(name)) => asked.destination.1.is_some_and(|pod| {
                        let mut ports = pod.ports.iter();
                        ports
                            .any(|p| p.name == *name && p.protocol == wanted.protocol && p.port == asked.port)
                    }),
                }
        };
        (rule.peers.is_empty() || rule.peers.iter().any(is_peer))
            && (rule.ports.is_empty() || rule.ports.iter().any(is_port))
    });
    policies.is_empty() || allowed.any(|allowed| allowed)
}

fn is_peer(cluster: &Cluster, namespace: &str, wanted: &Peer, (ip, pod): (IpAddr, Option<&Pod>)) -> bool {
    match wanted {
        Peer::Block { cidr, except } => cidr.contains(&ip) && !except.iter().any(|part| part.contains(&ip)),
        Peer::Pods {
            namespaces: None,
            pods: None,
        } => false,
        Peer::Pods { namespaces, pods } => pod.is_some_and(|pod| {
            let there = match namespaces {
                None => &*pod.name.namespace == namespace,
                Some(selector) => match cluster.namespace(&pod.name.namespace) {
                    Some(labels) => selects(selector, labels),
                    None => selector.labels.is_empty() && selector.expressions.is_empty(),
                },
            };
            there
                && pods
                    .as_ref()
                    .is_none_or(|selector| selects(selector, &pod.labels))
        }),
    }
}

fn selects(selector: &Selector, labels: &Labels) -> bool {
    for (key, value) in &selector.labels {
        if labels.get(key) != Some(value) {
            return false;
        }
    }
    for wanted in &selector.expressions {
        let listed = labels.get(&wanted.key).map(|value| wanted.values.contains(value));
        let holds = match wanted.operator {
            Operator::In => listed == Some(true),
            Operator::NotIn => listed != Some(true),
            Operator::Exists => listed.is_some(),
            Operator::DoesNotExist => listed.is_none(),
        };
        if !holds {
            return false;
        }
    }
    true
}
