//! Egress gateways: ranges that this node reaches through others, and ranges that it serves.
//!
//! What follows from the map is decided in [`meshd_core::gateway`]. Here it is done: routes into the tunnel and allowed IPs
//! for the first; forwarding of single interfaces and rules of our table for the second. The node's own LAN comes before
//! any gateway.

mod behind;
mod forwarding;

pub use forwarding::put_back;

use super::task::Task;
use crate::firewall::Fenced;
use forwarding::Forwarding;
use ipnet::IpNet;
use meshd_api::local::RangeStatus;
use meshd_core::gateway::{Duties, Range, Service};
use meshd_core::id::NodeId;
use meshd_core::path::Local;
use meshd_core::ranges::lan_wins;
use meshd_net::netlink::{Family, Route};
use std::collections::BTreeSet;
use std::time::Instant;
use tracing::{info, warn};

/// What a network's task knows of gateways.
#[derive(Default)]
pub(super) struct Gateways {
    duties: Duties,
    forwarding: Forwarding,
    /// The machine's interfaces, routes or the map changed since [`Task::serve_gateways`] looked.
    stale: bool,
    /// What our firewall was last told.
    fenced: Option<Fenced>,
    /// Sentences for `status`.
    sentences: Vec<String>,
}

impl Gateways {
    /// With what an earlier life changed on this machine.
    pub fn recall(files: &crate::state::NetworkFiles) -> Self {
        Self {
            forwarding: Forwarding::recall(files),
            stale: true,
            ..Self::default()
        }
    }

    /// Whether [`Task::serve_gateways`] has something to do.
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// To be looked at again.
    pub fn touch(&mut self) {
        self.stale = true;
    }

    /// Sentences for `status`.
    pub fn sentences(&self) -> impl Iterator<Item = String> + '_ {
        self.sentences.iter().cloned()
    }

    /// The prefixes that go to `node`.
    pub fn routed_to(&self, node: NodeId) -> impl Iterator<Item = IpNet> + '_ {
        let ranges = self.duties.ranges.iter();
        ranges
            .filter(move |range| in_use(range) == Some(node))
            .map(|range| range.prefix)
    }

    fn prefixes(&self) -> Vec<IpNet> {
        self.duties.ranges.iter().map(|range| range.prefix).collect()
    }
}

/// The gateway that a range's packets go to.
fn in_use(range: &Range) -> Option<NodeId> {
    range.members.first().map(|member| member.node)
}

impl Task {
    /// Takes what the map says now. Its effects follow with [`Self::serve_gateways`]; allowed IPs at once.
    pub(super) fn judge_gateways(&mut self) {
        let Some(view) = self.map.view() else { return };
        let duties = Duties::of(&view, self.membership.node, None);
        if duties != self.gateways.duties {
            for service in new(&duties.services, &self.gateways.duties.services) {
                info!(range = %service.range, published = %service.published, "this node is a gateway");
            }
            self.gateways.duties = duties;
            self.gateways.stale = true;
        }
    }

    /// Brings routes, forwarding and rules in line with the map, the machine's LANs and its routes.
    pub(super) async fn serve_gateways(&mut self) {
        self.gateways.stale = false;
        self.gateways.sentences.clear();
        self.give_way().await;
        let routes = self.shared.netlink.routes(Default::default()).await;
        let routes = routes.unwrap_or_else(|error| {
            warn!("cannot read the machine's routes: {error}");
            Vec::new()
        });
        self.forward(&routes).await;
        self.fence().await;
    }

    /// The machine's own LANs keep their routes; the rest of network and ranges goes into the tunnel.
    async fn give_way(&mut self) {
        let ranges = self.gateways.prefixes();
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
        for range in &self.gateways.duties.ranges {
            for lan in lan_wins(&[range.prefix], local) {
                yielded.push(self.own_lan(range, &lan.prefix, &lan.owner));
                throws.push(lan.prefix);
            }
        }
        throws.sort();
        throws.dedup();
        let meshes = self.interface.prefixes.iter().chain(&ranges).copied();
        let local = Local {
            addresses: self.underlay.addresses.clone(),
            port: self.paths.port,
            meshes: meshes.filter(|prefix| !throws.contains(prefix)).collect(),
        };
        match self.interface.route(ranges, throws, &self.shared.netlink).await {
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
        let gateway = in_use(range).map(|node| self.name_of(node)).unwrap_or_default();
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

    /// Switches forwarding on where this node serves ranges, and puts it back where it no longer does.
    async fn forward(&mut self, routes: &[Route]) {
        let mut wanted: BTreeSet<(Family, String)> = BTreeSet::new();
        for service in &self.gateways.duties.services {
            let family = Family::of(service.range.addr());
            let behind = behind::interfaces(service.range, routes, self.interface.index);
            if behind.is_empty() {
                self.gateways.sentences.push(format!(
                    "this node is the gateway for {}, and has no route to it; connect it, or `meshctl gateway remove`",
                    service.range
                ));
                continue;
            }
            wanted.insert((family, self.interface.name.clone()));
            for index in behind {
                wanted.extend(self.interface_named(index).await.map(|name| (family, name)));
            }
        }
        let said = self.gateways.forwarding.set(&wanted, &self.files);
        self.gateways.sentences.extend(said);
    }

    async fn interface_named(&self, index: u32) -> Option<String> {
        let links = self.shared.netlink.links().await.ok()?;
        links
            .into_iter()
            .find(|link| link.index == index)
            .map(|link| link.name)
    }

    /// Keeps this network apart from the machine's others, but for the ranges that this node serves.
    pub(in crate::network) async fn fence(&mut self) {
        let mut guarded = self.gateways.forwarding.switched_on();
        guarded.retain(|name| *name != self.interface.name);
        let fenced = Fenced {
            interface: self.interface.name.clone(),
            addresses: self.interface.addresses,
            services: self.gateways.duties.services.clone(),
            guarded,
            prefixes: self.interface.prefixes,
            lans: self.interface.throws().to_vec(),
            underlay: self.underlay.names.clone(),
        };
        if self.gateways.fenced.as_ref() == Some(&fenced) {
            return;
        }
        match self.shared.firewall.set(fenced.clone()).await {
            Ok(()) => self.gateways.fenced = Some(fenced),
            Err(error) => warn!("{error}"),
        }
    }

    /// Takes away what was done for gateways, besides routes and rules.
    pub(super) fn stop_forwarding(&mut self) {
        for sentence in self.gateways.forwarding.set(&BTreeSet::new(), &self.files) {
            warn!("{sentence}");
        }
    }

    /// The ranges for `status`.
    pub(super) fn ranges(&self) -> Vec<RangeStatus> {
        let used = self.gateways.duties.ranges.iter().map(|range| RangeStatus {
            prefix: range.prefix.to_string(),
            gateway: in_use(range).map(|node| self.name_of(node)),
            gateways: range
                .members
                .iter()
                .map(|member| self.name_of(member.node))
                .collect(),
            served: false,
        });
        let served = self.gateways.duties.services.iter().map(|service| RangeStatus {
            prefix: service.published.to_string(),
            gateway: Some(self.name_of(self.membership.node)),
            gateways: Vec::new(),
            served: true,
        });
        used.chain(served).collect()
    }
}

fn new<'a>(now: &'a [Service], before: &'a [Service]) -> impl Iterator<Item = &'a Service> {
    now.iter().filter(|service| !before.contains(service))
}
