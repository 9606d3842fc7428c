//! meshd's data plane with one peer from the command line instead of a network map, to talk to other WireGuards:
//! `static-node INTERFACE PORT PRIVATE_KEY_FILE PEER_KEY ALLOWED_PREFIX [ENDPOINT]`. The keys are as `wg` writes them.
//!
//! The interface comes up without an address: the caller adds it. Prints which offloads the kernel has, `ready`, then a line `handshake FROM` for each
//! completed handshake and `roamed FROM` for each change of the peer's address. With an endpoint it initiates.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, bail};
use data_encoding::BASE64;
use meshd::dataplane::{ControlEvent, DataPlane, DataPlaneConfig, PeerConfig, Sockets};
use meshd_core::id::NodeId;
use meshd_core::keys::{WireGuardPublic, WireGuardSecret};
use meshd_core::path::Endpoint;
use meshd_net::tun::Tun;
use meshd_net::udp::{UdpConfig, UdpSocket};
use tokio::sync::mpsc;

/// Events that may wait.
const EVENTS: usize = 256;
/// The tunnel's MTU in bytes.
const MTU: u16 = 1408;

/// Public, since `packet-node` has this file as a module.
#[allow(unreachable_pub, reason = "it is a program's own")]
pub fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [interface, port, key_file, peer_key, allowed, endpoint @ ..] = arguments.as_slice() else {
        bail!("static-node INTERFACE PORT PRIVATE_KEY_FILE PEER_KEY ALLOWED_PREFIX [ENDPOINT]");
    };
    let (control, mut events) = mpsc::channel(EVENTS);
    let local = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port.parse().context("PORT")?));
    let private_key = std::fs::read_to_string(key_file).with_context(|| format!("reading {key_file}"))?;
    let (tun, socket) = (Tun::open(interface, 1)?, UdpSocket::bind(&UdpConfig::new(local))?);
    println!(
        "offloads: {:?}, UDP_SEGMENT {}, UDP_GRO {}",
        tun.offloads(),
        socket.segments(),
        socket.coalesces()
    );
    let plane = DataPlane::start(DataPlaneConfig {
        tun,
        addresses: Vec::new(),
        sockets: Sockets {
            v4: Some(socket),
            v6: None,
        },
        private_key: WireGuardSecret::from_seed(&key(&private_key)?),
        mtu: MTU,
        control,
        threads: 0,
    })?;
    let node = NodeId::from_bytes([1; 16]);
    plane.set_peers(vec![PeerConfig {
        node,
        public_key: WireGuardPublic::from_bytes(key(peer_key)?),
        allowed_ips: vec![allowed.parse().context("ALLOWED_PREFIX")?],
        also_from: Vec::new(),
        preshared_key: None,
        keepalive: None,
        roaming: true,
    }]);
    if let [endpoint] = endpoint {
        plane.set_path(
            node,
            Some(Endpoint::direct(endpoint.parse().context("ENDPOINT")?)),
            None,
        );
        plane.initiate(node);
    }
    println!("ready");
    while let Some(event) = events.blocking_recv() {
        match event {
            ControlEvent::Handshake { from, .. } => println!("handshake {}", from.address()),
            ControlEvent::RoamedTo { from, .. } => println!("roamed {}", from.address()),
            _ => {}
        }
    }
    Ok(())
}

/// 32 bytes from their base64.
fn key(text: &str) -> Result<[u8; 32]> {
    let bytes = BASE64
        .decode(text.trim().as_bytes())
        .context("a key as `wg` writes it")?;
    bytes.try_into().ok().context("a key of 32 bytes")
}
