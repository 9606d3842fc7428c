//! `meshctl k8s status`

use std::path::Path;
use std::process::{Command, Stdio};

use clap::Args;
use meshd_api::local::EndpointMemberStatus;
use serde::Serialize;
use serde_json::Value;

use super::made::{self, Made};
use super::{facts, k3s};
use crate::cli::{Global, OfNetwork};
use crate::failure::Failure;
use crate::table;

/// With it a control plane asks for the nodes.
const ADMIN: &str = "/etc/kubernetes/admin.conf";

/// Show what this machine is in the cluster, and how the control planes and the nodes are.
///
/// The nodes are shown on a control plane, where kubectl is installed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  meshctl k8s status --json")]
pub struct Status {
    #[command(flatten)]
    network: OfNetwork,
}

/// What is known.
#[derive(Debug, Serialize)]
struct Answer {
    network: String,
    node: String,
    role: Option<String>,
    done: bool,
    endpoint: Option<String>,
    check: Option<String>,
    control_planes: Vec<EndpointMemberStatus>,
    nodes: Option<Vec<Node>>,
}

/// A node as the cluster sees it.
#[derive(Debug, Serialize)]
struct Node {
    name: String,
    ready: bool,
    address: String,
    version: String,
}

impl Status {
    /// Does it.
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let network = facts::network(global, self.network.name()).await?;
        let ground = facts::ground(&network);
        let endpoint = ground
            .as_ref()
            .and_then(|ground| facts::endpoint(&network, ground));
        let made: Option<Made> = made::read();
        let answer = Answer {
            network: network.name.clone(),
            node: network.hostname.clone(),
            role: made.as_ref().map(|made| made.role.clone()),
            done: made.is_some_and(|made| made.done),
            endpoint: endpoint
                .and(ground.as_ref())
                .map(|ground| ground.endpoint().to_string()),
            check: endpoint.map(|endpoint| endpoint.check.clone()),
            control_planes: endpoint
                .map(|endpoint| endpoint.members.clone())
                .unwrap_or_default(),
            nodes: nodes(),
        };
        global.output().answer(&answer, text)
    }
}

/// None where they cannot be asked for.
fn nodes() -> Option<Vec<Node>> {
    let (mut kubectl, admin) = match k3s::is_here() {
        true => (Command::new("k3s"), k3s::ADMIN),
        false => (Command::new("kubectl"), ADMIN),
    };
    if k3s::is_here() {
        kubectl.arg("kubectl");
    }
    if !Path::new(admin).exists() {
        return None;
    }
    let asked = kubectl
        .args([
            "--kubeconfig",
            admin,
            "--request-timeout=5s",
            "get",
            "nodes",
            "-o",
            "json",
        ])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let list: Value = serde_json::from_slice(&asked.stdout).ok()?;
    Some(list["items"].as_array()?.iter().map(node).collect())
}

fn node(object: &Value) -> Node {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |list: &Value, kind: &str| -> Value {
        let found = list
            .as_array()
            .into_iter()
            .flatten()
            .find(|one| one["type"] == kind);
        found.cloned().unwrap_or_default()
    };
    let status = &object["status"];
    Node {
        name: text(&object["metadata"]["name"]),
        ready: of(&status["conditions"], "Ready")["status"] == "True",
        address: text(&of(&status["addresses"], "InternalIP")["address"]),
        version: text(&status["nodeInfo"]["kubeletVersion"]),
    }
}

fn text(answer: &Answer) -> String {
    let Answer { network, node, .. } = answer;
    let mut text = match (&answer.role, answer.done) {
        (Some(role), true) => format!("{node} is a {role} of the cluster in \"{network}\"\n"),
        (Some(role), false) => format!(
            "{node} was to become a {role} of the cluster in \"{network}\", and that was interrupted: run the same command again\n"
        ),
        (None, _) => format!("{node} is in no cluster that meshctl made\n"),
    };
    match (&answer.endpoint, &answer.check) {
        (Some(endpoint), Some(check)) => {
            text += &format!("API servers are at {endpoint}, checked by {check}:\n")
        }
        _ => text += "nothing leads to API servers in this network\n",
    }
    let rows = answer.control_planes.iter();
    let rows: Vec<Vec<String>> = rows
        .map(|member| vec![format!("{}:{}", member.node, member.port), member.health.clone()])
        .collect();
    if !rows.is_empty() {
        text += &table::render(&["CONTROL PLANE", "HEALTH"], &rows, 40);
    }
    if let Some(nodes) = &answer.nodes {
        let state = |node: &Node| if node.ready { "ready" } else { "not ready" }.to_owned();
        let rows: Vec<Vec<String>> = nodes
            .iter()
            .map(|node| {
                vec![
                    node.name.clone(),
                    state(node),
                    node.address.clone(),
                    node.version.clone(),
                ]
            })
            .collect();
        text += "\n";
        text += &table::render(&["NODE", "STATE", "ADDRESS", "VERSION"], &rows, 30);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_is_read_as_the_cluster_tells_it() {
        let object = json!({
            "metadata": {"name": "w1"},
            "status": {
                "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "10.77.0.3"}, {"type": "Hostname", "address": "w1"}],
                "nodeInfo": {"kubeletVersion": "v1.36.3"},
            },
        });
        let node = node(&object);
        assert_eq!((node.name.as_str(), node.ready), ("w1", true));
        assert_eq!(
            (node.address.as_str(), node.version.as_str()),
            ("10.77.0.3", "v1.36.3")
        );
    }

    #[test]
    fn an_interrupted_machine_says_what_to_do() {
        let answer = Answer {
            network: "prod".into(),
            node: "w1".into(),
            role: Some("worker".into()),
            done: false,
            endpoint: None,
            check: None,
            control_planes: Vec::new(),
            nodes: None,
        };
        let text = text(&answer);
        assert!(
            text.contains("run the same command again") && text.contains("nothing leads"),
            "{text}"
        );
    }
}
