//! `meshctl inventory`

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::{Args, ValueEnum};
use meshd_api::coordinator::admin::{EndpointInfo, NodeInfo};
use meshd_api::local::{NetworkStatus, Status};
use meshd_core::balance::API_PORT;
use meshd_core::cluster::{ENDPOINT, Host, Inventory as Nodes};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::admin::Admin;
use crate::cli::{Global, OfNetwork};
use crate::failure::Failure;
use crate::local::Local;

/// A token's tag that says what a machine is to be.
const CONTROL_PLANE: &str = "control-plane";

/// Print the nodes of a network for another tool: names, mesh addresses, control planes, tags.
///
/// Beside the relay, or with the network's root key, everything is known of them; on a node what its meshd knows, which is all but
/// tags, systems and addresses of the underlay. Control planes are the nodes behind the endpoint `api`, and those with the tag
/// `control-plane`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl inventory > hosts.yaml; ansible -i hosts.yaml all -m ping
  meshctl inventory --format kubespray > inventory/prod/hosts.yaml
  meshctl inventory --json")]
pub struct Inventory {
    /// For which tool
    #[arg(long, value_enum, default_value_t = Format::Ansible)]
    format: Format,
    #[command(flatten)]
    network: OfNetwork,
}

/// For which tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// An inventory of Ansible, in YAML
    Ansible,
    /// An inventory of Kubespray, in YAML
    Kubespray,
    /// An object for any program
    Json,
}

#[derive(Debug, Serialize)]
struct Answer {
    network: String,
    endpoint: Option<SocketAddr>,
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
struct Node {
    name: String,
    ipv4: Ipv4Addr,
    ipv6: Ipv6Addr,
    control_plane: bool,
    tags: Vec<String>,
    #[serde(flatten)]
    facts: Map<String, Value>,
}

impl Inventory {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let beside = global.relay.is_some() || global.relay_socket.exists();
        let mut nodes = match beside {
            true => told_by_coordinator(global, self.network.name()).await?,
            false => told_by_meshd(global, self.network.name()).await?,
        };
        nodes.hosts.sort_by(|a, b| a.name.cmp(&b.name));
        let made = match (global.json, self.format) {
            (true, _) | (_, Format::Json) => return print_json(nodes),
            (_, Format::Ansible) => nodes.ansible(),
            (_, Format::Kubespray) => nodes.kubespray(),
        };
        let text = made.map_err(|error| Failure::failed(error.to_string()))?;
        global.output().answer(&(), |()| text)
    }
}

fn print_json(nodes: Nodes) -> Result<(), Failure> {
    let node = |host: Host| Node {
        name: host.name,
        ipv4: host.ipv4,
        ipv6: host.ipv6,
        control_plane: host.control_plane,
        tags: host.tags,
        facts: host.facts,
    };
    let answer = Answer {
        network: nodes.network,
        endpoint: nodes.endpoint,
        nodes: nodes.hosts.into_iter().map(node).collect(),
    };
    crate::output::Output { json: true }.answer(&answer, |_| String::new())
}

/// Beside the relay, or with the root key. Nodes that wait for approval, and those that were removed, are none.
async fn told_by_coordinator(global: &Global, network: Option<&str>) -> Result<Nodes, Failure> {
    let mut admin = Admin::connect(global).await?;
    let network = admin.network(network).await?;
    let nodes: Vec<NodeInfo> = admin.get(&format!("networks/{}/nodes", network.name)).await?;
    let endpoints: Vec<EndpointInfo> = admin.get(&format!("networks/{}/endpoints", network.name)).await?;
    let api = endpoints
        .iter()
        .find(|endpoint| endpoint.name == ENDPOINT || is_reserved(endpoint));
    let behind = |name: &str| api.is_some_and(|api| api.members.iter().any(|member| member.node == name));
    let active = nodes.into_iter().filter(|node| node.state == "active");
    let hosts = active
        .map(|node| Host {
            control_plane: behind(&node.name) || node.tags.iter().any(|tag| tag == CONTROL_PLANE),
            ipv4: node.ipv4,
            ipv6: node.ipv6,
            facts: facts_of(&node),
            name: node.name,
            tags: node.tags,
        })
        .collect();
    Ok(Nodes {
        network: network.name,
        hosts,
        endpoint: api.and_then(|api| first_ipv4(&api.at)),
    })
}

fn is_reserved(endpoint: &EndpointInfo) -> bool {
    endpoint.address.is_none() && endpoint.port == API_PORT
}

fn facts_of(node: &NodeInfo) -> Map<String, Value> {
    let mut facts = Map::new();
    let mut put = |name: &str, value: Value| facts.insert(name.to_owned(), value);
    put("id", json!(node.id));
    put("connected", json!(node.connected));
    put("candidates", json!(node.candidates));
    put("system", json!(node.system));
    put("version", json!(node.version));
    put("pods", json!(node.pods));
    facts
}

/// On a node.
async fn told_by_meshd(global: &Global, name: Option<&str>) -> Result<Nodes, Failure> {
    let status: Status = Local::connect(&global.socket).await?.get("status").await?;
    let mut all = status.networks;
    if let Some(name) = name {
        all.retain(|network| network.name == name);
    }
    match all.len() {
        1 => Ok(of_status(&all.remove(0))),
        0 => Err(Failure::failed(
            "this machine is in no such network, or it is down: `meshctl status` shows those it is in",
        )),
        _ => {
            let names: Vec<&str> = all.iter().map(|network| network.name.as_str()).collect();
            Err(Failure::usage(format!(
                "there are several networks: say --network {}",
                names.join(" or ")
            )))
        }
    }
}

fn of_status(network: &NetworkStatus) -> Nodes {
    let port = format!(":{API_PORT}");
    let api = network
        .endpoints
        .iter()
        .find(|endpoint| endpoint.name == ENDPOINT || endpoint.at.iter().any(|at| at.ends_with(&port)));
    let behind = |name: &str| api.is_some_and(|api| api.members.iter().any(|member| member.node == name));
    let own = (&network.hostname, network.ipv4, network.ipv6, &network.node, None);
    let peers = network.peers.iter();
    let peers = peers.map(|peer| (&peer.name, peer.ipv4, peer.ipv6, &peer.node, Some(&peer.path)));
    let hosts = [own].into_iter().chain(peers);
    let hosts = hosts.map(|(name, ipv4, ipv6, id, path)| {
        let mut facts = Map::new();
        facts.insert("id".into(), json!(id));
        if let Some(path) = path {
            facts.insert("path".into(), json!(path));
        }
        Host {
            name: name.clone(),
            ipv4,
            ipv6,
            tags: Vec::new(),
            control_plane: behind(name),
            facts,
        }
    });
    Nodes {
        network: network.name.clone(),
        hosts: hosts.collect(),
        endpoint: api.and_then(|api| first_ipv4(&api.at)),
    }
}

fn first_ipv4(at: &[String]) -> Option<SocketAddr> {
    let mut parsed = at.iter().filter_map(|at| at.parse::<SocketAddr>().ok());
    parsed.find(SocketAddr::is_ipv4)
}
