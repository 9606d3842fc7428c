//! A new network's ranges against those of this host.

use ipnet::IpNet;
use meshd_api::coordinator::admin::NetworkInfo;
use meshd_core::ranges::{Collision, LocalPrefix, collisions};
use meshd_net::interfaces::{self, Interface};
use meshd_net::netlink::Netlink;

/// Says where a new network's ranges meet those of this host: a node beside the relay could join only by force. What
/// cannot be found out is not worth an error.
pub async fn told(mut made: NetworkInfo) -> NetworkInfo {
    let prefixes: Vec<IpNet> = [&made.cidr, &made.cidr6]
        .into_iter()
        .filter_map(|prefix| prefix.parse().ok())
        .collect();
    let interfaces = match Netlink::new() {
        Ok(netlink) => interfaces::list(&netlink).await.unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    let local: Vec<LocalPrefix> = interfaces.iter().flat_map(prefixes_of).collect();
    let mut met = collisions(&prefixes, &local);
    met.dedup();
    let sentence = |met: Collision| {
        format!("{met} on this host: it, and machines of that LAN, can join only with --force")
    };
    made.warnings.extend(met.into_iter().map(sentence));
    made
}

fn prefixes_of(interface: &Interface) -> Vec<LocalPrefix> {
    let of_addresses = interface.addresses.iter();
    let of_addresses = of_addresses.filter_map(|a| Some(IpNet::new(a.ip, a.prefix_len).ok()?.trunc()));
    let mut prefixes: Vec<IpNet> = of_addresses.chain(interface.routed.iter().copied()).collect();
    prefixes.sort();
    prefixes.dedup();
    let owner = &interface.link.name;
    let local = prefixes.into_iter().filter(|_| !interface.link.loopback);
    local
        .map(|prefix| LocalPrefix {
            prefix,
            owner: owner.clone(),
        })
        .collect()
}
