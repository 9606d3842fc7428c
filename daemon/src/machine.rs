//! This machine: its name, its facts, its kernel, its interfaces.

use crate::network::Shared;
use anyhow::Context;
use data_encoding::HEXLOWER;
use meshd_core::id::NetworkId;
use meshd_core::keys::blake2s;
use meshd_core::ranges::LocalPrefix;
use meshd_net::facts::Facts;
use meshd_net::interfaces::Interface;
use meshd_net::netlink::{Monitor, Netlink};
use std::collections::BTreeMap;
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

/// The netlink connection, and a counter that rises whenever the kernel's network configuration changes.
pub fn netlink() -> anyhow::Result<(Netlink, watch::Receiver<u64>)> {
    let netlink = Netlink::new().context("cannot talk to the kernel's network configuration")?;
    let mut monitor = Monitor::new().context("cannot watch the kernel's network configuration")?;
    let (changes, receiver) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            match monitor.next().await {
                Ok(change) => {
                    debug!(?change, "the kernel's network configuration changed");
                    changes.send_modify(|count| *count += 1);
                }
                Err(error) => {
                    warn!(%error, "the kernel's network configuration is no longer watched");
                    return changes.closed().await;
                }
            }
        }
    });
    Ok((netlink, receiver))
}

/// The machine's interfaces with their addresses.
pub async fn interfaces(shared: &Shared) -> anyhow::Result<Vec<Interface>> {
    meshd_net::interfaces::list(&shared.netlink)
        .await
        .context("cannot read the machine's interfaces")
}

/// Every prefix that the machine has, with its interface's name.
pub async fn local_prefixes(shared: &Shared) -> anyhow::Result<Vec<LocalPrefix>> {
    let interfaces = interfaces(shared).await?;
    Ok(interfaces
        .iter()
        .filter(|i| !i.link.loopback)
        .flat_map(prefixes)
        .collect())
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
