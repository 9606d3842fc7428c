//! What is not believed, and why, as sentences that name the node and the cause.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Death, EntryKey, Place};
use crate::adopted::GrantError;
use crate::balance::EndpointError;
use crate::gateway::RangeError;
use crate::id::{NodeId, TokenId};
use crate::ipam::TermsError;
use crate::keys::{IdentityPublic, WireGuardPublic};

/// Something in a map that is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The node that it is about.
    pub node: Option<NodeId>,
    /// What that node is called, as far as it is known.
    pub name: Option<String>,
    /// Why.
    pub cause: Cause,
}

/// Why something in a map is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// A statement of another network.
    #[error("refused: it carries a statement of another network")]
    WrongNetwork,
    /// A known kind of entry that cannot be read.
    #[error("entry {key} is refused: {why}")]
    Unreadable {
        /// Its key.
        key: EntryKey,
        /// What is wrong.
        why: String,
    },
    /// Only the root may say such a thing, and it did not.
    #[error("a {0} that the network's root did not sign is refused")]
    NotByRoot(&'static str),
    /// Somebody else signed that the node left.
    #[error("a departure that its identity key did not sign is refused")]
    FalseDeparture,
    /// A departure of a node that nobody here knows, so that it proves nothing.
    #[error("a departure is refused, its node is unknown here")]
    UnprovenDeparture,
    /// The root said something newer about the same thing.
    #[error("an older {what} (serial {got}) is refused; serial {held} is in force")]
    Superseded {
        /// Parameters or delegation.
        what: &'static str,
        /// Its serial.
        got: u64,
        /// The serial in force.
        held: u64,
    },
    /// No delegation of the token that it names.
    #[error("refused, its chain is broken: no delegation by the network's root for token {0}")]
    NoDelegation(TokenId),
    /// The token's holder did not enrol it.
    #[error("refused, its chain is broken: its enrolment is not signed by the join key of token {0}")]
    NotByToken(TokenId),
    /// The record is not the identity's.
    #[error(
        "refused, its chain is broken: its record with WireGuard key {wireguard} is not signed by its identity key {identity}"
    )]
    NotByIdentity {
        /// The key that somebody put there.
        wireguard: WireGuardPublic,
        /// The identity that did not sign.
        identity: IdentityPublic,
    },
    /// Enrolment and record are of two nodes.
    #[error("refused, its chain is broken: its record is node {0}'s")]
    OtherRecord(NodeId),
    /// Another identity than the one first held for the node id.
    #[error("refused, its key changed: identity key {got} instead of {held}, which was held first")]
    ChangedIdentity {
        /// The one first held.
        held: IdentityPublic,
        /// The one shown.
        got: IdentityPublic,
    },
    /// Two identities at once, and none held before.
    #[error("refused: two identity keys, {0} and {1}, claim this node id, and neither was held before")]
    Contested(IdentityPublic, IdentityPublic),
    /// A record no newer than the one held.
    #[error("an older record (serial {got}) is refused; serial {held} is in force")]
    StaleRecord {
        /// Its serial.
        got: u64,
        /// The highest serial held.
        held: u64,
    },
    /// Dead, for good.
    #[error("refused: {0}")]
    Dead(Death),
    /// The map lacks the proof of a removal that this node has seen.
    #[error("the map no longer says that this node is out; it stays out: {0}")]
    RemovalOmitted(Death),
    /// The map lacks a node that nobody removed.
    #[error("the map omits it, though nobody removed it; it stays in")]
    Omitted,
    /// Its token's nodes wait for an admin.
    #[error("not approved yet: `meshctl node approve` lets it in")]
    NotApproved,
    /// Not in the network's prefix, or kept for the network itself.
    #[error("refused: its address {address} is not one for nodes in {prefix}")]
    AddressUnfit {
        /// The address.
        address: IpAddr,
        /// The network's prefix.
        prefix: IpNet,
    },
    /// Another node has the address or key.
    #[error("refused: its {place} is held by node {holder}")]
    Held {
        /// The address or key.
        place: Place,
        /// Who has it.
        holder: String,
    },
    /// Another node has the name; the node stays in under another.
    #[error("the name \"{name}\" is refused, node {holder} has it; it is called \"{instead}\" here")]
    NameHeld {
        /// The name.
        name: String,
        /// Who has it.
        holder: NodeId,
        /// What the node is called instead.
        instead: String,
    },
    /// An admin gave the name to a host behind a gateway; the node stays in under another.
    #[error(
        "the name \"{name}\" is refused, it is that of a host behind a gateway; it is called \"{instead}\" here"
    )]
    NameOfHost {
        /// The name.
        name: String,
        /// What the node is called instead.
        instead: String,
    },
    /// Not a DNS label, or reserved; the node stays in under another.
    #[error("the name \"{name}\" is refused, it is no host name for a node; it is called \"{instead}\" here")]
    NameUnfit {
        /// The name.
        name: String,
        /// What the node is called instead.
        instead: String,
    },
    /// A gateway's range that would break something.
    #[error("it is no gateway here: {0}")]
    GatewayUnfit(RangeError),
    /// Pod prefixes that would break something.
    #[error("its pods and services have no prefix here: {0}")]
    PodsUnfit(TermsError),
    /// A part of the pods' prefix that is none, or another node's.
    #[error("its pods are not reached here: {part} {why}")]
    PartUnfit {
        /// The part.
        part: IpNet,
        /// Why not.
        why: String,
    },
    /// A grant that would break something.
    #[error("routes of other programs do not count as granted: {0}")]
    GrantUnfit(GrantError),
    /// An endpoint that would break something.
    #[error("there is no endpoint \"{name}\" here: {why}")]
    EndpointUnfit {
        /// Its name.
        name: String,
        /// Why not.
        why: Box<EndpointError>,
    },
    /// More nodes than a map may ever have had.
    #[error("refused: this node remembers {0} nodes already and takes no more")]
    TooMany(usize),
}

impl Refusal {
    pub(super) fn about(node: NodeId, name: Option<String>, cause: Cause) -> Self {
        Self {
            node: Some(node),
            name,
            cause,
        }
    }

    pub(super) fn of_map(cause: Cause) -> Self {
        Self {
            node: None,
            name: None,
            cause,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.node, &self.name) {
            (Some(node), Some(name)) => write!(f, "node \"{name}\" ({node}): {}", self.cause),
            (Some(node), None) => write!(f, "node {node}: {}", self.cause),
            (None, _) => write!(f, "network map: {}", self.cause),
        }
    }
}
