//! What a node believes of its network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::{Death, Refusal};
use crate::balance::Endpoint;
use crate::gateway::Gateway;
use crate::id::{NodeId, RelayId, TokenId};
use crate::keys::{DiscoveryPublic, IdentityPublic, WireGuardPublic};
use crate::statement::{Candidate, Grant, IngressTerms, Params, PodPrefixes, PodTerms, Terms};

/// What is believed, and what is not. It holds this node too.
#[derive(Clone, Debug)]
pub struct View {
    /// (epoch, version) of the map that it comes from.
    pub at: (u32, u64),
    /// The network's parameters.
    pub params: Params,
    /// The nodes that are in.
    pub nodes: BTreeMap<NodeId, Arc<Node>>,
    /// The nodes that are out, for good, and why.
    pub removed: BTreeMap<NodeId, Death>,
    /// Gateways that are nodes in the network, and whose range breaks nothing here.
    pub gateways: Vec<Gateway>,
    /// Nodes that are in and that relay packets between others.
    pub relays: BTreeSet<NodeId>,
    /// Prefixes of pods and services.
    pub pods: Option<PodTerms>,
    /// Parts of the pods' prefixes, by node that is in.
    pub parts: BTreeMap<NodeId, PodPrefixes>,
    /// Prefixes inside which routes of other programs through nodes count; none that would break something.
    pub grants: Vec<Grant>,
    /// Endpoints by name; none that would break something. Members may be nodes that are out.
    pub endpoints: Vec<Endpoint>,
    /// What nodes may expose by themselves, by name.
    pub ingress: BTreeMap<String, IngressTerms>,
    /// Names that nobody may take for a while, by name.
    pub blocked_names: BTreeMap<String, BlockedName>,
    /// What is refused, and why.
    pub refusals: Vec<Refusal>,
}

/// A node that is in: approved where its token wants that, its chain good, its addresses its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// What it is called here: its own name, or what an admin renamed it to; unique among the nodes that are in.
    pub name: String,
    /// Its public keys.
    pub keys: NodeKeys,
    /// Its IPv4 address in the network.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address in the network.
    pub ipv6: Ipv6Addr,
    /// Where it may be reached outside the network.
    pub candidates: Vec<Candidate>,
    /// The relay that it is bound to.
    pub home_relay: Option<RelayId>,
    /// How it came in.
    pub membership: Membership,
    /// Serial of its record.
    pub serial: u64,
    /// Its system, e.g. `linux/x86_64`.
    pub system: String,
    /// Its version of meshd.
    pub version: String,
}

/// A node's public keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeKeys {
    /// Signs what it says.
    pub identity: IdentityPublic,
    /// Its tunnels' key.
    pub wireguard: WireGuardPublic,
    /// Seals discovery packets.
    pub discovery: DiscoveryPublic,
}

/// How a node came in, as the root delegated it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The token.
    pub token: TokenId,
    /// Tags, ephemeral and so on.
    pub terms: Terms,
    /// The UDP port that the token fixes.
    pub listen_port: Option<u16>,
}

/// A name that stays blocked after its node's removal. The coordinator, which has a clock, judges by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockedName {
    /// Whose name it was.
    pub node: NodeId,
    /// Until when (unix time in s).
    pub until: u64,
}

impl View {
    /// The node that is in under `name`.
    pub fn named(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.values().find(|node| node.name == name)
    }

    /// The node that is in under an address of the network.
    pub fn at_address(&self, address: IpAddr) -> Option<&Arc<Node>> {
        self.nodes.values().find(|node| match address {
            IpAddr::V4(address) => node.ipv4 == address,
            IpAddr::V6(address) => node.ipv6 == address,
        })
    }

    /// What is refused about `node`.
    pub fn refusals_of(&self, node: NodeId) -> impl Iterator<Item = &Refusal> {
        self.refusals
            .iter()
            .filter(move |refusal| refusal.node == Some(node))
    }
}
