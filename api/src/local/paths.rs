//! Paths, seen from close: `meshctl netcheck`, `ping` and `why`, documented and stable.

use serde::{Deserialize, Serialize};

use super::PathStatus;

/// Check what is between this node and the internet.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetcheckRequest {
    /// The network whose relays are asked; not needed where this machine is in one only.
    #[serde(default)]
    pub network: Option<String>,
}

/// Send everything that has no better way through the first of these exit nodes that is well.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExitRequest {
    /// The network; not needed where this machine is in one.
    #[serde(default)]
    pub network: Option<String>,
    /// Names or ids, the one to use first at the front; `none` alone for the machine's own uplink.
    pub nodes: Vec<String>,
}

/// Names a peer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerRequest {
    /// Its network; not needed where this machine is in one only.
    #[serde(default)]
    pub network: Option<String>,
    /// Its name, its id, or one of its addresses in the network.
    pub peer: String,
}

/// How a NAT behaves (RFC 4787 sections 4 and 5). What could not be told is `unknown`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nat {
    /// `none`, `endpoint-independent`, `address-dependent`, `address-and-port-dependent` or `unknown`.
    pub mapping: String,
    /// `endpoint-independent`, `address-dependent`, `address-and-port-dependent` or `unknown`.
    pub filtering: String,
    /// `preserving`, `sequential`, `random` or `unknown`.
    pub allocation: String,
    /// No UDP leaves.
    pub udp_blocked: bool,
}

/// What is between this node and the internet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Netcheck {
    /// The network whose relays were asked.
    pub network: String,
    /// Whether a relay answered over UDP.
    pub udp: bool,
    /// Whether one answered over IPv6.
    pub ipv6: bool,
    /// How the IPv4 NAT maps and filters.
    #[serde(flatten)]
    pub nat: Nat,
    /// Whether an outside port is the inside one; null where it is not known.
    pub port_preserving: Option<bool>,
    /// Whether the NAT turns round what goes to its own outside; null where there is none or it could not be tried.
    pub hairpin: Option<bool>,
    /// The port mapping that the router granted; null where there is none.
    pub port_mapping: Option<PortMapping>,
    /// Each address of each relay.
    pub relays: Vec<RelayCheck>,
    /// Seconds since this was measured.
    pub age: u64,
    /// What it means, in a sentence.
    pub meaning: String,
    /// Sentences that somebody should read.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A port mapping of a router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// `address:port` outside.
    pub external: String,
    /// By what it was made: `pcp`, `nat-pmp` or `upnp`.
    #[serde(default)]
    pub method: String,
}

/// One address of a relay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelayCheck {
    /// The relay's id.
    pub relay: String,
    /// `address:port` asked, or the name that could not be looked up.
    pub address: String,
    /// Whether this node is bound to this relay and reached by it.
    pub home: bool,
    /// Round trip in milliseconds; null where it did not answer.
    pub rtt_ms: Option<f64>,
    /// `address:port` where it sees this node; null where it did not answer.
    pub seen: Option<String>,
    /// What is wrong with it, in a sentence; null where nothing is.
    pub problem: Option<String>,
}

/// A pong.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PingReply {
    /// The peer's name.
    pub peer: String,
    /// The way by which it answered, and how long that took.
    pub path: PathStatus,
}

/// Why a peer is reached as it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Why {
    /// The peer's name.
    pub peer: String,
    /// The way of the packets.
    pub path: PathStatus,
    /// In a sentence, why.
    pub because: String,
    /// The NAT in front of this node.
    pub ours: Nat,
    /// The NAT in front of the peer; null where it has not told.
    pub theirs: Option<Nat>,
    /// What was tried, the oldest first.
    pub attempts: Vec<Attempt>,
    /// Seconds until it is tried again by itself; null where nothing is planned.
    pub next_attempt: Option<u64>,
    /// What would help, a sentence each; each alone is enough.
    pub help: Vec<String>,
}

/// One try to make a direct path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Seconds since it began.
    pub ago: u64,
    /// `punch`, `fresh-port` or `birthday`.
    pub method: String,
    /// `under-way`, `direct`, `no-answer`, `hopeless` or `abandoned`.
    pub outcome: String,
    /// `address:port` where the peer answered, where it did.
    pub address: Option<String>,
}
