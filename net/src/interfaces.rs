//! What this machine has: its interfaces with their addresses, and which of them lead to the outside.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::netlink::{Address, Link, MAIN_TABLE, Netlink, NetlinkError, RouteFilter, RouteKind};

/// An interface and what is on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The link.
    pub link: Link,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// Whether the main table has a default route over it.
    pub has_default_route: bool,
    /// The next hop of the main table's preferred IPv4 default route, where that is over it.
    pub router: Option<Ipv4Addr>,
    /// Where else the main table leads over it: destinations of its unicast routes, default ones excepted. Subnets of its
    /// addresses are among them, and so are ranges that another VPN or a CNI plugin routes.
    pub routed: Vec<IpNet>,
    /// Whether it is a bridge, bond or VRF with hardware among its ports.
    pub has_hardware_port: bool,
}

/// Beginnings of the names that software gives its interfaces, and what to call that software. A `#` stands for a
/// number and nothing more.
const OWNERS: [(&str, &str); 25] = [
    ("docker", "Docker"),
    ("br-", "Docker"),
    ("podman", "Podman"),
    ("cni", "a CNI plugin"),
    ("flannel", "Flannel"),
    ("cali", "Calico"),
    ("vxlan.calico", "Calico"),
    ("cilium", "Cilium"),
    ("lxc", "LXC or Cilium"),
    ("weave", "Weave Net"),
    ("antrea", "Antrea"),
    ("ovn", "OVN"),
    ("kube-ipvs", "kube-proxy"),
    ("kube-bridge", "kube-router"),
    ("nodelocaldns", "NodeLocal DNSCache"),
    ("virbr", "libvirt"),
    ("lxdbr", "LXD"),
    ("incusbr", "Incus"),
    ("tailscale", "Tailscale"),
    ("zt", "ZeroTier"),
    ("netmaker", "Netmaker"),
    ("nm-", "Netmaker"),
    ("wt#", "NetBird"),
    ("nebula", "Nebula"),
    ("meshd", "meshd"),
];

impl Interface {
    /// The software that the interface belongs to, told by its name; never of hardware.
    pub fn owner(&self) -> Option<&'static str> {
        match self.link.kind.as_deref() {
            None => None,
            Some(kind) => owner(&self.link.name).or((kind == "wireguard").then_some("WireGuard")),
        }
    }
}

fn owner(name: &str) -> Option<&'static str> {
    let matches = |pattern: &str| match pattern.strip_suffix('#') {
        None => name.starts_with(pattern),
        Some(prefix) => name
            .strip_prefix(prefix)
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit())),
    };
    let known = OWNERS.iter().find(|(pattern, _)| matches(pattern));
    known.map(|(_, owner)| *owner)
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
    let default_v4 = routes
        .iter()
        .filter(|r| r.destination.prefix_len() == 0 && r.destination.addr().is_ipv4())
        .min_by_key(|r| r.metric);
    let router_over = |index| match default_v4 {
        Some(route) if route.interface == Some(index) => match route.gateway {
            Some(IpAddr::V4(router)) => Some(router),
            _ => None,
        },
        _ => None,
    };
    let routed_over = |index| {
        let over = routes
            .iter()
            .filter(|r| r.interface == Some(index) && r.kind == RouteKind::Unicast);
        over.map(|r| r.destination)
            .filter(|net| net.prefix_len() > 0)
            .collect()
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
            router: router_over(link.index),
            routed: routed_over(link.index),
            has_hardware_port: hardware_in(link.index),
            link: link.clone(),
        })
        .collect();
    interfaces.sort_by_key(|interface| interface.link.index);
    Ok(interfaces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_is_told_by_the_names_of_its_interfaces() {
        let owner = |name: &str, kind: Option<&str>| {
            let link = Link {
                name: name.to_owned(),
                kind: kind.map(str::to_owned),
                ..Link::default()
            };
            let (addresses, routed) = (Vec::new(), Vec::new());
            Interface {
                link,
                addresses,
                routed,
                has_default_route: false,
                router: None,
                has_hardware_port: false,
            }
            .owner()
        };
        for (name, kind, wanted) in [
            ("docker0", Some("bridge"), Some("Docker")),
            ("br-1f2e3d4c5b6a", Some("bridge"), Some("Docker")),
            ("br-lan", None, None),
            ("eth0", None, None),
            ("flannel.1", Some("vxlan"), Some("Flannel")),
            ("tailscale0", Some("tun"), Some("Tailscale")),
            ("wt0", Some("wireguard"), Some("NetBird")),
            ("wtf", Some("tun"), None),
            ("wg0", Some("wireguard"), Some("WireGuard")),
            ("meshd0", Some("tun"), Some("meshd")),
        ] {
            assert_eq!(owner(name, kind), wanted, "{name}");
        }
    }
}
