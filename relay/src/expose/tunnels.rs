//! Which interfaces of this machine lead into meshes: the TUN devices of a meshd beside meshrelay, and their addresses.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use meshd_net::netlink::{Monitor, Netlink, NetlinkError, Scope};
use tokio::sync::watch;
use tracing::{debug, warn};

/// Changes within this time are one.
const SETTLE: Duration = Duration::from_millis(50);
/// Where the kernel's changes cannot be followed, interfaces are read so often.
const EVERY: Duration = Duration::from_secs(5);

/// An interface that leads into a mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// Its name.
    pub interface: String,
    /// This machine's address there.
    pub address: Ipv4Addr,
}

/// Those that there are now.
pub async fn read() -> Result<Arc<[Tunnel]>, NetlinkError> {
    let netlink = Netlink::new()?;
    let links = netlink.links().await?;
    let addresses = netlink.addresses(None).await?;
    let mut tunnels = Vec::new();
    for address in addresses.iter().filter(|address| address.scope != Scope::Host) {
        let mut tuns = links
            .iter()
            .filter(|link| link.up && link.kind.as_deref() == Some("tun"));
        let link = tuns.find(|link| link.index == address.interface);
        if let (Some(link), IpAddr::V4(ip)) = (link, address.ip) {
            tunnels.push(Tunnel {
                interface: link.name.clone(),
                address: ip,
            });
        }
    }
    Ok(tunnels.into())
}

/// Tells of them, at once and whenever they change. Never ends.
pub async fn watch(tell: &watch::Sender<Arc<[Tunnel]>>) {
    let mut monitor = Monitor::new()
        .map_err(|why| warn!("changes of this machine's interfaces are seen late: {why}"))
        .ok();
    loop {
        match read().await {
            Ok(tunnels) => drop(tell.send_if_modified(|held| {
                let new = *held != tunnels;
                *held = tunnels;
                new
            })),
            Err(why) => debug!(%why, "interfaces cannot be read"),
        }
        let changed = async {
            match &mut monitor {
                Some(monitor) => monitor.next().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        // a route or rule that somebody else changes is no reason to wait for less than this
        match tokio::time::timeout(EVERY, changed).await {
            Ok(false) => monitor = None,
            Ok(true) => tokio::time::sleep(SETTLE).await,
            Err(_) => {}
        }
        drain(&mut monitor).await;
    }
}

/// Takes the changes that came meanwhile: what is read next has them all.
async fn drain(monitor: &mut Option<Monitor>) {
    let Some(monitor) = monitor else { return };
    while let Ok(Ok(_)) = tokio::time::timeout(Duration::ZERO, monitor.next()).await {}
}
