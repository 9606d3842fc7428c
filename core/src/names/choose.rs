//! Which names are written: the full name of every node, the short one where it is free.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{DOMAIN, is_label, is_reserved};

/// The addresses under which a node is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Address {
    /// Mesh IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Mesh IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
}

impl Address {
    /// Takes an address of a family of which there is none yet; the first counts.
    pub fn add(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.ipv4 = self.ipv4.or(Some(v4)),
            IpAddr::V6(v6) => self.ipv6 = self.ipv6.or(Some(v6)),
        }
    }

    /// Those that there are.
    pub fn each(self) -> impl Iterator<Item = IpAddr> {
        let four = self.ipv4.map(IpAddr::from);
        four.into_iter().chain(self.ipv6.map(IpAddr::from))
    }
}

impl FromIterator<IpAddr> for Address {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        let mut all = Self::default();
        addresses.into_iter().for_each(|address| all.add(address));
        all
    }
}

/// One node of a network, or a host behind a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeName {
    /// Its label in the network, as the network map has it.
    pub label: String,
    /// Where it is.
    pub address: Address,
}

/// One network and its nodes, this node among them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkNames {
    /// The network's name, a label.
    pub network: String,
    /// Every node of it, then hosts behind gateways. Of two with one label the first counts.
    pub nodes: Vec<NodeName>,
    /// Labels of removed nodes that are still kept free (30 days, or until an admin frees them). The coordinator's
    /// clock judges that, never this node's.
    pub blocked: BTreeSet<String>,
}

/// Everything that the hosts file should say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The machine's own host name, with or without a domain.
    pub own_host_name: String,
    /// The networks that this node is in.
    pub networks: Vec<NetworkNames>,
}

/// Why a name was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Not a DNS label: nothing is written for this node (or network).
    InvalidLabel,
    /// An earlier node of the network (or an earlier network) has it: nothing is written for this one.
    Duplicate,
    /// A removed node had it less than 30 days ago and nobody freed it: nothing is written for this node.
    Blocked,
    /// Short name only: a removed node of another network had it.
    BlockedElsewhere,
    /// Short name only: `localhost` and its kin, or a number that resolvers take for an address.
    Reserved,
    /// Short name only: it is the machine's own host name.
    OwnHostName,
    /// Short name only: a line outside of our blocks has it.
    ElsewhereInFile,
    /// Short name only: more than one network of this node has it.
    Ambiguous,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InvalidLabel => "it is not a valid DNS label",
            Self::Duplicate => "another one has the same name",
            Self::Blocked => "it belonged to a removed node and is not free yet",
            Self::BlockedElsewhere => "it belonged to a removed node of another network and is not free yet",
            Self::Reserved => "it is reserved",
            Self::OwnHostName => "it is this machine's own host name",
            Self::ElsewhereInFile => "another line of the hosts file has it",
            Self::Ambiguous => "more than one network has it",
        })
    }
}

/// A name that was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withheld {
    /// The network.
    pub network: String,
    /// The node's label; empty where the whole network is meant.
    pub label: String,
    /// Why.
    pub reason: Reason,
}

/// The lines of each network's block, without markers.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) blocks: BTreeMap<String, Vec<u8>>,
    pub(super) withheld: Vec<Withheld>,
}

/// Chooses the names. `elsewhere`: the names in the rest of the file, in lower case.
pub(super) fn choose(wanted: &Wanted, elsewhere: &BTreeSet<Vec<u8>>) -> Plan {
    let shorts = ShortNames::new(wanted, elsewhere);
    let mut plan = Plan::default();
    for network in &wanted.networks {
        let reason = match network.network.as_str() {
            name if !is_label(name) => Some(Reason::InvalidLabel),
            name if plan.blocks.contains_key(name) => Some(Reason::Duplicate),
            _ => None,
        };
        let mut withhold = |label: &str, reason| {
            let (network, label) = (network.network.clone(), label.to_owned());
            plan.withheld.push(Withheld {
                network,
                label,
                reason,
            });
        };
        if let Some(reason) = reason {
            withhold("", reason);
            continue;
        }
        let lines = network_lines(network, &shorts, &mut withhold);
        plan.blocks.insert(network.network.clone(), lines);
    }
    plan.blocks.retain(|_, lines| !lines.is_empty());
    plan
}

/// The sorted lines of one network: IPv4 before IPv6, by address, then by name.
fn network_lines(
    network: &NetworkNames,
    shorts: &ShortNames<'_>,
    withhold: &mut impl FnMut(&str, Reason),
) -> Vec<u8> {
    let mut seen = BTreeSet::new();
    let mut lines: BTreeSet<(IpAddr, String)> = BTreeSet::new();
    for node in &network.nodes {
        let label = node.label.as_str();
        let refused = match () {
            () if !is_label(label) => Some(Reason::InvalidLabel),
            () if network.blocked.contains(label) => Some(Reason::Blocked),
            () if !seen.insert(label) => Some(Reason::Duplicate),
            () => None,
        };
        if let Some(reason) = refused {
            withhold(label, reason);
            continue;
        }
        let mut names = format!("{label}.{}.{DOMAIN}", network.network);
        match shorts.refusal(label) {
            Some(reason) => withhold(label, reason),
            None => names.extend([" ", label]),
        }
        let (v4, v6) = (
            node.address.ipv4.map(IpAddr::V4),
            node.address.ipv6.map(IpAddr::V6),
        );
        lines.extend(v4.into_iter().chain(v6).map(|ip| (ip, names.clone())));
    }
    lines
        .into_iter()
        .flat_map(|(ip, names)| format!("{ip}\t{names}\n").into_bytes())
        .collect()
}

/// What short names are judged by.
struct ShortNames<'a> {
    own: Vec<String>,
    elsewhere: &'a BTreeSet<Vec<u8>>,
    /// In how many networks a label occurs.
    networks: BTreeMap<&'a str, usize>,
    blocked: BTreeSet<&'a str>,
}

impl<'a> ShortNames<'a> {
    fn new(wanted: &'a Wanted, elsewhere: &'a BTreeSet<Vec<u8>>) -> Self {
        let own = wanted.own_host_name.to_ascii_lowercase();
        let first = own.split('.').next().unwrap_or_default().to_owned();
        let mut networks = BTreeMap::new();
        for network in &wanted.networks {
            let labels: BTreeSet<&str> = network.nodes.iter().map(|n| n.label.as_str()).collect();
            for label in labels {
                *networks.entry(label).or_insert(0) += 1;
            }
        }
        let blocked = wanted
            .networks
            .iter()
            .flat_map(|n| n.blocked.iter().map(String::as_str))
            .collect();
        Self {
            own: vec![own, first],
            elsewhere,
            networks,
            blocked,
        }
    }

    fn refusal(&self, label: &str) -> Option<Reason> {
        match () {
            () if is_reserved(label) => Some(Reason::Reserved),
            () if self.own.iter().any(|own| own == label) => Some(Reason::OwnHostName),
            () if self.elsewhere.contains(label.as_bytes()) => Some(Reason::ElsewhereInFile),
            () if self.networks.get(label).is_some_and(|n| *n > 1) => Some(Reason::Ambiguous),
            () if self.blocked.contains(label) => Some(Reason::BlockedElsewhere),
            () => None,
        }
    }
}
