//! What of a network of Netmaker a network here can have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Serialize;

use super::ImportError;
use super::export::{Egress, Export, Network, Node, read};
use crate::admission::{Holders, allot, check_ipv4_prefix, check_ipv6_prefix, is_for_nodes_v4};
use crate::gateway;
use crate::names::{distinct, is_reserved, to_label};

/// Netmaker's own metric where nobody said one.
const USUAL_METRIC: u64 = 256;
/// The longest IPv6 prefix that a network here may have.
const LONGEST_IPV6: u8 = 96;

/// A network, its machines and the ranges behind them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Its name.
    pub network: String,
    /// Addresses of its nodes.
    pub ipv4: Ipv4Net,
    /// Their IPv6 addresses, where Netmaker had some that a network here can have.
    pub ipv6: Option<Ipv6Net>,
    /// Its machines, by name.
    pub nodes: Vec<PlannedNode>,
    /// Ranges behind them.
    pub gateways: Vec<PlannedGateway>,
    /// Sentences: what will be otherwise than it was.
    pub notes: Vec<String>,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedNode {
    /// Its name.
    pub name: String,
    /// Its address; any where it cannot keep its own.
    pub ipv4: Option<Ipv4Addr>,
}

/// A range behind a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedGateway {
    /// The machine's name.
    pub node: String,
    /// The range; everything for an exit node.
    pub range: IpNet,
    /// Under which the network knows it.
    pub published: IpNet,
    /// Whether hosts there see the gateway's address.
    pub nat: bool,
    /// The lowest is used first.
    pub priority: u32,
}

/// Plans a network of the export: the one of this name, or the only one.
///
/// # Errors
/// Where the export cannot be read, does not say which network is meant, or its range cannot be had.
pub fn plan(bytes: &[u8], network: Option<&str>) -> Result<Plan, ImportError> {
    let export = read(bytes)?;
    let network = choose(&export, network)?;
    let range = |why: String| ImportError::Range {
        network: network.name.clone(),
        range: network.range.clone(),
        why,
    };
    let ipv4: Ipv4Net = network
        .range
        .parse()
        .map_err(|_| range("a network here has an IPv4 range".into()))?;
    check_ipv4_prefix(ipv4).map_err(|error| range(error.to_string()))?;
    let mut notes = Vec::new();
    let name = to_label(&network.name).ok_or_else(|| ImportError::NoNetwork(" with a name".into()))?;
    if name != network.name {
        notes.push(format!("network {} becomes {name}", network.name));
    }
    let ipv6 = ipv6(network, &mut notes);
    let mut machines = Machines::new(&export, ipv4, ipv6);
    let of_network = export.nodes.iter().filter(|node| node.network == network.name);
    machines.take(of_network, &mut notes);
    let mesh: Vec<IpNet> = [IpNet::V4(ipv4)].into_iter().chain(ipv6.map(IpNet::V6)).collect();
    let gateways = Gateways::of(&export, &network.name, &machines.names, &mesh, &mut notes);
    Ok(Plan {
        network: name,
        ipv4,
        ipv6,
        nodes: machines.planned,
        gateways,
        notes,
    })
}

fn choose<'a>(export: &'a Export, name: Option<&str>) -> Result<&'a Network, ImportError> {
    let named: Vec<&Network> = export
        .networks
        .iter()
        .filter(|network| name.is_none_or(|name| network.name == name))
        .collect();
    match (named.as_slice(), name) {
        ([one], _) => Ok(one),
        ([], Some(name)) => Err(ImportError::NoNetwork(format!(" that is called \"{name}\""))),
        ([], None) => Err(ImportError::NoNetwork(String::new())),
        (several, _) => {
            let names: Vec<&str> = several.iter().map(|network| network.name.as_str()).collect();
            Err(ImportError::Several(names.join(" or ")))
        }
    }
}

/// Netmaker's ranges are often longer than /96: the /96 around is taken then, in which the same addresses are.
fn ipv6(network: &Network, notes: &mut Vec<String>) -> Option<Ipv6Net> {
    if network.range6.is_empty() {
        return None;
    }
    let parsed: Option<Ipv6Net> = network.range6.parse().ok();
    let wide = parsed.and_then(|range| Ipv6Net::new(range.addr(), range.prefix_len().min(LONGEST_IPV6)).ok());
    let usable = wide
        .map(|range| range.trunc())
        .filter(|range| check_ipv6_prefix(*range).is_ok());
    match usable {
        Some(range) if range.to_string() != network.range6 => {
            notes.push(format!("IPv6 range {} becomes {range}", network.range6));
        }
        Some(_) => {}
        None => notes.push(format!(
            "IPv6 range {} cannot be had: nodes get addresses of another one",
            network.range6
        )),
    }
    usable
}

/// Machines as they are taken one after the other.
struct Machines<'a> {
    hosts: BTreeMap<&'a str, &'a str>,
    ipv4: Ipv4Net,
    ipv6: Option<Ipv6Net>,
    taken: BTreeSet<Ipv4Addr>,
    /// Of Netmaker's ids of nodes.
    names: BTreeMap<&'a str, String>,
    planned: Vec<PlannedNode>,
}

impl<'a> Machines<'a> {
    fn new(export: &'a Export, ipv4: Ipv4Net, ipv6: Option<Ipv6Net>) -> Self {
        let hosts = export.hosts.iter();
        Self {
            hosts: hosts.map(|host| (host.id.as_str(), host.name.as_str())).collect(),
            ipv4,
            ipv6,
            taken: BTreeSet::new(),
            names: BTreeMap::new(),
            planned: Vec::new(),
        }
    }

