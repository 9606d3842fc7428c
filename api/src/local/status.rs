//! `meshctl status --json`, documented and stable.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{ClusterGround, EndpointStatus, KubeStatus, NodePods};

/// What this meshd is and is in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Version of meshd.
    pub version: String,
    /// `--instance`, 0 by default.
    pub instance: u16,
    /// One for each network joined.
    pub networks: Vec<NetworkStatus>,
    /// Names of the networks that this machine is in and that are down.
    #[serde(default)]
    pub down: Vec<String>,
    /// Networks that this machine was put out of, until it joins them again or leaves them.
    #[serde(default)]
    pub out: Vec<Out>,
    /// Where mesh DNS answers on this machine, port 53; null while it does not.
    #[serde(default)]
    pub dns: Option<IpAddr>,
    /// Sentences about the machine as a whole that somebody should read.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A network that this machine was put out of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Out {
    /// Its name.
    pub name: String,
    /// Why, and what to do: one sentence.
    pub why: String,
}

/// One network that this node is in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NetworkStatus {
    /// Its name.
    pub name: String,
    /// Network id, 32 hex digits.
    pub id: String,
    /// This node's id, 32 hex digits.
    pub node: String,
    /// This node's name in it.
    pub hostname: String,
    /// Interface name.
    pub interface: String,
    /// This node's IPv4 address.
    pub ipv4: Ipv4Addr,
    /// This node's IPv6 address.
    pub ipv6: Ipv6Addr,
    /// This node's WireGuard public key, base64.
    pub public_key: String,
    /// UDP port of the tunnel.
    pub listen_port: u16,
    /// MTU of the interface, in bytes.
    pub mtu: u16,
    /// `connected`, or one sentence why not.
    pub coordinator: String,
    /// Id of the relay that this node is bound to and reached by; null while it is bound to none.
    #[serde(default)]
    pub home_relay: Option<String>,
    /// Epoch and version of the map in use.
    pub epoch: u32,
    /// Version of the map within its epoch.
    pub map_version: u64,
    /// The relays that this node may use.
    #[serde(default)]
    pub relays: Vec<RelayStatus>,
    /// The others.
    pub peers: Vec<PeerStatus>,
    /// Ranges behind egress gateways, as this node sees them.
    #[serde(default)]
    pub ranges: Vec<RangeStatus>,
    /// Addresses that every node holds, and their members as this node sees them.
    #[serde(default)]
    pub endpoints: Vec<EndpointStatus>,
    /// Pods on this node; null where it has no prefix for any.
    #[serde(default)]
    pub pods: Option<NodePods>,
    /// What a cluster uses of this network; null where it has no prefixes for one.
    #[serde(default)]
    pub ground: Option<ClusterGround>,
    /// The link to Kubernetes; null where this machine has no credentials for it.
    #[serde(default)]
    pub kube: Option<KubeStatus>,
    /// Sentences that somebody should read, e.g. a refused record or a colliding LAN.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Packets dropped, by reason; reasons with zero are left out.
    #[serde(default)]
    pub drops: BTreeMap<String, u64>,
    /// What finding paths cost and refused, by name: datagrams `sent`, `mtu_probes` among them, and so on; zeros are left out.
    #[serde(default)]
    pub discovery: BTreeMap<String, u64>,
}

/// A range behind egress gateways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeStatus {
    /// The prefix under which the network knows it.
    pub prefix: String,
    /// The name of the gateway that is used now; null where none answers.
    pub gateway: Option<String>,
    /// All its gateways that this node may use, the preferred one first.
    pub gateways: Vec<String>,
    /// Whether this node is its gateway.
    pub served: bool,
}

/// A relay, as this node knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelayStatus {
    /// Its id, 16 hex digits.
    pub id: String,
    /// `address:port` at which this node is bound, over TLS the `host:port` connected to; null where it does not answer.
    pub endpoint: Option<String>,
    /// What carries packets there; null where it does not answer.
    pub transport: Option<Transport>,
    /// Round trip in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Whether it is this node's home: others send to it there first.
    pub home: bool,
    /// The name of the node that it is, where an admin made one a relay; null where it is a meshrelay.
    #[serde(default)]
    pub node: Option<String>,
}

/// One other node of the network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its name.
    pub name: String,
    /// Its id, 32 hex digits.
    pub node: String,
    /// Its IPv4 address in the network.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address in the network.
    pub ipv6: Ipv6Addr,
    /// WireGuard public key, base64.
    pub public_key: String,
    /// Where packets for it go.
    pub path: PathStatus,
    /// Seconds since the last completed handshake; null if there was none.
    pub last_handshake: Option<u64>,
    /// Bytes received through the tunnel.
    pub rx_bytes: u64,
    /// Bytes sent through the tunnel.
    pub tx_bytes: u64,
}

/// Where packets for a peer go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathStatus {
    /// Kind of path.
    pub kind: PathKind,
    /// `address:port` of the peer or of the relay; null without a path. Over TLS it is the `host:port` connected to.
    pub endpoint: Option<String>,
    /// What carries it there; null without a path.
    #[serde(default)]
    pub transport: Option<Transport>,
    /// Round trip in milliseconds, as the last pong told; null if unknown.
    pub rtt_ms: Option<f64>,
    /// The largest IP packet, in bytes, that was seen to get through to the peer (what the tunnel can need at most); null while
    /// that was not measured, and over TLS.
    #[serde(default)]
    pub mtu: Option<u16>,
}

/// What carries packets to the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// UDP.
    Udp,
    /// TLS on TCP, to a relay, because UDP does not get there.
    Tls,
}

/// Kind of path to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathKind {
    /// Straight to the peer's address.
    Direct,
    /// Through a relay.
    Relay,
    /// None is known now.
    None,
}
