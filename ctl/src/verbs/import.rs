//! `meshctl import netmaker`

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use meshd_api::coordinator::admin::{GatewayInfo, NetworkInfo, NodeInfo, TokenCreate, TokenInfo};
use meshd_core::netmaker::{MAX_EXPORT, Plan, PlannedGateway, plan};
use serde::Serialize;

use super::{gateway, network, token};
use crate::admin::Admin;
use crate::cli::{Global, label};
use crate::failure::Failure;
use crate::table::{self, wrap};
use crate::units;

/// Networks of other programs.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  meshctl import netmaker netmaker.json --dry-run")]
#[allow(missing_docs, reason = "a doc comment here would replace the verb's own help")]
pub enum Import {
    Netmaker(Netmaker),
}

/// Make a network of one of Netmaker's, with its names, addresses and ranges.
///
/// FILE is what Netmaker's API says of it (docs/from-netmaker.md has the commands). A token is made for each machine, which
/// fixes its name and address; ranges are given to machines that have joined, so run it again when they have. Run again it
/// makes nothing twice; machines that are not in yet get new tokens, and their old ones end.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl import netmaker netmaker.json --dry-run   show what would be made
  meshctl import netmaker netmaker.json
  meshctl import netmaker netmaker.json --network home --as prod")]
pub struct Netmaker {
    /// The export; `-` reads it from stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The network there [default: the only one]
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// What it is called here [default: as there]
    #[arg(long = "as", value_name = "NAME", value_parser = label)]
    new_name: Option<String>,
    /// Show what would be made; make nothing
    #[arg(long)]
    dry_run: bool,
    /// For how long the tokens are good
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration, default_value = "7d")]
    expires: Duration,
}

/// What was made, or would be.
#[derive(Debug, Serialize)]
struct Answer {
    network: String,
    cidr: String,
    cidr6: Option<String>,
    nodes: Vec<Machine>,
    gateways: Vec<Behind>,
    notes: Vec<String>,
    #[serde(skip)]
    dry: bool,
}

#[derive(Debug, Serialize)]
struct Machine {
    name: String,
    ipv4: Option<Ipv4Addr>,
    /// `planned`, `joined`, `address-differs` or `token`.
    state: &'static str,
    token: Option<String>,
}

#[derive(Debug, Serialize)]
struct Behind {
    #[serde(flatten)]
    planned: PlannedGateway,
    /// `planned`, `added`, `there` or `waits`.
    state: &'static str,
}

impl Import {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let Self::Netmaker(verb) = self;
        verb.run(global).await
    }
}

impl Netmaker {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let export = read(&self.file)?;
        let planned = plan(&export, self.network.as_deref());
        let mut plan = planned.map_err(|error| Failure::usage(error.to_string()))?;
        if let Some(name) = &self.new_name {
            plan.network.clone_from(name);
        }
        let answer = match self.dry_run {
            true => shown(plan),
            false => self.made(global, plan).await?,
        };
        global.output().answer(&answer, text)
    }

    async fn made(&self, global: &Global, plan: Plan) -> Result<Answer, Failure> {
        let network = network_of(global, &plan).await?;
        let mut admin = Admin::connect(global).await?;
        let nodes: Vec<NodeInfo> = admin.get(&format!("networks/{}/nodes", network.name)).await?;
        let nodes = nodes.into_iter().filter(|node| node.state != "removed");
        let nodes: BTreeMap<String, NodeInfo> = nodes.map(|node| (node.name.clone(), node)).collect();
        let mut answer = Answer {
            cidr: network.cidr.clone(),
            cidr6: Some(network.cidr6.clone()),
            ..shown(plan)
        };
        answer.dry = false;
        for machine in &mut answer.nodes {
            self.machine(&mut admin, &network, machine, nodes.get(&machine.name))
                .await?;
        }
        let path = format!("networks/{}/gateways", network.name);
        let there: Vec<GatewayInfo> = admin.get(&path).await?;
        for behind in &mut answer.gateways {
            behind.state = match nodes.contains_key(&behind.planned.node) {
                false => "waits",
                true if there.iter().any(|one| is_there(one, &behind.planned)) => "there",
                true => {
                    let add = gateway::Add::of(&network.name, &behind.planned);
                    add.add(&mut admin, behind.planned.range).await?;
                    "added"
                }
            };
        }
        Ok(answer)
    }

    /// A token for a machine that is not in.
    async fn machine(
        &self,
        admin: &mut Admin,
        network: &NetworkInfo,
        machine: &mut Machine,
        node: Option<&NodeInfo>,
    ) -> Result<(), Failure> {
        if let Some(node) = node {
            let kept = machine.ipv4.is_none_or(|ipv4| ipv4 == node.ipv4);
            machine.state = if kept { "joined" } else { "address-differs" };
            machine.ipv4 = Some(node.ipv4);
            return Ok(());
        }
        let tokens: Vec<TokenInfo> = admin.get(&format!("networks/{}/tokens", network.name)).await?;
        let old = tokens
            .iter()
            .filter(|token| token.state == "valid" && token.hostname.as_deref() == Some(&machine.name));
        for token in old {
            let id = token.id.parse();
            let id = id.map_err(|e| Failure::failed(format!("the coordinator's answer is odd: {e}")))?;
            token::revoke(admin, network, id, false).await?;
        }
        let wanted = TokenCreate {
            uses: Some(1),
            expires_in: Some(self.expires.as_secs()),
            hostname: Some(machine.name.clone()),
            ip: machine.ipv4,
            ..Default::default()
        };
        // the serials of acts go on with each
        let network = admin.network(Some(&network.name)).await?;
        machine.token = token::make(admin, &network, &wanted).await?.token;
        machine.state = "token";
        Ok(())
    }
}

