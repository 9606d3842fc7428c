//! `meshd clean` and `meshctl clean`: the machine as it was before meshd.

use crate::config::{CleanArgs, Config};
use crate::descriptors::Descriptors;
use crate::firewall::Firewall;
use crate::hosts::HostsFile;
use crate::machine;
use crate::network::Shared;
use crate::state::StateDir;
use anyhow::{Context, bail};
use meshd_net::netlink::{Netlink, POD_PROTOCOL, Route};
use std::collections::BTreeSet;

/// `meshd clean`: for a meshd that does not run.
///
/// # Errors
/// Where meshd runs (it holds the state folder), and with everything that could not be taken away.
pub fn clean(args: CleanArgs) -> anyhow::Result<()> {
    let config = Config::from(args.run);
    let state =
        StateDir::open(&config.state_dir).context("if meshd runs, `meshctl clean` asks it to clean up")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut left = runtime.block_on(async {
        let (netlink, _) = machine::netlink()?;
        Descriptors::open(&config).forget_all();
        let mut left = kernel(&config, &netlink).await;
        for membership in state.memberships().0 {
            left.extend(crate::network::gateways::put_back(
                &state.network(membership.network),
            ));
        }
        let hosts = HostsFile::open(
            &config.hosts_file,
            &config.state_dir,
            &config.instance.to_string(),
        );
        left.extend(
            hosts
                .and_then(|mut file| file.clean())
                .err()
                .map(|e| e.to_string()),
        );
        anyhow::Ok(left)
    })?;
    if args.forget {
        left.extend(state.remove().err().map(|e| e.to_string()));
    }
    if !left.is_empty() {
        bail!("something is left: {}", left.join("; "));
    }
    println!("this machine is as it was before meshd");
    Ok(())
}

/// For a meshd that runs, after its networks went down: what is left, as sentences.
pub async fn machine(config: &Config, shared: &Shared) -> Vec<String> {
    shared.descriptors.forget_all();
    let mut left = kernel(config, &shared.netlink).await;
    left.extend(shared.names.clean().err().map(|e| e.to_string()));
    left
}

/// Takes our interfaces, routes, rules and firewall rules away; goes on past errors and returns them.
async fn kernel(config: &Config, netlink: &Netlink) -> Vec<String> {
    let mut left = Vec::new();
    left.extend(Firewall::new(config).clean().await.err().map(|e| e.to_string()));
    left.extend(crate::policy::clean(config).await.err().map(|e| e.to_string()));
    for number in 0..crate::config::MAX_NETWORKS {
        let name = config.interface(number);
        match netlink.link(&name).await {
            Ok(Some(link)) => left.extend(netlink.delete_link(link.index).await.err().map(|e| e.to_string())),
            Ok(None) => {}
            Err(error) => left.push(error.to_string()),
        }
    }
    left.extend(tables(config, netlink).await);
    left
}

/// Empties the routing tables of this instance and deletes their rules.
async fn tables(config: &Config, netlink: &Netlink) -> Vec<String> {
    let mut left = Vec::new();
    let range = |first: u32| first..first + u32::from(crate::config::MAX_NETWORKS);
    match netlink.rules(None).await {
        Ok(rules) => {
            for rule in rules
                .iter()
                .filter(|rule| range(config.rule_preference(0)).contains(&rule.preference))
            {
                left.extend(netlink.delete_rule(rule).await.err().map(|e| e.to_string()));
            }
        }
        Err(error) => left.push(error.to_string()),
    }
    match netlink.routes(Default::default()).await {
        Ok(routes) => {
            let ours = |route: &&Route| range(config.table(0)).contains(&route.table);
            let (pods, others): (Vec<&Route>, Vec<&Route>) = routes
                .iter()
                .filter(ours)
                .partition(|route| route.protocol == POD_PROTOCOL);
            left.extend(cables(&pods, netlink).await);
            for route in others {
                left.extend(netlink.delete_route(route).await.err().map(|e| e.to_string()));
            }
        }
        Err(error) => left.push(error.to_string()),
    }
    left
}

/// Deletes the interfaces of pods that are still connected; these routes end with them.
async fn cables(routes: &[&Route], netlink: &Netlink) -> Vec<String> {
    let mut left = Vec::new();
    let interfaces: BTreeSet<u32> = routes.iter().filter_map(|route| route.interface).collect();
    for interface in interfaces {
        left.extend(netlink.delete_link(interface).await.err().map(|e| e.to_string()));
    }
    left
}
