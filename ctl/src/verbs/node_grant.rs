//! `meshctl node grant|revoke-grant`

use clap::Args;
use ipnet::IpNet;
use meshd_api::coordinator::admin::{Done, GrantSet, NodeInfo};
use meshd_core::id::NodeId;
use meshd_core::statement::{Deed, Grant, Grantee};

use super::gateway::prefix;
use crate::admin::{self, Admin};
use crate::cli::{Global, label};
use crate::failure::Failure;

/// Let routes of other programs (a CNI plugin, a routing daemon) lead through nodes.
///
/// A route on a node's mesh interface whose next hop is the mesh address of such a node counts as far as it lies inside these
/// prefixes. Several nodes may have one prefix: each node's own routes say what goes where.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl node grant w1 --routes 10.244.0.0/16
  meshctl node grant tag:worker --routes 10.244.0.0/16   nodes of later joins too
  meshctl node grant --all --routes 10.244.0.0/16 --routes fd44::/56
  meshctl node revoke-grant w1 --routes 10.244.0.0/16")]
pub struct GrantArguments {
    /// The node: its name or id; or tag:NAME for all nodes with a tag
    #[arg(value_name = "NODE|tag:NAME", value_parser = whom, required_unless_present = "all", conflicts_with = "all")]
    to: Option<Whom>,
    /// Every node of the network
    #[arg(long)]
    all: bool,
    /// A prefix; may be given several times
    #[arg(long = "routes", value_name = "PREFIX", value_parser = prefix, required = true)]
    prefixes: Vec<IpNet>,
    /// The network [default: the only one]
    #[arg(long, value_name = "NAME", value_parser = label)]
    network: Option<String>,
}

/// Who is meant.
#[derive(Debug, Clone)]
pub enum Whom {
    /// A node, by name or id.
    Node(String),
    /// Nodes with a tag.
    Tag(String),
}

impl GrantArguments {
    /// Does it; `on`: grants, else takes back.
    pub async fn run(self, global: &Global, on: bool) -> Result<(), Failure> {
        let mut admin = Admin::connect(global).await?;
        let mut sentences = Vec::new();
        for prefix in &self.prefixes {
            sentences.push(self.set(&mut admin, *prefix, on).await?.message);
        }
        let message = sentences.join("\n");
        global
            .output()
            .answer(&Done { message }, |done| format!("{}\n", done.message))
    }

    async fn set(&self, admin: &mut Admin, prefix: IpNet, on: bool) -> Result<Done, Failure> {
        let network = admin.network(self.network.as_deref()).await?;
        let to = match &self.to {
            None => Grantee::Everybody,
            Some(Whom::Tag(tag)) => Grantee::Tag(tag.clone()),
            Some(Whom::Node(name)) => {
                let path = format!("networks/{}/nodes/{name}", network.name);
                let node: NodeInfo = admin.get(&path).await?;
                let id: Result<NodeId, _> = node.id.parse();
                Grantee::Node(
                    id.map_err(|e| Failure::failed(format!("the coordinator's answer is odd: {e}")))?,
                )
            }
        };
        let path = format!("networks/{}/grants", network.name);
        let (done, ()): (Done, ()) = admin
            .post_signed(&network, &path, |key, network| {
                let grant = Grant {
                    to: to.clone(),
                    prefix,
                };
                let deed = Deed::Grant { grant, on };
                let statement = key.map(|key| admin::act(key, network, deed)).transpose()?;
                Ok((wanted(&to, prefix, on, statement), ()))
            })
            .await?;
        Ok(done)
    }
}

fn wanted(to: &Grantee, prefix: IpNet, on: bool, statement: Option<meshd_api::Base64Bytes>) -> GrantSet {
    let (node, tag) = match to {
        Grantee::Everybody => (None, None),
        Grantee::Tag(tag) => (None, Some(tag.clone())),
        Grantee::Node(node) => (Some(node.to_string()), None),
    };
    GrantSet {
        node,
        tag,
        prefix: prefix.to_string(),
        on,
        statement,
    }
}

fn whom(text: &str) -> Result<Whom, String> {
    match text.strip_prefix("tag:") {
        Some(tag) if !tag.is_empty() => Ok(Whom::Tag(tag.to_owned())),
        Some(_) => Err("write tag:NAME".to_owned()),
        None => label(text).map(Whom::Node),
    }
}
