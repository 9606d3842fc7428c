//! This machine: its name, its facts, its kernel, its interfaces.

use crate::config::MAX_NETWORKS;
use crate::network::Shared;
use anyhow::Context;
use data_encoding::HEXLOWER;
use ipnet::IpNet;
use meshd_core::id::NetworkId;
use meshd_core::ipam::HOST_PREFIX;
use meshd_core::keys::blake2s;
use meshd_core::ranges::LocalPrefix;
use meshd_net::facts::Facts;
use meshd_net::interfaces::Interface;
use meshd_net::netlink::{Change, Monitor, Netlink, POD_PROTOCOL, RouteFilter, RouteKind};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use tokio::sync::watch;
use tracing::{debug, warn};

/// The machine's host name; `node` where it has none.
pub fn host_name() -> String {
    meshd_net::facts::host_name().unwrap_or_else(|| "node".to_owned())
}

/// Refuses kernels that lack what the data plane needs.
pub fn check_kernel() -> anyhow::Result<()> {
    meshd_net::facts::check_kernel().map_err(anyhow::Error::msg)
}

/// The machine's facts, hashed with the network's id: the coordinator can tell whether two are equal, and no more.
pub fn hashed_facts(network: NetworkId) -> BTreeMap<String, String> {
    let hash = |name: &str, value: &str| {
        let digest = blake2s(&[
            b"meshd fact v1",
            network.as_bytes(),
            name.as_bytes(),
            b"\0",
            value.as_bytes(),
        ]);
        HEXLOWER.encode(&digest[..16])
    };
    Facts::read()
        .named()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), hash(name, &value)))
        .collect()
}

/// Counters that rise whenever the kernel's network configuration changes.
#[derive(Clone)]
pub struct KernelNews {
    /// Whatever changed.
    pub all: watch::Receiver<u64>,
    /// But for pods' interfaces and the routes to them, which come and go all the time.
    pub but_pods: watch::Receiver<u64>,
}

/// Tells changes that are about pods' interfaces alone.
#[derive(Default)]
struct PodInterfaces(BTreeSet<u32>);

impl PodInterfaces {
    fn is_about_them(&mut self, change: &Change) -> bool {
        match change {
            Change::Link { link, gone } if link.name.starts_with(HOST_PREFIX) => {
                match gone {
                    true => self.0.remove(&link.index),
                    false => self.0.insert(link.index),
                };
                true
            }
            Change::Address { address, .. } => self.0.contains(&address.interface),
            Change::Route { route, .. } => {
                route.protocol == POD_PROTOCOL || route.interface.is_some_and(|index| self.0.contains(&index))
            }
            Change::Link { .. } | Change::Rule { .. } | Change::Missed => false,
        }
    }
}

/// The netlink connection, and what rises whenever the kernel's network configuration changes.
pub fn netlink() -> anyhow::Result<(Netlink, KernelNews)> {
    let netlink = Netlink::new().context("cannot talk to the kernel's network configuration")?;
    let mut monitor = Monitor::new().context("cannot watch the kernel's network configuration")?;
    let ((all, all_told), (but_pods, but_pods_told)) = (watch::channel(0), watch::channel(0));
    let mut of_pods = PodInterfaces::default();
    tokio::spawn(async move {
        loop {
            match monitor.next().await {
                Ok(change) => {
                    debug!(?change, "the kernel's network configuration changed");
                    all.send_modify(|count| *count += 1);
                    if !of_pods.is_about_them(&change) {
                        but_pods.send_modify(|count| *count += 1);
                    }
                }
                Err(error) => {
                    warn!(%error, "the kernel's network configuration is no longer watched");
                    return all.closed().await;
                }
            }
        }
    });
    Ok((
        netlink,
        KernelNews {
            all: all_told,
            but_pods: but_pods_told,
        },
    ))
}

/// The machine's interfaces with their addresses.
pub async fn interfaces(shared: &Shared) -> anyhow::Result<Vec<Interface>> {
    meshd_net::interfaces::list(&shared.netlink)
        .await
        .context("cannot read the machine's interfaces")
}

/// Every prefix that the machine has, with its interface's name: of addresses, and of routes straight into an interface
/// (other meshes have their range as a route only). This instance's own interfaces are left out.
pub async fn local_prefixes(shared: &Shared) -> anyhow::Result<Vec<LocalPrefix>> {
    let ours: BTreeSet<String> = (0..MAX_NETWORKS).map(|n| shared.config.interface(n)).collect();
    let mut interfaces = interfaces(shared).await?;
    interfaces.retain(|i| !i.link.loopback && !ours.contains(&i.link.name));
    let routes = shared.netlink.routes(RouteFilter::default()).await;
    let routes = routes.context("cannot read the machine's routes")?;
    let on_link = routes
        .iter()
        .filter(|route| route.kind == RouteKind::Unicast && route.gateway.is_none())
        .filter(|route| !is_of_every_link(route.destination));
    let of_routes = on_link.filter_map(|route| {
        let interface = interfaces
            .iter()
            .find(|i| Some(i.link.index) == route.interface)?;
        Some(LocalPrefix {
            prefix: route.destination,
            owner: interface.link.name.clone(),
        })
    });
    let of_addresses = interfaces.iter().flat_map(prefixes);
    Ok(of_addresses.chain(of_routes).collect())
}

/// Link-local and multicast ranges are on every interface.
fn is_of_every_link(prefix: IpNet) -> bool {
    match prefix.addr() {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_multicast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_multicast(),
    }
}

/// The prefixes of one interface.
pub fn prefixes(interface: &Interface) -> impl Iterator<Item = LocalPrefix> {
    let prefix =
        |a: &meshd_net::netlink::Address| ipnet::IpNet::new(a.ip, a.prefix_len).ok().map(|net| net.trunc());
    interface
        .addresses
        .iter()
        .filter_map(prefix)
        .map(|prefix| LocalPrefix {
            prefix,
            owner: interface.link.name.clone(),
        })
}
