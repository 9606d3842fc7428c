//! What this machine has: its interfaces with their addresses, and which of them lead to the outside.

use crate::netlink::{Address, Link, MAIN_TABLE, Netlink, NetlinkError, RouteFilter};

/// An interface and what is on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The link.
    pub link: Link,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// Whether the main table has a default route over it.
    pub has_default_route: bool,
    /// Whether it is a bridge, bond or VRF with hardware among its ports.
    pub has_hardware_port: bool,
}

/// All interfaces of the namespace, by index.
///
/// # Errors
/// Where the kernel does not answer.
pub async fn list(netlink: &Netlink) -> Result<Vec<Interface>, NetlinkError> {
    let links = netlink.links().await?;
    let addresses = netlink.addresses(None).await?;
    let routes = netlink
        .routes(RouteFilter {
            table: Some(MAIN_TABLE),
            ..RouteFilter::default()
        })
        .await?;
    let default_over = |index| {
        routes
            .iter()
            .any(|r| r.destination.prefix_len() == 0 && r.interface == Some(index))
    };
    let is_hardware = |link: &Link| link.ethernet && (link.on_bus || link.kind.is_none());
    let hardware_in = |index| {
        links
            .iter()
            .any(|port| port.controller == Some(index) && is_hardware(port))
    };
    let mut interfaces: Vec<Interface> = links
        .iter()
        .map(|link| Interface {
            addresses: addresses
                .iter()
                .filter(|a| a.interface == link.index)
                .cloned()
                .collect(),
            has_default_route: default_over(link.index),
            has_hardware_port: hardware_in(link.index),
            link: link.clone(),
        })
        .collect();
    interfaces.sort_by_key(|interface| interface.link.index);
    Ok(interfaces)
}
