//! Whose routes of other programs count, as the network's root signs it.

use ipnet::IpNet;

use super::pods::whole;
use super::text::{self, MAX_LABEL};
use crate::id::NodeId;

/// Routes of other programs whose next hop is such a node count inside this prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// The nodes.
    pub to: Grantee,
    /// The prefix, without host bits.
    pub prefix: IpNet,
}

/// To whom a prefix is granted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grantee {
    /// Every node of the network.
    Everybody,
    /// The nodes with this tag, those that join later too.
    Tag(String),
    /// One node.
    Node(NodeId),
}

impl Grant {
    /// Whether a node with these tags is meant.
    pub fn is_to(&self, node: NodeId, tags: &[String]) -> bool {
        match &self.to {
            Grantee::Everybody => true,
            Grantee::Tag(tag) => tags.contains(tag),
            Grantee::Node(named) => *named == node,
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if let Grantee::Tag(tag) = &self.to {
            text::check("a tag", tag, MAX_LABEL)?;
        }
        whole(&self.prefix)
    }
}
