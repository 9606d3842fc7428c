//! One policy into rules: each pair of a peer and a kind of ports is one.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::groups::{GroupKey, Groups, PortNames};
use super::model::{Direction, Peer, Policy, PolicyRule, Port, PortNumber, Protocol};
use super::ruleset::{Match, Ports, Rule};

/// Most rules of one policy in one direction; what is beyond allows nothing.
pub const MAX_RULES: usize = 4096;

/// Gives numbers to what rules refer to.
pub(super) struct Numbers<'a> {
    pub groups: &'a mut Groups,
    pub ports: &'a mut PortNames,
}

/// What a policy allows in a direction, and whether some of it was too much.
pub(super) fn compile(policy: &Policy, direction: Direction, numbers: &mut Numbers<'_>) -> (Vec<Rule>, bool) {
    let mut rules = Vec::new();
    for rule in policy.rules(direction) {
        let peers = peers(rule, &policy.name.namespace, numbers);
        let ports = ports(&rule.ports, numbers);
        for peer in peers {
            for ports in &ports {
                if rules.len() == MAX_RULES {
                    return (rules, true);
                }
                rules.push(Rule {
                    peer: peer.clone(),
                    ports: ports.clone(),
                });
            }
        }
    }
    (rules, false)
}

/// All pods that a rule selects are one group.
fn peers(rule: &PolicyRule, namespace: &str, numbers: &mut Numbers<'_>) -> Vec<Match> {
    if rule.peers.is_empty() {
        return vec![Match::Anybody];
    }
    let mut selected = BTreeSet::new();
    let mut all = Vec::new();
    for peer in &rule.peers {
        match peer {
            Peer::Pods {
                namespaces: None,
                pods: None,
            } => {}
            Peer::Pods { namespaces, pods } => drop(selected.insert((namespaces.clone(), pods.clone()))),
            Peer::Block { cidr, except } => {
                let (cidr, except) = (cidr.trunc(), parts(*cidr, except));
                if !except.contains(&cidr) {
                    all.push(Match::Block { cidr, except });
                }
            }
        }
    }
    if !selected.is_empty() {
        let own = selected.iter().any(|(namespaces, _)| namespaces.is_none());
        let key = GroupKey {
            namespace: own.then(|| namespace.into()),
            peers: selected.into_iter().collect(),
        };
        all.insert(0, Match::Group(numbers.groups.number(key)));
    }
    all
}

/// The parts of a prefix that are excepted, in order, none within another.
fn parts(cidr: IpNet, except: &[IpNet]) -> Vec<IpNet> {
    let same = |part: &&IpNet| part.addr().is_ipv4() == cidr.addr().is_ipv4();
    let cut = |part: &IpNet| {
        if part.contains(&cidr) {
            cidr.trunc()
        } else {
            part.trunc()
        }
    };
    let touching = except.iter().filter(same);
    let touching = touching.filter(|part| cidr.contains(*part) || part.contains(&cidr));
    IpNet::aggregate(&touching.map(cut).collect())
}

/// What a rule says of ports, by protocol, without doubles.
fn ports(ports: &[Port], numbers: &mut Numbers<'_>) -> Vec<Ports> {
    if ports.is_empty() {
        return vec![Ports::Every];
    }
    let mut ranges: BTreeMap<Protocol, Vec<(u16, u16)>> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for port in ports {
        let of_protocol = ranges.entry(port.protocol).or_default();
        match &port.port {
            None => of_protocol.push((0, u16::MAX)),
            Some(PortNumber::Range(first, last)) if first <= last => of_protocol.push((*first, *last)),
            Some(PortNumber::Range(..)) => {}
            Some(PortNumber::Named(name)) => drop(names.insert((port.protocol, name.clone()))),
        }
    }
    let mut all: Vec<Ports> = Vec::new();
    for (protocol, ranges) in ranges {
        match &merged(ranges)[..] {
            [] => {}
            [(0, u16::MAX)] => all.push(Ports::Protocol(protocol)),
            ranges => all.push(Ports::Numbers(protocol, ranges.to_vec())),
        }
    }
    let named = names
        .into_iter()
        .map(|key| Ports::Named(key.0, numbers.ports.number(key)));
    all.extend(named);
    all
}

/// Ranges in order that neither touch nor overlap.
fn merged(mut ranges: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    ranges.sort_unstable();
    let mut all: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match all.last_mut() {
            Some((_, end)) if u32::from(first) <= u32::from(*end) + 1 => *end = (*end).max(last),
            _ => all.push((first, last)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn excepted_parts_are_within_the_block_and_apart() {
        let cidr: IpNet = "10.0.0.0/8".parse().unwrap();
        let except = nets(&["10.1.0.0/16", "10.1.2.0/24", "192.168.0.0/16", "fd00::/8"]);
        assert_eq!(parts(cidr, &except), nets(&["10.1.0.0/16"]));
        assert_eq!(
            parts(cidr, &nets(&["0.0.0.0/0"])),
            nets(&["10.0.0.0/8"]),
            "all of it"
        );
    }

    #[test]
    fn ranges_of_ports_are_apart() {
        assert_eq!(merged(vec![(80, 80), (1, 5), (6, 9), (3, 4)]), [(1, 9), (80, 80)]);
        assert_eq!(merged(vec![(0, u16::MAX), (7, u16::MAX)]), [(0, u16::MAX)]);
        assert!(merged(Vec::new()).is_empty());
    }
}
