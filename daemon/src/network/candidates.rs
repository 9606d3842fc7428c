//! This node's underlay: its addresses there, the prefixes that the machine has, and the interfaces where a LAN may be.

use crate::machine;
use crate::network::Shared;
use ipnet::IpNet;
use meshd_core::ranges::LocalPrefix;
use meshd_core::underlay::{InterfaceFacts, is_host_candidate};
use meshd_net::interfaces::Interface;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// What the machine's interfaces say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Underlay {
    /// Addresses with their prefixes, of interfaces that lead to other machines.
    pub addresses: Vec<IpNet>,
    /// Prefixes of the machine, with their owners; this network's own interface left out.
    pub prefixes: Vec<LocalPrefix>,
    /// Indexes of the interfaces where a LAN may be.
    pub lan_interfaces: BTreeSet<u32>,
    /// Names of the interfaces that lead to other machines, those without a carrier too: strangers may come in there.
    pub names: BTreeSet<String>,
    /// The IPv4 router to the internet, and this machine's address towards it.
    pub router: Option<(Ipv4Addr, Ipv4Addr)>,
}

/// Reads the machine's interfaces; `own` is the interface of this network.
pub async fn underlay(shared: &Shared, own: &str) -> anyhow::Result<Underlay> {
    let mut underlay = Underlay::default();
    for interface in machine::interfaces(shared).await? {
        if interface.link.name == own || interface.link.loopback {
            continue;
        }
        underlay.prefixes.extend(machine::prefixes(&interface));
        let facts = facts(&interface);
        if (InterfaceFacts {
            running: true,
            ..facts
        })
        .is_underlay()
        {
            underlay.names.insert(interface.link.name.clone());
        }
        if facts.is_underlay() {
            underlay.lan_interfaces.insert(interface.link.index);
            underlay.addresses.extend(addresses(&interface));
            underlay.router = underlay.router.or_else(|| router(&interface));
        }
    }
    underlay.addresses.sort();
    Ok(underlay)
}

fn addresses(interface: &Interface) -> impl Iterator<Item = IpNet> {
    let settled =
        |a: &&meshd_net::netlink::Address| !a.state.tentative && !a.state.deprecated && !a.state.temporary;
    let usable = interface
        .addresses
        .iter()
        .filter(settled)
        .filter(|a| is_host_candidate(a.ip));
    usable.filter_map(|a| IpNet::new(a.ip, a.prefix_len).ok())
}

fn router(interface: &Interface) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let router = interface.router?;
    let own = addresses(interface).find(|own| own.contains(&IpAddr::from(router)))?;
    match own.addr() {
        IpAddr::V4(own) => Some((router, own)),
        IpAddr::V6(_) => None,
    }
}

fn facts(interface: &Interface) -> InterfaceFacts<'_> {
    let link = &interface.link;
    InterfaceFacts {
        name: &link.name,
        kind: link.kind.as_deref(),
        running: link.up && link.carrier,
        loopback: link.loopback,
        has_default_route: interface.has_default_route,
        has_hardware_port: interface.has_hardware_port,
        is_port: link.controller.is_some(),
    }
}
