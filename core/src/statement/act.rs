//! An admin act: what the root did to a node, a name or a token.

mod host_name;
mod wire;

pub use host_name::{HostName, MAX_NAMES};

use ipnet::IpNet;

use super::Statement;
use super::endpoint::EndpointTerms;
use super::expose::ExposeTerms;
use super::grant::Grant;
use super::ingress::IngressTerms;
use super::pods::{PodPrefixes, PodTerms, whole};
use super::text::{self, MAX_LABEL, MAX_TEXT};
use crate::id::{NetworkId, NodeId, TokenId};
use crate::keys::{RootPublic, RootSecret};

/// Something that an admin did, signed by the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// The network.
    pub network: NetworkId,
    /// Counts root-signed statements; of two acts on one thing the higher serial is in force.
    pub serial: u64,
    /// What was done.
    pub deed: Deed,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Kind 1: the node is out, for good.
    Remove {
        /// The node.
        node: NodeId,
        /// The name that nobody else may take for a while.
        name: Option<String>,
        /// Until when (unix time in s).
        blocked_until: Option<u64>,
    },
    /// Kind 2: the node, which waited for it, is in.
    Approve {
        /// The node.
        node: NodeId,
    },
    /// Kind 3: the node is called otherwise than it says.
    Rename {
        /// The node.
        node: NodeId,
        /// The new name: a DNS label.
        name: String,
    },
    /// Kind 4: a name blocked by a removal may be taken again.
    FreeName {
        /// The name.
        name: String,
    },
    /// Kind 5: the token admits nobody any more. The coordinator judges; nodes that came by it stay.
    RevokeToken {
        /// The token.
        token: TokenId,
    },
    /// Kind 6: the token admits nobody, and who came by it is out, for good.
    RevokeTokenAndNodes {
        /// The token.
        token: TokenId,
    },
    /// Kind 7: the node is an egress gateway for a range behind it. A later one about the same range changes it.
    Gateway {
        /// The node.
        node: NodeId,
        /// What it makes reachable, and for whom.
        terms: GatewayTerms,
    },
    /// Kind 8: the node is a gateway for this range no longer.
    WithdrawGateway {
        /// The node.
        node: NodeId,
        /// The range behind it.
        range: IpNet,
    },
    /// Kind 20, or 21 where it ends: the node relays packets between other nodes of its network.
    Relay {
        /// The node.
        node: NodeId,
        /// Whether from now on it does.
        on: bool,
    },
    /// Kind 9: the prefixes of the network's pods and services. A later one changes them.
    PodNetwork {
        /// The prefixes.
        terms: PodTerms,
    },
    /// Kind 10: a node's part of the pods' prefixes.
    PodPrefixes {
        /// The node.
        node: NodeId,
        /// Its part.
        prefixes: PodPrefixes,
    },
    /// Kind 11, or 12 where it ends: routes of other programs inside a prefix may lead through certain nodes.
    Grant {
        /// The prefix, and the nodes.
        grant: Grant,
        /// Whether from now on they may.
        on: bool,
    },
    /// Kind 13: an address that every node holds, and the nodes behind it. A later one of the same name changes it.
    Endpoint {
        /// Its name: a DNS label.
        name: String,
        /// Where it is, and who is behind it.
        terms: EndpointTerms,
    },
    /// Kind 14: there is no endpoint of this name any more.
    WithdrawEndpoint {
        /// Its name.
        name: String,
    },
    /// Kind 24: a public port of the coordinator's host, and the nodes behind it. A later one of the same name changes it.
    Expose {
        /// Its name: a DNS label.
        name: String,
        /// Which port, and who is behind it.
        terms: ExposeTerms,
    },
    /// Kind 25: nothing is exposed under this name any more.
    WithdrawExpose {
        /// Its name.
        name: String,
    },
    /// Kind 26: what nodes may expose by themselves. A later one of the same name changes it.
    Ingress {
        /// Its name: a DNS label.
        name: String,
        /// Who may ask, and for what.
        terms: IngressTerms,
    },
    /// Kind 27: nodes may expose nothing under this name any more.
    WithdrawIngress {
        /// Its name.
        name: String,
    },
    /// Of a newer release; kept in the map, of no effect here.
    Unknown {
        /// Its kind.
        kind: u64,
    },
}

/// Most nodes, and most tags, to which a gateway's reach may be limited.
pub const MAX_REACH: usize = 32;

/// What an egress gateway makes reachable, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayTerms {
    /// The range behind the node.
    pub range: IpNet,
    /// The prefix of the same length under which the network knows the range, where that is not the range itself.
    pub published: Option<IpNet>,
    /// Whether hosts in the range see the gateway's own address instead of the sender's.
    pub nat: bool,
    /// Of several gateways for one range the one with the lowest number is used first.
    pub priority: u32,
    /// The nodes that may use it.
    pub to_nodes: Vec<NodeId>,
    /// The tags whose nodes may use it. Where neither nodes nor tags are named, everybody may.
    pub to_tags: Vec<String>,
    /// Where it is set only pods with these labels may use it, on those nodes: a label selector of Kubernetes, as text.
    pub pods: Option<String>,
    /// Hosts in the range that have names.
    pub names: Vec<HostName>,
}

impl GatewayTerms {
    fn check(&self) -> Result<(), String> {
        let (nodes, tags) = (self.to_nodes.len(), self.to_tags.len());
        if nodes > MAX_REACH || tags > MAX_REACH {
            return Err(format!(
                "the reach names {nodes} nodes and {tags} tags; at most {MAX_REACH} of each are allowed"
            ));
        }
        self.to_tags
            .iter()
            .try_for_each(|tag| text::check("a tag", tag, MAX_LABEL))?;
        text::check_some("the label selector", self.pods.as_ref(), MAX_TEXT)?;
        host_name::check_all(&self.names, &self.range)?;
        self.published.iter().chain([&self.range]).try_for_each(whole)
    }
}

impl Statement for Act {
    const LABEL: &'static str = "meshd/act/v1";
    const WHAT: &'static str = "admin act";
    const SIGNER: &'static str = "the network's root";
    type Secret = RootSecret;
    type Public = RootPublic;

    fn check(&self) -> Result<(), String> {
        match &self.deed {
            Deed::Rename { name, .. }
            | Deed::FreeName { name }
            | Deed::WithdrawEndpoint { name }
            | Deed::WithdrawExpose { name }
            | Deed::WithdrawIngress { name } => text::check("the name", name, MAX_TEXT),
            Deed::Expose { name, terms } => terms.check(name),
            Deed::Ingress { name, terms } => terms.check(name),
            Deed::Endpoint { name, terms } => terms.check(name),
            Deed::Remove { name, .. } => text::check_some("the name", name.as_ref(), MAX_TEXT),
            Deed::Gateway { terms, .. } => terms.check(),
            Deed::Approve { .. }
            | Deed::RevokeToken { .. }
            | Deed::RevokeTokenAndNodes { .. }
            | Deed::Relay { .. }
            | Deed::Unknown { .. } => Ok(()),
            Deed::WithdrawGateway { range, .. } => whole(range),
            Deed::PodNetwork { terms } => terms.check(),
            Deed::PodPrefixes { prefixes, .. } => prefixes.check(),
            Deed::Grant { grant, .. } => grant.check(),
        }
    }
}
