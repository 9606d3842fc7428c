//! LAN beacons: the multicast sockets, on every interface where a LAN may be.
//!
//! What a beacon says and when one is sent is the path agent's decision.

use super::sockets::lacks_family;
use meshd_net::udp::{BEACON_GROUP_V4, BEACON_GROUP_V6, Beacon, BeaconSocket};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// Port of the beacons (docs/wire.md section 8).
const PORT: u16 = 7440;

/// How often a socket that could not be bound is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The multicast sockets of one network.
pub struct Beacons {
    sockets: Vec<BeaconSocket>,
    /// Groups whose socket could not be bound, and why.
    missing: Vec<(IpAddr, String)>,
    retry: Instant,
    interfaces: BTreeSet<u32>,
}

impl Beacons {
    /// Binds what the machine has. What somebody else holds is tried again; a family that the machine lacks is left out.
    pub fn open() -> Self {
        let mut beacons = Self {
            sockets: Vec::new(),
            missing: Vec::new(),
            retry: Instant::now(),
            interfaces: BTreeSet::new(),
        };
        for group in [IpAddr::from(BEACON_GROUP_V4), IpAddr::from(BEACON_GROUP_V6)] {
            beacons.bind(group);
        }
        for (_, why) in &beacons.missing {
            warn!("{}", sentence(why));
        }
        beacons
    }

    fn bind(&mut self, group: IpAddr) {
        match BeaconSocket::bind(group, PORT) {
            Ok(socket) => {
                join_all(&socket, &self.interfaces);
                self.sockets.push(socket);
            }
            Err(error) if lacks_family(&error) => debug!(%group, %error, "no beacons there"),
            Err(error) => self.missing.push((group, error.to_string())),
        }
    }

    /// When what could not be bound is tried again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.missing.is_empty()).then_some(self.retry)
    }

    /// Tries again what could not be bound, where it is time.
    pub fn retry_when_due(&mut self, now: Instant) {
        if self.missing.is_empty() || now < self.retry {
            return;
        }
        self.retry = now + RETRY;
        for (group, _) in std::mem::take(&mut self.missing) {
            self.bind(group);
        }
        if self.missing.is_empty() {
            info!("all beacons of this machine are heard again");
        }
    }

    /// What does not work, for `status`.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.missing.iter().map(|(_, why)| sentence(why))
    }

    /// Listens and sends on exactly these interfaces (indexes) from now on.
    pub fn set_interfaces(&mut self, interfaces: BTreeSet<u32>) {
        for socket in &self.sockets {
            for gone in self.interfaces.difference(&interfaces) {
                let _ = socket.leave(*gone);
            }
            join_all(socket, &interfaces);
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

fn sentence(why: &str) -> String {
    format!(
        "LAN beacons are off ({why}): while the coordinator is away, peers on this LAN that changed their address are not found. \
         `ss -lnup` names who has UDP port {PORT}; it is tried again"
    )
}

fn join_all(socket: &BeaconSocket, interfaces: &BTreeSet<u32>) {
    for interface in interfaces {
        if let Err(error) = socket.join(*interface) {
            debug!(interface, %error, "cannot listen for beacons");
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
