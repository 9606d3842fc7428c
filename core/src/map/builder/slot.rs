//! Slots: what there can be only one of in a map.

use ipnet::IpNet;

use crate::id::{NodeId, TokenId};
use crate::map::{Body, Entry, EntryKey};
use crate::statement::Grant;

/// What there can be only one of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    Params,
    Delegation(TokenId),
    Ousted(TokenId),
    Revoked(TokenId),
    Removed(NodeId),
    Departed(NodeId),
    Approved(NodeId),
    Renamed(NodeId),
    Freed(String),
    Gateway(NodeId, IpNet),
    Relay(NodeId),
    PodNetwork,
    PodPrefixes(NodeId),
    Grant(Grant),
    Endpoint(String),
    Expose(String),
    Ingress(String),
    OtherAct(EntryKey),
    Node(NodeId),
}

/// The serial of what the root signed.
pub fn serial(entry: &Entry) -> u64 {
    match entry.body() {
        Body::Params(params) => params.value().serial,
        Body::Delegation(delegation) => delegation.value().serial,
        Body::Act(act) => act.value().serial,
        Body::Node(_) | Body::Departure(_) | Body::Newer(_) | Body::Broken { .. } => 0,
    }
}
