//! What a rule set does with the first packet of a flow, as the kernel would judge it.

use std::net::IpAddr;

use meshd_core::policy::{Direction, Match, Ports, Protocol, Rule, Ruleset};

/// A packet: addresses, protocol and destination port, and the pods' interfaces by which it comes and goes.
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    /// Source, and the interface where it is a pod of this node.
    pub source: (IpAddr, Option<&'a str>),
    /// Destination, likewise.
    pub destination: (IpAddr, Option<&'a str>),
    /// Protocol; none for one without ports.
    pub protocol: Option<Protocol>,
    /// Destination port.
    pub port: u16,
}

/// Whether it passes.
pub fn passes(ruleset: &Ruleset, packet: &Packet<'_>) -> bool {
    Direction::BOTH.into_iter().all(|direction| {
        let (own, other) = match direction {
            Direction::Egress => (packet.source.1, packet.destination.1),
            Direction::Ingress => (packet.destination.1, packet.source.1),
        };
        let Some(policies) = own
            .and_then(|host| ruleset.pods.get(host))
            .and_then(|rules| rules.of(direction))
        else {
            return true;
        };
        let mut rules = policies
            .iter()
            .filter_map(|number| ruleset.policies.get(&(*number, direction)))
            .flat_map(|allowed| allowed.rules.iter());
        own == other || rules.any(|rule| matches(ruleset, rule, direction, packet))
    })
}

fn matches(ruleset: &Ruleset, rule: &Rule, direction: Direction, packet: &Packet<'_>) -> bool {
    let peer = match direction {
        Direction::Egress => packet.destination.0,
        Direction::Ingress => packet.source.0,
    };
    let peer_matches = match &rule.peer {
        Match::Anybody => true,
        Match::Group(number) => ruleset.groups[number].contains(&peer),
        Match::Block { cidr, except } => {
            cidr.contains(&peer) && !except.iter().any(|part| part.contains(&peer))
        }
    };
    let is = |protocol: &Protocol| packet.protocol == Some(*protocol);
    let ports_match = match &rule.ports {
        Ports::Every => true,
        Ports::Protocol(protocol) => is(protocol),
        Ports::Numbers(protocol, ranges) => {
            is(protocol)
                && ranges
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&packet.port))
        }
        Ports::Named(protocol, number) => {
            is(protocol) && ruleset.ports[number].contains(&(packet.destination.0, packet.port))
        }
    };
    peer_matches && ports_match
}
