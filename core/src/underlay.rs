//! Which interfaces lead to other machines: their addresses are host candidates, and LANs may be behind them.
//!
//! Pod, bridge, container, VPN and mesh interfaces do not: their addresses mean nothing elsewhere, and handing them out has
//! poisoned real clusters (a peer's packets went into the wrong pod network). A name alone decides where the kind says too
//! little: the uplink of a container and the host's end of a pod's cable are both `veth`.

use std::net::IpAddr;

/// What is known of an interface.
#[derive(Debug, Clone, Copy, Default)]
pub struct InterfaceFacts<'a> {
    /// Its name.
    pub name: &'a str,
    /// What made it (`veth`, `bridge`, `tun`, ...); none for hardware.
    pub kind: Option<&'a str>,
    /// Switched on, with a carrier.
    pub running: bool,
    /// A loopback interface.
    pub loopback: bool,
    /// The main table has a default route over it.
    pub has_default_route: bool,
    /// A bridge or bond with hardware among its ports.
    pub has_hardware_port: bool,
    /// A port of a bridge or bond.
    pub is_port: bool,
}

/// Beginnings of names that container engines, CNI plugins and VPNs give.
const FOREIGN: [&str; 25] = [
    "docker",
    "br-",
    "cni",
    "flannel",
    "cali",
    "cilium",
    "lxc",
    "lxdbr",
    "virbr",
    "podman",
    "veth",
    "vxlan",
    "kube-",
    "nodelocaldns",
    "weave",
    "antrea",
    "ovn",
    "genev",
    "tailscale",
    "wt",
    "zt",
    "wg",
    "nebula",
    "meshd",
    "mpod",
];
/// Kinds that never are an uplink.
const TUNNELS: [&str; 12] = [
    "tun",
    "wireguard",
    "vxlan",
    "geneve",
    "dummy",
    "ipip",
    "sit",
    "gre",
    "gretap",
    "ip6tnl",
    "vti",
    "ifb",
];

impl InterfaceFacts<'_> {
    /// Whether it may lead to other machines.
    pub fn is_underlay(&self) -> bool {
        if self.loopback || !self.running || self.is_port {
            return false;
        }
        if FOREIGN.iter().any(|prefix| self.name.starts_with(prefix)) {
            return false;
        }
        match self.kind {
            Some("bridge") => self.has_hardware_port || self.has_default_route,
            Some(kind) => !TUNNELS.contains(&kind),
            None => true,
        }
    }
}

/// Whether an address of such an interface is worth telling others: global or private unicast, not loopback, link-local,
/// multicast or unspecified (RFC 6890).
pub fn is_host_candidate(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, ..] = v4.octets();
            !(v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || first == 0
                || first >= 240)
        }
        IpAddr::V6(v6) => {
            !(v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local())
                && v6.to_ipv4_mapped().is_none()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(name: &'a str, kind: Option<&'a str>) -> InterfaceFacts<'a> {
        InterfaceFacts {
            name,
            kind,
            running: true,
            ..InterfaceFacts::default()
        }
    }

    #[test]
    fn hardware_vlans_and_bonds_are_underlay() {
        for (name, kind) in [
            ("eth0", None),
            ("enp3s0", None),
            ("wlan0", None),
            ("eth0.7", Some("vlan")),
            ("bond0", Some("bond")),
        ] {
            assert!(facts(name, kind).is_underlay(), "{name}");
        }
    }

    #[test]
    fn a_containers_uplink_is_underlay_and_a_pods_cable_is_not() {
        assert!(facts("eth0", Some("veth")).is_underlay());
        for name in [
            "veth12ab",
            "cali77",
            "lxc9",
            "docker0",
            "br-5f2",
            "cni0",
            "flannel.1",
            "meshd0",
            "wg0",
            "tailscale0",
        ] {
            assert!(!facts(name, Some("veth")).is_underlay(), "{name}");
        }
    }

    #[test]
    fn a_bridge_with_hardware_is_underlay() {
        let bridge = facts("vmbr0", Some("bridge"));
        assert!(!bridge.is_underlay());
        assert!(
            InterfaceFacts {
                has_hardware_port: true,
                ..bridge
            }
            .is_underlay()
        );
        assert!(
            InterfaceFacts {
                has_default_route: true,
                ..bridge
            }
            .is_underlay()
        );
    }

    #[test]
    fn what_is_down_a_port_or_a_tunnel_is_not() {
        assert!(
            !InterfaceFacts {
                running: false,
                ..facts("eth0", None)
            }
            .is_underlay()
        );
        assert!(
            !InterfaceFacts {
                is_port: true,
                ..facts("eth0", None)
            }
            .is_underlay()
        );
        assert!(!facts("vpn", Some("tun")).is_underlay());
    }

    #[test]
    fn only_addresses_that_mean_something_elsewhere_are_told() {
        for good in [
            "192.168.1.5",
            "203.0.113.9",
            "100.64.3.2",
            "2001:db8::1",
            "fd00::1",
        ] {
            assert!(is_host_candidate(good.parse().unwrap()), "{good}");
        }
        for bad in [
            "127.0.0.1",
            "169.254.1.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "fe80::1",
            "ff02::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!is_host_candidate(bad.parse().unwrap()), "{bad}");
        }
    }
}