    fn take(&mut self, nodes: impl Iterator<Item = &'a Node>, notes: &mut Vec<String>) {
        let (mut clients, mut others) = (0u32, Vec::new());
        for node in nodes {
            if node.client {
                clients += 1;
            } else if node.leaving {
                notes.push(format!("node {} was being deleted: it is left out", node.address));
            } else {
                self.one(node, notes, &mut others);
            }
        }
        if clients > 0 {
            notes.push(format!(
                "{clients} clients without netclient are left out: install meshd on those machines and join them"
            ));
        }
        if !others.is_empty() {
            notes.push(format!(
                "IPv6 addresses go with IPv4 addresses here, and these change: {}",
                others.join(", ")
            ));
        }
        self.planned.sort_by(|a, b| a.name.cmp(&b.name));
    }

    fn one(&mut self, node: &'a Node, notes: &mut Vec<String>, others: &mut Vec<String>) {
        let theirs = self.hosts.get(node.host.as_str()).copied().unwrap_or_default();
        let name = self.name(theirs, &node.address);
        if name != theirs {
            notes.push(format!("\"{theirs}\" ({}) becomes {name}", node.address));
        }
        let ipv4 = self.address(&node.address);
        if ipv4.is_none() {
            notes.push(format!(
                "{name} cannot keep the address \"{}\" and gets another one",
                node.address
            ));
        }
        others.extend(self.other_ipv6(&name, ipv4, &node.address6));
        self.names.insert(&node.id, name.clone());
        self.planned.push(PlannedNode { name, ipv4 });
    }

    fn name(&self, theirs: &str, address: &str) -> String {
        let host = address.split('/').next().unwrap_or_default();
        let label = to_label(theirs).or_else(|| to_label(&format!("node-{host}")));
        let label = label.unwrap_or_else(|| "node".to_owned());
        let taken = |label: &str| is_reserved(label) || self.planned.iter().any(|node| node.name == label);
        distinct(&label, taken)
    }

    /// With or without the network's length behind it.
    fn address(&mut self, text: &str) -> Option<Ipv4Addr> {
        let address: Ipv4Addr = text.split('/').next()?.parse().ok()?;
        (is_for_nodes_v4(self.ipv4, address) && self.taken.insert(address)).then_some(address)
    }

    fn other_ipv6(&self, name: &str, ipv4: Option<Ipv4Addr>, theirs: &str) -> Option<String> {
        let theirs = theirs.split('/').next().filter(|theirs| !theirs.is_empty())?;
        let same = || {
            let given = allot(self.ipv4, self.ipv6?, &Holders::new(), Some(ipv4?), &[]).ok()?;
            Some(theirs.parse() == Ok(given.ipv6))
        };
        (same() != Some(true)).then(|| format!("{theirs} of {name}"))
    }
}

/// Ranges as they are taken one after the other.
struct Gateways<'a> {
    mesh: &'a [IpNet],
    all: Vec<PlannedGateway>,
}

impl<'a> Gateways<'a> {
    fn of(
        export: &Export,
        network: &str,
        names: &BTreeMap<&str, String>,
        mesh: &'a [IpNet],
        notes: &mut Vec<String>,
    ) -> Vec<PlannedGateway> {
        let mut gateways = Self {
            mesh,
            all: Vec::new(),
        };
        for node in export.nodes.iter().filter(|node| node.network == network) {
            let Some(name) = names.get(node.id.as_str()) else {
                continue;
            };
            for range in &node.ranges {
                gateways.take(name, (&range.range, ""), range.nat, range.metric, notes);
            }
        }
        for egress in export.egress.iter().filter(|egress| egress.network == network) {
            gateways.behind(egress, names, notes);
        }
        gateways.all
    }

    fn behind(&mut self, egress: &Egress, names: &BTreeMap<&str, String>, notes: &mut Vec<String>) {
        let Egress { name, range, .. } = egress;
        if !egress.on {
            return notes.push(format!("egress {name} is switched off: it is left out"));
        }
        if range.is_empty() {
            return notes.push(format!(
                "egress {name} is for domains and not for a range: it is left out"
            ));
        }
        if egress.by_tag {
            notes.push(format!(
                "egress {name} is also behind the nodes with a tag: `meshctl gateway add NODE --range {range}` for each"
            ));
        }
        for (id, metric) in &egress.nodes {
            match names.get(id.as_str()) {
                Some(node) => self.take(node, (range, &egress.published), egress.nat, *metric, notes),
                None => notes.push(format!(
                    "egress {name} is behind a node that is not here: it is left out there"
                )),
            }
        }
    }

    fn take(
        &mut self,
        node: &str,
        (range, published): (&str, &str),
        nat: bool,
        metric: u64,
        notes: &mut Vec<String>,
    ) {
        let parsed = |text: &str| text.parse::<IpNet>().map(|net| net.trunc());
        let Ok(real) = parsed(range) else {
            return notes.push(format!("\"{range}\" behind {node} is no range: it is left out"));
        };
        let known = if published.is_empty() {
            Ok(real)
        } else {
            parsed(published)
        };
        let Ok(known) = known else {
            return notes.push(format!(
                "\"{published}\" for {real} behind {node} is no range: it is left out"
            ));
        };
        if let Err(why) = gateway::check(real, known, self.mesh, &[]) {
            return notes.push(format!("{real} behind {node} is left out: {why}"));
        }
        if self.all.iter().any(|one| one.node == node && one.range == real) {
            return;
        }
        // the lowest is first in both worlds
        let metric = if metric == 0 { USUAL_METRIC } else { metric };
        self.all.push(PlannedGateway {
            node: node.to_owned(),
            range: real,
            published: known,
            nat,
            priority: u32::try_from(metric).unwrap_or(u32::MAX),
        });
    }
}
