//! `meshctl gateway add|list|remove`

use clap::{Args, Subcommand};
use ipnet::IpNet;
use meshd_api::coordinator::admin::{Done, GatewayAdd, GatewayInfo, GatewayRemove};
use meshd_core::gateway::DEFAULT_PRIORITY;
use meshd_core::id::NodeId;
use meshd_core::netmaker::PlannedGateway;
use meshd_core::statement::{Deed, GatewayTerms, HostName};

use crate::admin::{self, Admin};
use crate::cli::{Global, OfNetwork, label};
use crate::failure::Failure;
use crate::table;
use crate::verbs::reach::{self, Named, node};

/// Egress gateways.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  meshctl gateway add gw1 --range 192.168.50.0/24")]
#[allow(missing_docs, reason = "a doc comment here would replace the verb's own help")]
pub enum Gateway {
    Add(Add),
    List(List),
    Remove(Remove),
}

/// Make ranges behind a node reachable by the network; adding one again changes it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl gateway add gw1 --range 192.168.50.0/24
  meshctl gateway add gw2 --range 192.168.50.0/24 --priority 20   if gw1 fails
  meshctl gateway add gw1 --range 10.8.0.0/24 --no-nat   hosts see the nodes
  meshctl gateway add gw3 --range 192.168.50.0/24 --as 10.200.1.0/24
  meshctl gateway add gw1 --range 10.8.0.0/24 --to laptop,tag:office
  meshctl gateway add gw1 --range 10.8.0.0/24 --pods app=web
  meshctl gateway add gw1 --range 10.8.0.0/24 --name printer=10.8.0.9
  meshctl gateway add gw1 --exit")]
pub struct Add {
    /// The node: its name or id
    #[arg(value_parser = label)]
    node: String,
    #[command(flatten)]
    ranges: Ranges,
    /// The prefix under which the network knows the range, where it is taken by another site
    #[arg(long = "as", value_name = "PREFIX", value_parser = prefix, conflicts_with = "exit")]
    published: Option<IpNet>,
    /// Hosts in the range see the gateway's own address (the default): nothing is to be set up there
    #[arg(long, conflicts_with = "no_nat")]
    nat: bool,
    /// Hosts in the range see the nodes' addresses, and need a route to them through the gateway
    #[arg(long)]
    no_nat: bool,
    /// Of several gateways for one range the one with the lowest number is used first
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PRIORITY)]
    priority: u32,
    /// Only these may use it: nodes, or tag:NAME for all nodes with a tag [default: everybody]
    #[arg(long, value_name = "NODE|tag:NAME", value_delimiter = ',', value_parser = reach::named)]
    to: Vec<Named>,
    /// Only pods with these labels may use it, e.g. 'app=web,tier in (a,b)'; no node's own programs, and no pod of a node
    /// without credentials for Kubernetes
    #[arg(long, value_name = "SELECTOR", value_parser = selector, conflicts_with = "exit")]
    pods: Option<String>,
    /// A host in the range that the network knows by name, by its own address; may be given several times
    #[arg(long = "name", value_name = "NAME=ADDRESS", value_parser = host_name, conflicts_with = "exit")]
    names: Vec<HostName>,
    #[command(flatten)]
    network: OfNetwork,
}

/// What is meant: ranges, or everything.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Ranges {
    /// A range behind the node; may be given several times
    #[arg(long = "range", value_name = "PREFIX", value_parser = prefix)]
    ranges: Vec<IpNet>,
    /// Everything, IPv4 and IPv6: an exit node, for nodes that choose it
    #[arg(long)]
    exit: bool,
}

/// List the gateways.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl gateway list --network prod")]
pub struct List {
    #[command(flatten)]
    network: OfNetwork,
}

/// Withdraw ranges of a gateway.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl gateway remove gw1 --range 192.168.50.0/24")]
pub struct Remove {
    /// The node: its name or id
    #[arg(value_parser = label)]
    node: String,
    #[command(flatten)]
    ranges: Ranges,
    #[command(flatten)]
    network: OfNetwork,
}

impl Gateway {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        match self {
            Self::Add(verb) => verb.run(global).await,
            Self::List(verb) => {
                let mut admin = Admin::connect(global).await?;
                let network = admin.network(verb.network.name()).await?;
                let path = format!("networks/{}/gateways", network.name);
                let gateways: Vec<GatewayInfo> = admin.get(&path).await?;
                global.output().answer(&gateways, |gateways| list(gateways))
            }
            Self::Remove(verb) => verb.run(global).await,
        }
    }
}

impl Ranges {
    fn all(&self) -> Vec<IpNet> {
        match self.exit {
            true => ["0.0.0.0/0", "::/0"]
                .map(|all| all.parse().expect("a prefix"))
                .to_vec(),
            false => self.ranges.clone(),
        }
    }
}

impl Add {
    /// A range behind a node of a network, for everybody.
    pub fn of(network: &str, planned: &PlannedGateway) -> Self {
        let exit = planned.range.prefix_len() == 0;
        Self {
            node: planned.node.clone(),
            ranges: Ranges {
                ranges: vec![planned.range],
                exit,
            },
            published: (planned.published != planned.range).then_some(planned.published),
            nat: planned.nat,
            no_nat: !planned.nat,
            priority: planned.priority,
            to: Vec::new(),
            pods: None,
            names: Vec::new(),
            network: OfNetwork::of(network),
        }
    }

