//! The machine's own LANs come before the network, its pods and every gateway.

use super::super::task::Task;
use ipnet::IpNet;
use meshd_core::gateway::Range;
use meshd_core::path::Local;
use meshd_core::ranges::lan_wins;
use meshd_net::netlink::Route;
use std::time::Instant;
use tracing::warn;

impl Task {
    /// The machine's own LANs keep their routes; the rest of network and ranges goes into the tunnel.
    pub(super) async fn give_way(&mut self, routes: &[Route]) {
        let mut ranges = self.gateways.prefixes();
        ranges.extend(self.pods.prefixes());
        let kept = self.kept_from_exit(routes);
        let local = &self.underlay.prefixes;
        let inside = lan_wins(&self.interface.prefixes, local);
        let mut yielded: Vec<String> = inside
            .iter()
            .map(|lan| {
                format!(
                    "{} of {} lies in this network's range and keeps its own route",
                    lan.prefix, lan.owner
                )
            })
            .collect();
        let mut throws: Vec<IpNet> = inside.iter().map(|lan| lan.prefix).collect();
        throws.extend(kept);
        for range in self
            .gateways
            .duties
            .ranges
            .iter()
            .filter(|range| range.prefix.prefix_len() > 0)
        {
            for lan in lan_wins(&[range.prefix], local) {
                yielded.push(self.own_lan(range, &lan.prefix, &lan.owner));
                throws.push(lan.prefix);
            }
        }
        for pods in self.pods.prefixes() {
            for lan in lan_wins(&[pods], local) {
                yielded.push(format!(
                    "{} of {} lies in {pods}, the prefix of this network's pods, and keeps its own route",
                    lan.prefix, lan.owner
                ));
                throws.push(lan.prefix);
            }
        }
        throws.sort();
        throws.dedup();
        let local = Local {
            addresses: self.underlay.addresses.clone(),
            port: self.paths.port,
            meshes: [&self.interface.prefixes[..], &self.pods.prefixes()].concat(),
        };
        match self
            .interface
            .route((ranges, self.pods.own()), throws, &self.shared.netlink)
            .await
        {
            Ok(true) => yielded
                .iter()
                .filter(|s| !self.yielded.contains(s))
                .for_each(|s| warn!("{s}")),
            Ok(false) => {}
            Err(error) => warn!("{error:#}"),
        }
        self.yielded = yielded;
        self.agent.set_local(Instant::now(), local);
    }

    fn own_lan(&self, range: &Range, lan: &IpNet, owner: &str) -> String {
        let gateway = self.gateways.choices.of(&range.prefix);
        let gateway = gateway.map(|node| self.name_of(node)).unwrap_or_default();
        if *lan == range.prefix {
            return format!(
                "{lan} is this node's own LAN ({owner}) and keeps its own route; the gateway \"{gateway}\" is not used for it here"
            );
        }
        format!(
            "{lan} of {owner} lies in {}, which the gateway \"{gateway}\" publishes, and keeps its own route",
            range.prefix
        )
    }
}
