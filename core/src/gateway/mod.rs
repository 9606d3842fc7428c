//! Egress gateways: ranges behind a node that the network reaches through it.
//!
//! An admin says so by a signed act ([`GatewayTerms`]); a node believes no coordinator in this. From all acts follows what
//! one node does:
//!
//! 1. [`check`] refuses ranges that would break something, each in its own sentence: at the admin, at the coordinator and
//!    again at every node;
//! 2. [`Duties::of`] sorts what is believed: ranges that this node reaches through others ([`Range`]), and ranges
//!    for which it is the gateway itself ([`Service`]);
//! 3. what of these meets the node's own LAN is the LAN's ([`crate::ranges::lan_wins`]);
//! 4. of several gateways for one range each node uses the first that is well, as it sees it itself ([`Choices`],
//!    [`probe`]);
//! 5. [`hosts()`] gives names to hosts behind them.

mod choice;
mod duties;
mod hosts;
mod pods;
pub mod probe;
mod range;

pub use choice::Choices;

pub use duties::{Duties, Member, PodLimit, Range, Service};
pub use hosts::hosts;
pub use pods::{MAX_SELECTOR, SelectorError, parse_selector};
pub use range::{Published, RangeError, apart_from_pods, check, routable};

use ipnet::IpNet;

use crate::id::NodeId;
use crate::statement::GatewayTerms;

/// Priority of a gateway where none is given.
pub const DEFAULT_PRIORITY: u32 = 10;

/// A gateway that an admin made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// The node.
    pub node: NodeId,
    /// What it makes reachable, and for whom.
    pub terms: GatewayTerms,
}

impl Gateway {
    /// The prefix under which the network knows its range.
    pub fn published(&self) -> IpNet {
        self.terms.published.unwrap_or(self.terms.range)
    }

    /// Whether it is an exit node: a way to everything.
    pub fn is_exit(&self) -> bool {
        self.terms.range.prefix_len() == 0
    }

    /// Whether a node with these tags may use it. The gateway itself never goes through another.
    pub fn serves(&self, node: NodeId, tags: &[String]) -> bool {
        let GatewayTerms {
            to_nodes, to_tags, ..
        } = &self.terms;
        let everybody = to_nodes.is_empty() && to_tags.is_empty();
        node != self.node
            && (everybody || to_nodes.contains(&node) || to_tags.iter().any(|tag| tags.contains(tag)))
    }
}