    async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut admin = Admin::connect(global).await?;
        let mut done = Vec::new();
        let ranges = self.ranges.all();
        let lost = |host: &&HostName| !ranges.iter().any(|range| range.contains(&host.address));
        if let Some(host) = self.names.iter().find(lost) {
            return Err(Failure::usage(format!("{host} is in none of the ranges")));
        }
        for range in ranges {
            done.push(self.add(&mut admin, range).await?);
        }
        tell(global, &done)
    }

    /// Adds one of its ranges.
    pub async fn add(&self, admin: &mut Admin, range: IpNet) -> Result<Done, Failure> {
        let network = admin.network(self.network.name()).await?;
        let (to_nodes, to_tags) = reach::resolve(admin, &network.name, &self.to).await?;
        let id = node(admin, &network.name, &self.node).await?;
        let names: Vec<HostName> = self
            .names
            .iter()
            .filter(|host| range.contains(&host.address))
            .cloned()
            .collect();
        let mut request = GatewayAdd {
            node: id.to_string(),
            range: range.to_string(),
            published: self.published.map(|published| published.to_string()),
            nat: !self.no_nat,
            priority: self.priority,
            to_nodes: to_nodes.iter().map(NodeId::to_string).collect(),
            to_tags: to_tags.clone(),
            pods: self.pods.clone(),
            names: names.iter().map(ToString::to_string).collect(),
            exit: self.ranges.exit,
            statement: None,
        };
        if let Some(key) = admin.key() {
            let terms = GatewayTerms {
                range,
                published: self.published,
                nat: !self.no_nat,
                priority: self.priority,
                to_nodes,
                to_tags,
                pods: self.pods.clone(),
                names,
            };
            request.statement = Some(admin::act(key, &network, Deed::Gateway { node: id, terms })?);
        }
        admin
            .post(&format!("networks/{}/gateways", network.name), &request)
            .await
    }
}

impl Remove {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut admin = Admin::connect(global).await?;
        let mut done = Vec::new();
        for range in self.ranges.all() {
            let network = admin.network(self.network.name()).await?;
            let id = node(&mut admin, &network.name, &self.node).await?;
            let mut request = GatewayRemove {
                node: id.to_string(),
                range: range.to_string(),
                statement: None,
            };
            if let Some(key) = admin.key() {
                let deed = Deed::WithdrawGateway { node: id, range };
                request.statement = Some(admin::act(key, &network, deed)?);
            }
            let path = format!("networks/{}/gateways/remove", network.name);
            done.push(admin.post(&path, &request).await?);
        }
        tell(global, &done)
    }
}

fn tell(global: &Global, done: &[Done]) -> Result<(), Failure> {
    let sentences: Vec<&str> = done.iter().map(|done| done.message.as_str()).collect();
    let message = sentences.join("\n");
    global
        .output()
        .answer(&Done { message }, |done| format!("{}\n", done.message))
}

fn list(gateways: &[GatewayInfo]) -> String {
    if gateways.is_empty() {
        return "there is no gateway yet; `meshctl gateway add NODE --range PREFIX` makes one\n".into();
    }
    let rows: Vec<_> = gateways.iter().map(row).collect();
    let mut text = table::render(&["RANGE", "PRIORITY", "NAT", "STATE", "GATEWAY"], &rows, 24);
    for gateway in gateways {
        text += &more(gateway);
    }
    text
}

fn row(gateway: &GatewayInfo) -> Vec<String> {
    let word = |yes, no, is| if is { yes } else { no };
    vec![
        gateway.published.clone(),
        gateway.priority.to_string(),
        word("yes", "no", gateway.nat).to_owned(),
        word("connected", "away", gateway.connected).to_owned(),
        gateway.node.clone(),
    ]
}

/// What does not fit the table.
fn more(gateway: &GatewayInfo) -> String {
    let what = format!("{} of {}", gateway.published, gateway.node);
    let mut text = String::new();
    if gateway.range != gateway.published {
        text += &format!("{what} is {} behind it\n", gateway.range);
    }
    let tags = gateway.to_tags.iter().map(|tag| format!("tag:{tag}"));
    let users: Vec<String> = gateway.to_nodes.iter().cloned().chain(tags).collect();
    if !users.is_empty() {
        text += &format!("{what} is only for {}\n", users.join(", "));
    }
    if !gateway.names.is_empty() {
        text += &format!("{what} has {}\n", gateway.names.join(", "));
    }
    if let Some(pods) = &gateway.pods {
        text += &format!("{what} is only for pods with {pods}\n");
    }
    text
}

pub(super) fn prefix(text: &str) -> Result<IpNet, String> {
    let net: IpNet = text
        .parse()
        .map_err(|_| "write a prefix such as 192.168.50.0/24".to_owned())?;
    match net == net.trunc() {
        true => Ok(net),
        false => Err(format!("that is a host, not a prefix; write {}", net.trunc())),
    }
}

fn host_name(text: &str) -> Result<HostName, String> {
    text.parse().map_err(|why: &str| why.to_owned())
}

fn selector(text: &str) -> Result<String, String> {
    meshd_core::gateway::parse_selector(text)
        .map(|_| text.trim().to_owned())
        .map_err(|why| why.to_string())
}
