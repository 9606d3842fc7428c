//! `meshctl node list|show|rename|approve|remove|replace|set-relay|grant|revoke-grant`

use clap::{Args, Subcommand};
use meshd_api::coordinator::admin::{Done, NetworkInfo, NodeAct, NodeInfo, NodeRelay};
use meshd_core::id::NodeId;
use meshd_core::statement::Deed;

use super::node_drain::DrainArguments;
use super::node_grant::GrantArguments;
use super::token;
use crate::admin::{self, Admin, AdminKey};
use crate::cli::{Global, OfNetwork, label};
use crate::failure::Failure;
use crate::{table, units};

/// For how long nobody else may take a removed node's name.
const NAME_BLOCKED: u64 = 30 * 86_400;

/// Nodes.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  meshctl node list")]
#[allow(missing_docs, reason = "a doc comment here would replace the verb's own help")]
pub enum Node {
    List(List),
    /// Show one node
    Show(One),
    Rename(Rename),
    /// Let a node in that waits for approval
    Approve(One),
    Remove(Remove),
    /// Print a token with which a rebuilt machine takes over a node's name, address and tags
    Replace(One),
    SetRelay(SetRelay),
    Grant(GrantArguments),
    /// Routes of other programs lead through these nodes no longer
    RevokeGrant(GrantArguments),
}

/// List the nodes.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl node list --network prod")]
pub struct List {
    #[command(flatten)]
    network: OfNetwork,
}

/// One node.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl node show db1
  meshctl node approve db1
  meshctl node replace db1    the old key is dead when the new one joins")]
pub struct One {
    /// Its name or id
    #[arg(value_parser = label)]
    node: String,
    #[command(flatten)]
    network: OfNetwork,
}

/// Put a node out for good.
///
/// Its name is blocked for 30 days. With --drain the cluster that it is in loses it in order: no new pods, then none, then neither
/// its network nor its object there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl node remove db1
  meshctl node remove w2 --drain --kubeconfig ~/.kube/config")]
pub struct Remove {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    drain: DrainArguments,
}

/// Give a node another name.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl node rename db1 db-old")]
pub struct Rename {
    /// Its name or id
    #[arg(value_parser = label)]
    node: String,
    /// Its new name
    #[arg(value_name = "NAME", value_parser = label)]
    name: String,
    #[command(flatten)]
    network: OfNetwork,
}

/// Have a node relay packets between other nodes of its network.
///
/// It serves the nodes that reach it directly, on its WireGuard port; a pair that has no direct path uses it where it is
/// quicker than the other relays, or where those are dead.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  meshctl node set-relay nas1
  meshctl node set-relay nas1 --off")]
pub struct SetRelay {
    /// Its name or id
    #[arg(value_parser = label)]
    node: String,
    /// From now on it does not
    #[arg(long)]
    off: bool,
    /// The network [default: the only one]
    #[arg(long, value_name = "NAME", value_parser = label)]
    network: Option<String>,
}

impl Node {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        match self {
            Self::List(verb) => {
                let mut admin = Admin::connect(global).await?;
                let network = admin.network(verb.network.name()).await?;
                let nodes: Vec<NodeInfo> = admin.get(&format!("networks/{}/nodes", network.name)).await?;
                global.output().answer(&nodes, |nodes| list(nodes))
            }
            Self::Show(one) => {
                let found = Found::find(global, one.network.name(), &one.node).await?;
                global.output().answer(&found.node, show)
            }
            Self::Rename(Rename { node, name, network }) => {
                let found = Found::find(global, network.name(), &node).await?;
                let deed = |node, _: &NodeInfo| Deed::Rename {
                    node,
                    name: name.clone(),
                };
                found.act(global, "rename", Some(name.clone()), deed).await
            }
            Self::Approve(one) => {
                let found = Found::find(global, one.network.name(), &one.node).await?;
                found
                    .act(global, "approve", None, |node, _| Deed::Approve { node })
                    .await
            }
            Self::Remove(Remove { one, drain }) => {
                let found = Found::find(global, one.network.name(), &one.node).await?;
                let name = found.node.name.clone();
                let cluster = drain.cluster()?;
                let drained = cluster.as_ref().map(|cluster| cluster.drain(&name)).transpose()?;
                let mut done = found.done("remove", None, remove).await?;
                if let Some(cluster) = &cluster {
                    done.message += &cluster.forget(&name, drained.unwrap_or_default())?;
                }
                global
                    .output()
                    .answer(&done, |done| format!("{}\n", done.message))
            }
            Self::SetRelay(SetRelay { node, off, network }) => {
                let found = Found::find(global, network.as_deref(), &node).await?;
                found.set_relay(global, !off).await
            }
            Self::Grant(verb) => verb.run(global, true).await,
            Self::RevokeGrant(verb) => verb.run(global, false).await,
            Self::Replace(one) => {
                let mut found = Found::find(global, one.network.name(), &one.node).await?;
                let path = found.path("replace");
                let created =
                    token::replacement(&mut found.admin, &found.network, &found.node, &path).await?;
                token::tell(global, &found.network, &created)
            }
        }
    }
}

fn remove(node: NodeId, info: &NodeInfo) -> Deed {
    let blocked_until = Some(token::unix_now().saturating_add(NAME_BLOCKED));
    Deed::Remove {
        node,
        name: Some(info.name.clone()),
        blocked_until,
    }
}

/// A node and the connection by which it was found.
struct Found {
    admin: Admin,
    network: NetworkInfo,
    node: NodeInfo,
}

