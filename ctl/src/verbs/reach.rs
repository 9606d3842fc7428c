//! Nodes and tags, as options name them: `db1,tag:office`.

use meshd_api::coordinator::admin::NodeInfo;
use meshd_core::id::NodeId;

use crate::admin::Admin;
use crate::cli::label;
use crate::failure::Failure;

/// A node, or all nodes with a tag.
#[derive(Debug, Clone)]
pub enum Named {
    /// A node's name or id.
    Node(String),
    /// A tag.
    Tag(String),
}

/// One of them.
pub fn named(text: &str) -> Result<Named, String> {
    match text.strip_prefix("tag:") {
        Some(tag) if !tag.is_empty() => Ok(Named::Tag(tag.to_owned())),
        Some(_) => Err("write tag:NAME".to_owned()),
        None => label(text).map(Named::Node),
    }
}

/// The ids of the nodes, and the tags.
pub async fn resolve(
    admin: &mut Admin,
    network: &str,
    all: &[Named],
) -> Result<(Vec<NodeId>, Vec<String>), Failure> {
    let (mut nodes, mut tags) = (Vec::new(), Vec::new());
    for one in all {
        match one {
            Named::Node(name) => nodes.push(node(admin, network, name).await?),
            Named::Tag(tag) => tags.push(tag.clone()),
        }
    }
    Ok((nodes, tags))
}

/// The id of a node.
pub async fn node(admin: &mut Admin, network: &str, name: &str) -> Result<NodeId, Failure> {
    let node: NodeInfo = admin.get(&format!("networks/{network}/nodes/{name}")).await?;
    let id = node.id.parse();
    id.map_err(|e| Failure::failed(format!("the coordinator's answer is odd: {e}")))
}
