//! What the control side says to a data plane, and what it hears from it.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use ipnet::IpNet;
use meshd_core::demux::Class;
use meshd_core::id::NodeId;
use meshd_core::keys::{WireGuardPublic, WireGuardSecret};
use meshd_core::path::Endpoint;
use meshd_core::wireguard::PresharedKey;
use meshd_net::tun::Tun;
use meshd_net::udp::UdpSocket;
use tokio::sync::mpsc;

/// The UDP sockets of one network, one for each IP version; at least one of them.
#[derive(Debug, Default)]
pub struct Sockets {
    /// For IPv4.
    pub v4: Option<UdpSocket>,
    /// For IPv6.
    pub v6: Option<UdpSocket>,
}

impl Sockets {
    /// The socket that reaches `address`.
    pub fn towards(&self, address: SocketAddr) -> Option<&UdpSocket> {
        if address.is_ipv4() {
            self.v4.as_ref()
        } else {
            self.v6.as_ref()
        }
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }
}

/// Everything that a data plane is made of.
#[derive(Debug)]
pub struct DataPlaneConfig {
    /// The TUN device; its first queue is used. It comes back from [`super::DataPlane::shutdown`].
    pub tun: Tun,
    /// The node's own addresses in the network: it answers from them to packets that are too big.
    pub addresses: Vec<IpAddr>,
    /// The UDP sockets.
    pub sockets: Sockets,
    /// The node's WireGuard key in this network.
    pub private_key: WireGuardSecret,
    /// The tunnel's MTU in bytes, 1280..=8912.
    pub mtu: u16,
    /// Where events go. What finds no room is dropped and counted.
    pub control: mpsc::Sender<ControlEvent>,
    /// Threads for packets: 1 for both directions, 2 for one each while that is too much for one; 0 decides by the number of
    /// processors.
    pub threads: usize,
}

/// One peer.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// The node.
    pub node: NodeId,
    /// Its WireGuard key.
    pub public_key: WireGuardPublic,
    /// Which destinations go to it, and which sources it may send from.
    pub allowed_ips: Vec<IpNet>,
    /// Prefixes that are another peer's destination, from which this one may send as well.
    pub also_from: Vec<IpNet>,
    /// A key mixed into the handshake.
    pub preshared_key: Option<PresharedKey>,
    /// Seconds between keepalives; for plain WireGuard peers behind a NAT, since mesh peers are probed anyway.
    pub keepalive: Option<u16>,
    /// A plain WireGuard peer: answers go to where its last authentic packet came from, whatever path was set. For
    /// mesh peers that is only so as long as no path was set.
    pub roaming: bool,
}

/// What the packet threads tell the control side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlEvent {
    /// A datagram that is not for these threads: discovery, STUN, relay control, beacon.
    Datagram {
        /// Where it came from. Discovery through a relay has the relay's header taken off; everything else is whole.
        from: Endpoint,
        /// The address of ours that it came to.
        local: Option<IpAddr>,
        /// What it is.
        class: Class,
        /// Its bytes.
        bytes: Box<[u8]>,
    },
    /// A handshake with this peer was completed; packets flow.
    Handshake {
        /// The peer.
        node: NodeId,
        /// Where its last message came from.
        from: Endpoint,
    },
    /// An authentic initiation is not newer than the peer's last one: either it is a replay, or the peer's clock went
    /// back. A handshake that we initiate works all the same.
    StaleHandshake {
        /// The peer.
        node: NodeId,
        /// Where the message came from.
        from: Endpoint,
    },
    /// A packet waits for a peer with which there is no session, or to which there is no path. At most twice a second.
    Demand {
        /// The peer.
        node: NodeId,
    },
    /// Authentic packets of this peer come from another endpoint than before. At most four times a second.
    RoamedTo {
        /// The peer.
        node: NodeId,
        /// The new endpoint.
        from: Endpoint,
    },
    /// The TUN device was deleted: this data plane moves no more packets.
    TunGone,
    /// A socket failed for good: replace the sockets.
    SocketGone,
}

/// What is known of one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStats {
    /// The peer.
    pub node: NodeId,
    /// Bytes of WireGuard messages received and authentic, all of them.
    pub rx_bytes: u64,
    /// Bytes of WireGuard messages sent, each counted once.
    pub tx_bytes: u64,
    /// Packets received through the tunnel.
    pub rx_packets: u64,
    /// Packets sent through the tunnel.
    pub tx_packets: u64,
    /// When the last handshake was completed.
    pub last_handshake: Option<Instant>,
    /// When the last authentic message came.
    pub last_rx: Option<Instant>,
    /// When the last message was sent.
    pub last_tx: Option<Instant>,
    /// Since when packets have gone out without any authentic message after them.
    pub unanswered_since: Option<Instant>,
    /// Where the last authentic message came from.
    pub last_rx_from: Option<Endpoint>,
    /// Since when a handshake has been tried in vain.
    pub handshake_pending_since: Option<Instant>,
}

/// Why a data plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The TUN device has no queue.
    #[error("the TUN device has no queue; open it with at least one")]
    NoQueue,
    /// There is neither an IPv4 nor an IPv6 socket.
    #[error("there is no UDP socket; give at least one, for IPv4 or IPv6")]
    NoSocket,
    /// Outside 1280..=8912.
    #[error("the tunnel's MTU is {0}; it has to be 1280 to 8912 bytes")]
    Mtu(u16),
    /// The kernel refused.
    #[error("cannot {what}: {source}; the machine is short of threads, descriptors or memory")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
}