impl Found {
    async fn find(global: &Global, network: Option<&str>, node: &str) -> Result<Self, Failure> {
        let mut admin = Admin::connect(global).await?;
        let network = admin.network(network).await?;
        let node: NodeInfo = admin
            .get(&format!("networks/{}/nodes/{node}", network.name))
            .await?;
        Ok(Self { admin, network, node })
    }

    fn id(&self) -> Result<NodeId, Failure> {
        self.node
            .id
            .parse()
            .map_err(|e| Failure::failed(format!("the coordinator's answer is odd: {e}")))
    }

    /// By id: a name may be another node's a moment later.
    fn path(&self, verb: &str) -> String {
        format!("networks/{}/nodes/{}/{verb}", self.network.name, self.node.id)
    }

    async fn set_relay(mut self, global: &Global, on: bool) -> Result<(), Failure> {
        let (node, path) = (self.id()?, self.path("relay"));
        let make = |key: Option<&AdminKey>, network: &NetworkInfo| {
            let statement = key
                .map(|key| admin::act(key, network, Deed::Relay { node, on }))
                .transpose()?;
            Ok((NodeRelay { on, statement }, ()))
        };
        let (done, ()): (Done, ()) = self.admin.post_signed(&self.network, &path, make).await?;
        global
            .output()
            .answer(&done, |done| format!("{}\n", done.message))
    }

    async fn act(
        self,
        global: &Global,
        verb: &str,
        name: Option<String>,
        deed: impl Fn(NodeId, &NodeInfo) -> Deed,
    ) -> Result<(), Failure> {
        let done = self.done(verb, name, deed).await?;
        global
            .output()
            .answer(&done, |done| format!("{}\n", done.message))
    }

    async fn done(
        mut self,
        verb: &str,
        name: Option<String>,
        deed: impl Fn(NodeId, &NodeInfo) -> Deed,
    ) -> Result<Done, Failure> {
        let (id, path) = (self.id()?, self.path(verb));
        let node = &self.node;
        let make = |key: Option<&AdminKey>, network: &NetworkInfo| {
            let statement = key
                .map(|key| admin::act(key, network, deed(id, node)))
                .transpose()?;
            let name = name.clone();
            Ok((NodeAct { name, statement }, ()))
        };
        let (done, ()) = self.admin.post_signed(&self.network, &path, make).await?;
        Ok(done)
    }
}

fn list(nodes: &[NodeInfo]) -> String {
    if nodes.is_empty() {
        return "no node is in yet; make a token with `meshctl token create` and join with `meshctl join`\n"
            .into();
    }
    let row = |node: &NodeInfo| {
        let seen = match (node.connected, node.last_seen) {
            (true, _) => "connected".to_owned(),
            (false, Some(seconds)) => format!("{} ago", units::seconds(seconds)),
            (false, None) => "unknown".to_owned(),
        };
        let state = if node.moved {
            format!("{}, moved", node.state)
        } else {
            node.state.clone()
        };
        vec![
            node.name.clone(),
            node.ipv4.to_string(),
            state,
            seen,
            node.version.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = nodes.iter().map(row).collect();
    table::render(&["NAME", "IPV4", "STATE", "SEEN", "VERSION"], &rows, 24)
}

fn show(node: &NodeInfo) -> String {
    let seen = match (node.connected, node.last_seen) {
        (true, _) => "connected now".to_owned(),
        (false, Some(seconds)) => format!("{} ago", units::seconds(seconds)),
        (false, None) => "unknown: not since the coordinator started".to_owned(),
    };
    let moved = if node.moved {
        "its machine is not the one that it joined on"
    } else {
        ""
    };
    let mut text = table::fields(&[
        ("name", node.name.clone()),
        ("id", node.id.clone()),
        ("state", node.state.clone()),
        ("ipv4", node.ipv4.to_string()),
        ("ipv6", node.ipv6.to_string()),
        ("seen", seen),
        ("moved", moved.to_owned()),
        ("relay", if node.relay { "yes" } else { "" }.to_owned()),
        ("public key", node.public_key.clone().unwrap_or_default()),
        ("tags", node.tags.join(" ")),
        ("granted", node.granted.join(" ")),
        ("came by", format!("token {}", node.token)),
        ("system", node.system.clone().unwrap_or_default()),
        ("version", node.version.clone().unwrap_or_default()),
    ]);
    for candidate in &node.candidates {
        text += &format!("candidate:   {candidate}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeInfo {
        NodeInfo {
            name: name.into(),
            id: "0a".repeat(16),
            state: "active".into(),
            ipv4: [10, 77, 0, 2].into(),
            ipv6: "fd00::2".parse().unwrap(),
            public_key: Some("x".repeat(44)),
            tags: vec!["worker".into()],
            token: "0011223344556677".into(),
            connected: true,
            last_seen: Some(0),
            candidates: vec!["host 192.0.2.1:51820".into()],
            system: Some("linux/x86_64".into()),
            version: Some("0.1.0".into()),
            moved: false,
            relay: false,
            pods: Vec::new(),
            granted: vec!["10.244.0.0/16".into()],
            pods_told: Vec::new(),
        }
    }

    #[test]
    fn nodes_fit_eighty_columns_whatever_their_names() {
        let mut away = node(&"n".repeat(63));
        (away.connected, away.last_seen, away.moved) = (false, Some(90_000), true);
        away.ipv4 = "100.100.100.200".parse().unwrap();
        let text = list(&[node("web"), away.clone()]);
        assert_eq!(
            text,
            format!(
                "NAME  IPV4             STATE          SEEN       VERSION\n\
                 web   10.77.0.2        active         connected  0.1.0\n\
                 {}\n      \
                 100.100.100.200  active, moved  1 d ago    0.1.0\n",
                "n".repeat(63)
            )
        );
        for text in [text, show(&away)] {
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        }
    }
}
