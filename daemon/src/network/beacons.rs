//! LAN beacons: the multicast sockets, on every interface where a LAN may be.
//!
//! What a beacon says and when one is sent is the path agent's decision.

use meshd_net::udp::{BEACON_GROUP_V4, BEACON_GROUP_V6, Beacon, BeaconSocket};
use std::collections::BTreeSet;
use std::net::IpAddr;
use tracing::debug;

/// Port of the beacons (docs/wire.md section 8).
const PORT: u16 = 7440;

/// The multicast sockets of one network.
pub struct Beacons {
    sockets: Vec<BeaconSocket>,
    interfaces: BTreeSet<u32>,
}

impl Beacons {
    /// Binds what the machine has; a machine without multicast has no beacons, and says so at debug level.
    pub fn open() -> Self {
        let groups = [IpAddr::from(BEACON_GROUP_V4), IpAddr::from(BEACON_GROUP_V6)];
        let bind = |group| {
            BeaconSocket::bind(group, PORT)
                .inspect_err(|error| debug!(%group, %error, "no beacons there"))
                .ok()
        };
        Self {
            sockets: groups.into_iter().filter_map(bind).collect(),
            interfaces: BTreeSet::new(),
        }
    }

    /// Listens and sends on exactly these interfaces (indexes) from now on.
    pub fn set_interfaces(&mut self, interfaces: BTreeSet<u32>) {
        for socket in &self.sockets {
            for gone in self.interfaces.difference(&interfaces) {
                let _ = socket.leave(*gone);
            }
            for interface in &interfaces {
                if let Err(error) = socket.join(*interface) {
                    debug!(interface, %error, "cannot listen for beacons");
                }
            }
        }
        self.interfaces = interfaces;
    }

    /// Sends one beacon on every interface.
    pub fn send(&self, bytes: &[u8]) {
        for socket in &self.sockets {
            for interface in &self.interfaces {
                if let Err(error) = socket.send(*interface, bytes) {
                    debug!(interface, %error, "a beacon was not sent");
                }
            }
        }
    }

    /// Waits for beacons. Safe to cancel.
    pub async fn recv(&self) -> Vec<Beacon> {
        match self.sockets.as_slice() {
            [] => std::future::pending().await,
            [one] => receive(one).await,
            [one, other, ..] => tokio::select! {
                beacons = receive(one) => beacons,
                beacons = receive(other) => beacons,
            },
        }
    }
}

async fn receive(socket: &BeaconSocket) -> Vec<Beacon> {
    match socket.recv().await {
        Ok(beacons) => beacons,
        Err(error) => {
            debug!(%error, "the beacon socket failed");
            std::future::pending().await
        }
    }
}