/// The network, made where it is not there.
async fn network_of(global: &Global, plan: &Plan) -> Result<NetworkInfo, Failure> {
    let there: Vec<NetworkInfo> = match Admin::connect(global).await {
        Ok(mut admin) => admin.get("networks").await?,
        // the key file of a network that is still to be made
        Err(_) if global.admin_key_file.as_ref().is_some_and(|file| !file.exists()) => Vec::new(),
        Err(failure) => return Err(failure),
    };
    let Some(network) = there.into_iter().find(|network| network.name == plan.network) else {
        let new = network::Create::of(plan.network.clone(), plan.ipv4, plan.ipv6);
        return new.make(global).await;
    };
    match network.cidr == plan.ipv4.to_string() {
        true => Ok(network),
        false => Err(Failure::failed(format!(
            "there is a network {} already, and its range is {} and not {}: say --as NAME for another name",
            network.name, network.cidr, plan.ipv4
        ))),
    }
}

fn is_there(one: &GatewayInfo, planned: &PlannedGateway) -> bool {
    one.node == planned.node
        && one.range == planned.range.to_string()
        && one.published == planned.published.to_string()
        && one.nat == planned.nat
}

fn shown(plan: Plan) -> Answer {
    let machine = |node: meshd_core::netmaker::PlannedNode| Machine {
        name: node.name,
        ipv4: node.ipv4,
        state: "planned",
        token: None,
    };
    let behind = |planned| Behind {
        planned,
        state: "planned",
    };
    Answer {
        network: plan.network,
        cidr: plan.ipv4.to_string(),
        cidr6: plan.ipv6.map(|ipv6| ipv6.to_string()),
        nodes: plan.nodes.into_iter().map(machine).collect(),
        gateways: plan.gateways.into_iter().map(behind).collect(),
        notes: plan.notes,
        dry: true,
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error| Failure::usage(format!("cannot read {}: {error}", file.display()));
    let source: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(File::open(file).map_err(failed)?),
    };
    let mut bytes = Vec::new();
    // one more, so that what is too long is refused and not cut
    let most = u64::try_from(MAX_EXPORT).unwrap_or(u64::MAX).saturating_add(1);
    source.take(most).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn text(answer: &Answer) -> String {
    let Answer {
        network, cidr, dry, ..
    } = answer;
    let mut text = match dry {
        true => format!("network {network} with {cidr} would be made, and:\n"),
        false => format!("network {network} with {cidr}\n"),
    };
    let any = || "any".to_owned();
    let rows = answer.nodes.iter().map(|node| {
        let ipv4 = node.ipv4.map_or_else(any, |ipv4| ipv4.to_string());
        vec![node.name.clone(), ipv4, node.state.to_owned()]
    });
    text += &table::render(&["NODE", "ADDRESS", "STATE"], &rows.collect::<Vec<_>>(), 40);
    let rows = answer.gateways.iter().map(|Behind { planned, state }| {
        let nat = if planned.nat { "yes" } else { "no" };
        let cells = [
            planned.published.to_string(),
            planned.priority.to_string(),
            nat.to_owned(),
            (*state).to_owned(),
            planned.node.clone(),
        ];
        cells.to_vec()
    });
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        text += &format!(
            "\n{}",
            table::render(&["RANGE", "PRIORITY", "NAT", "STATE", "GATEWAY"], &rows, 24)
        );
    }
    for note in &answer.notes {
        text += &wrap(&format!("! {note}"), 2);
    }
    text + &next(answer)
}

/// What is to be done now.
fn next(answer: &Answer) -> String {
    let mut text = String::new();
    for node in &answer.nodes {
        if let Some(token) = &node.token {
            text += &format!("\non {}:\n  meshctl join {token}\n", node.name);
        }
    }
    if answer.gateways.iter().any(|behind| behind.state == "waits") {
        text += "\nrun this again when the gateways have joined: it gives them their ranges\n";
    }
    text
}
