//! What Netmaker's API says, as far as it is of use.

use serde_json::Value;

use super::{ImportError, MAX_EXPORT};

/// The export.
#[derive(Debug)]
pub struct Export {
    pub networks: Vec<Network>,
    pub hosts: Vec<Host>,
    pub nodes: Vec<Node>,
    pub egress: Vec<Egress>,
}

/// A network.
#[derive(Debug)]
pub struct Network {
    pub name: String,
    pub range: String,
    pub range6: String,
}

/// A machine: what is its own in every network.
#[derive(Debug)]
pub struct Host {
    pub id: String,
    pub name: String,
}

/// A machine in one network.
#[derive(Debug)]
pub struct Node {
    pub id: String,
    pub host: String,
    pub network: String,
    pub address: String,
    pub address6: String,
    /// A client with a configuration of WireGuard, or a person's: nothing of ours runs there.
    pub client: bool,
    pub leaving: bool,
    /// Ranges behind it, in servers before 1.0.
    pub ranges: Vec<Range>,
}

/// A range behind a node, as older servers have it.
#[derive(Debug)]
pub struct Range {
    pub range: String,
    pub metric: u64,
    pub nat: bool,
}

/// A range behind nodes, as newer servers have it.
#[derive(Debug)]
pub struct Egress {
    pub name: String,
    pub network: String,
    /// Ids of nodes, each with its metric.
    pub nodes: Vec<(String, u64)>,
    pub by_tag: bool,
    pub range: String,
    /// Under which the network knows it, where that is translated.
    pub published: String,
    pub nat: bool,
    pub on: bool,
}

pub fn read(bytes: &[u8]) -> Result<Export, ImportError> {
    if bytes.len() > MAX_EXPORT {
        return Err(ImportError::Unreadable(format!("more than {MAX_EXPORT} bytes")));
    }
    let export: Value =
        serde_json::from_slice(bytes).map_err(|error| ImportError::Unreadable(error.to_string()))?;
    if !export.is_object() {
        return Err(ImportError::Unreadable("it is something else".into()));
    }
    let needed = |name: &'static str| list(&export[name]).ok_or(ImportError::Missing(name));
    let egress = list(&export["egress"]).unwrap_or_default();
    Ok(Export {
        networks: needed("networks")?.iter().map(network).collect(),
        hosts: needed("hosts")?.iter().map(host).collect(),
        nodes: needed("nodes")?.iter().map(node).collect(),
        egress: egress.iter().map(self::egress).collect(),
    })
}

/// A list, wrapped or not.
fn list(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(list) => Some(list),
        Value::Object(wrapped) => match wrapped.get("Response") {
            Some(Value::Array(list)) => Some(list),
            Some(Value::Null) => Some(&[]),
            _ => None,
        },
        _ => None,
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn yes(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| value == "yes")
}

fn network(value: &Value) -> Network {
    Network {
        name: text(&value["netid"]),
        range: text(&value["addressrange"]),
        range6: text(&value["addressrange6"]),
    }
}

fn host(value: &Value) -> Host {
    Host {
        id: text(&value["id"]),
        name: text(&value["name"]),
    }
}

fn node(value: &Value) -> Node {
    Node {
        id: text(&value["id"]),
        host: text(&value["hostid"]),
        network: text(&value["network"]),
        address: text(&value["address"]),
        address6: text(&value["address6"]),
        client: yes(&value["is_static"]) || yes(&value["is_user_node"]),
        leaving: yes(&value["pendingdelete"]),
        ranges: if yes(&value["isegressgateway"]) {
            ranges(value)
        } else {
            Vec::new()
        },
    }
}

/// With their metrics where the server tells them.
fn ranges(node: &Value) -> Vec<Range> {
    let nat = yes(&node["egressgatewaynatenabled"]);
    let with_metric = node["egressgatewayranges_with_metric"].as_array();
    let with_metric = with_metric.into_iter().flatten().map(|value| Range {
        range: text(&value["network"]),
        metric: value["route_metric"].as_u64().unwrap_or(0),
        nat,
    });
    let known: Vec<Range> = with_metric.filter(|range| !range.range.is_empty()).collect();
    let plain = node["egressgatewayranges"].as_array().into_iter().flatten();
    let more = plain
        .map(text)
        .filter(|range| known.iter().all(|one| one.range != *range));
    let more: Vec<Range> = more
        .map(|range| Range {
            range,
            metric: 0,
            nat,
        })
        .collect();
    known.into_iter().chain(more).collect()
}

fn egress(value: &Value) -> Egress {
    let nodes = value["nodes"].as_object().into_iter().flatten();
    let is_virtual = value["mode"] == "virtual_nat";
    Egress {
        name: text(&value["name"]),
        network: text(&value["network"]),
        nodes: nodes
            .map(|(id, metric)| (id.clone(), metric.as_u64().unwrap_or(0)))
            .collect(),
        by_tag: value["tags"].as_object().is_some_and(|tags| !tags.is_empty()),
        range: text(&value["range"]),
        published: if is_virtual {
            text(&value["virtual_range"])
        } else {
            String::new()
        },
        nat: yes(&value["nat"]),
        on: value["status"].as_bool().unwrap_or(true),
    }
}
