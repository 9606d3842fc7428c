//! One rule in nft's words.

use ipnet::IpNet;

use super::model::{Direction, Protocol};
use super::ruleset::{Match, Ports, Rule};

/// What differs between the two directions.
pub(super) struct Words {
    pub base: &'static str,
    pub priority: i8,
    pub map: &'static str,
    pub counter: &'static str,
    /// The pod's own side, and the other one.
    pub interface: &'static str,
    pub other_interface: &'static str,
    /// The peer's address.
    pub address: &'static str,
    pub short: &'static str,
}

pub(super) fn words(direction: Direction) -> Words {
    match direction {
        Direction::Egress => Words {
            base: "egress",
            priority: -6,
            map: "leaving",
            counter: "denied-egress",
            interface: "iifname",
            other_interface: "oifname",
            address: "daddr",
            short: "out",
        },
        Direction::Ingress => Words {
            base: "ingress",
            priority: -5,
            map: "coming",
            counter: "denied-ingress",
            interface: "oifname",
            other_interface: "iifname",
            address: "saddr",
            short: "in",
        },
    }
}

/// A rule, once for each IP version that it needs; each with a space at its end.
pub(super) fn rule_texts(rule: &Rule, direction: Direction) -> Vec<String> {
    let address = words(direction).address;
    let versions: &[(char, &str)] = match (&rule.peer, &rule.ports) {
        (Match::Block { cidr, .. }, _) if cidr.addr().is_ipv4() => &[('4', "ip")],
        (Match::Block { .. }, _) => &[('6', "ip6")],
        (Match::Anybody, Ports::Every | Ports::Protocol(_) | Ports::Numbers(..)) => &[('0', "")],
        _ => &[('4', "ip"), ('6', "ip6")],
    };
    versions
        .iter()
        .map(|(version, ip)| {
            let peer = match &rule.peer {
                Match::Anybody => String::new(),
                Match::Group(number) => format!("{ip} {address} @g{number}-{version} "),
                Match::Block { cidr, except } => block(ip, address, cidr, except),
            };
            format!("{peer}{}", ports_text(&rule.ports, ip, *version))
        })
        .collect()
}

fn block(ip: &str, address: &str, cidr: &IpNet, except: &[IpNet]) -> String {
    // a prefix of no length would match the other IP version, too
    let within = match (cidr.prefix_len(), ip) {
        (0, "ip") => "meta nfproto ipv4 ".to_owned(),
        (0, _) => "meta nfproto ipv6 ".to_owned(),
        _ => format!("{ip} {address} {cidr} "),
    };
    match except {
        [] => within,
        except => {
            let parts: Vec<String> = except.iter().map(IpNet::to_string).collect();
            format!("{within}{ip} {address} != {{ {} }} ", parts.join(", "))
        }
    }
}

fn ports_text(ports: &Ports, ip: &str, version: char) -> String {
    match ports {
        Ports::Every => String::new(),
        Ports::Protocol(protocol) => format!("meta l4proto {} ", word(*protocol)),
        Ports::Named(protocol, number) => {
            format!("{ip} daddr . {} dport @n{number}-{version} ", word(*protocol))
        }
        Ports::Numbers(protocol, ranges) => {
            let text = |(first, last): &(u16, u16)| match first == last {
                true => first.to_string(),
                false => format!("{first}-{last}"),
            };
            let all: Vec<String> = ranges.iter().map(text).collect();
            format!("{} dport {{ {} }} ", word(*protocol), all.join(", "))
        }
    }
}

fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}
