//! Nodes with a port, as options name them: `cp1:6443`.

use meshd_core::id::NodeId;
use meshd_core::names::is_label;
use meshd_core::statement::Member;

use crate::admin::Admin;
use crate::failure::Failure;
use crate::verbs::reach::node;

/// A node and a port of it.
#[derive(Debug, Clone)]
pub struct Place {
    /// The node's name or id.
    pub node: String,
    /// The port on its mesh address.
    pub port: u16,
}

/// One of them.
pub fn place(text: &str) -> Result<Place, String> {
    let odd = || "write a node and a port, as cp1:6443".to_owned();
    let (node, port) = text.rsplit_once(':').ok_or_else(odd)?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(odd)?;
    let is_id = node.parse::<NodeId>().is_ok();
    match is_id || is_label(node) {
        true => Ok(Place {
            node: node.to_owned(),
            port,
        }),
        false => Err(odd()),
    }
}

/// The same with the nodes' ids.
pub async fn members(admin: &mut Admin, network: &str, to: &[Place]) -> Result<Vec<Member>, Failure> {
    let mut members = Vec::new();
    for place in to {
        let (node, port) = (node(admin, network, &place.node).await?, place.port);
        members.push(Member { node, port });
    }
    Ok(members)
}
