//! Egress gateways: ranges that this node reaches through others, and ranges that it serves.
//!
//! What follows from the map is decided in [`meshd_core::gateway`]. Here it is done: routes into the tunnel and allowed IPs
//! for the first; forwarding of single interfaces and rules of our table for the second. The node's own LAN comes before
//! any gateway.

mod behind;
mod exit;
mod forwarding;
mod lans;
mod prober;

pub use forwarding::put_back;

use super::task::Task;
use crate::firewall::Fenced;
use forwarding::Forwarding;
use ipnet::IpNet;
use meshd_api::local::RangeStatus;
use meshd_core::gateway::probe::Probe;
use meshd_core::gateway::{Choices, Duties, Range, Service};
use meshd_core::id::NodeId;
use meshd_net::netlink::{Family, Route};
use prober::{Heard, Prober};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;
use tracing::{info, warn};

/// What a network's task knows of gateways.
pub(super) struct Gateways {
    duties: Duties,
    choices: Choices,
    exit: exit::Exit,
    prober: Prober,
    /// Published prefixes of ranges that this node can serve now: their LAN is there.
    ready: BTreeSet<IpNet>,
    forwarding: Forwarding,
    /// The machine's interfaces, routes or the map changed since [`Task::serve_gateways`] looked.
    stale: bool,
    /// What our firewall was last told.
    fenced: Option<Fenced>,
    /// Sentences for `status`.
    sentences: Vec<String>,
}

impl Gateways {
    /// With what an earlier life changed on this machine. The node's mesh address must be there.
    pub async fn open(address: Ipv4Addr, files: &crate::state::NetworkFiles) -> Self {
        Self {
            duties: Duties::default(),
            choices: Choices::default(),
            exit: exit::Exit::recall(files),
            prober: Prober::open(address).await,
            ready: BTreeSet::new(),
            forwarding: Forwarding::recall(files),
            stale: true,
            fenced: None,
            sentences: Vec::new(),
        }
    }

    /// Waits for the next datagram about gateways. Safe to cancel.
    pub async fn recv(&self) -> Option<(SocketAddr, Probe)> {
        self.prober.recv().await
    }

    /// When [`Task::ask_gateways`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.choices.poll_timeout()
    }

    /// `packets` more went to a node.
    pub fn sent(&mut self, now: Instant, node: NodeId, packets: u64) {
        if packets > self.prober.take_sent(node) {
            self.choices.handle_traffic(now, node);
        }
    }

    /// Something authentic came from a node.
    pub fn received(&mut self, now: Instant, node: NodeId) {
        self.choices.handle_received(now, node);
    }

    /// Whether [`Task::serve_gateways`] has something to do.
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// Whether there are ranges into which not every pod may send.
    pub fn has_limits(&self) -> bool {
        !self.duties.limits.is_empty()
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
            .filter(move |range| self.choices.of(&range.prefix) == Some(node))
            .map(|range| range.prefix)
    }

    /// The prefixes from which `node` may send besides: it is one of their gateways, though not the one in use. Answers may
    /// come back by another gateway than the questions went.
    pub fn also_from(&self, node: NodeId) -> impl Iterator<Item = IpNet> + '_ {
        let is_spare = move |range: &&Range| {
            self.choices.of(&range.prefix) != Some(node) && range.members.iter().any(|m| m.node == node)
        };
        self.duties
            .ranges
            .iter()
            .filter(is_spare)
            .map(|range| range.prefix)
    }

    fn prefixes(&self) -> Vec<IpNet> {
        self.duties.ranges.iter().map(|range| range.prefix).collect()
    }
}

impl Task {
    /// Takes what the map says now. Its effects follow with [`Self::serve_gateways`]; allowed IPs at once.
    pub(super) fn judge_gateways(&mut self) {
        let Some(view) = self.map.view() else { return };
        let duties = Duties::of(&view, self.membership.node, self.gateways.exit.nodes());
        if duties != self.gateways.duties {
            for service in new(&duties.services, &self.gateways.duties.services) {
                info!(range = %service.range, published = %service.published, "this node is a gateway");
            }
            self.gateways.choices.set(Instant::now(), &duties.ranges);
            self.gateways.duties = duties;
            self.gateways.stale = true;
        }
    }

    /// Asks the gateways that are due whether they are well, and follows where a choice changed.
    pub(super) fn ask_gateways(&mut self, now: Instant) {
        for (node, prefix) in self.gateways.choices.handle_timeout(now) {
            let address = self
                .map
                .view()
                .and_then(|view| view.nodes.get(&node).map(|node| node.ipv4));
            if let Some(address) = address {
                self.gateways.prober.ask(node, address, prefix);
            }
        }
        self.follow_choices();
    }

    /// A question or an answer came.
    pub(super) fn gateway_said(&mut self, from: SocketAddr, probe: Probe) {
        match self.gateways.prober.heard(from, probe) {
            Some(Heard::Question(from, nonce, prefix)) => {
                let serves = self.gateways.ready.contains(&prefix);
                self.gateways.prober.answer(from, nonce, serves);
            }
            Some(Heard::Answer(node, prefix, serves)) => {
                self.gateways
                    .choices
                    .handle_answer(Instant::now(), node, &prefix, serves);
                self.follow_choices();
            }
            None => {}
        }
    }

    /// A node goes away: where another serves the same range, packets go there from now on.
    pub(super) fn gateway_goes(&mut self, node: NodeId) {
        self.gateways.choices.handle_goodbye(Instant::now(), node);
        self.follow_choices();
    }

    fn follow_choices(&mut self) {
        if self.gateways.choices.poll_change() {
            for range in self
                .gateways
                .duties
                .ranges
                .iter()
                .filter(|range| range.members.len() > 1)
            {
                let gateway = self
                    .gateways
                    .choices
                    .of(&range.prefix)
                    .map(|node| self.name_of(node));
                info!(range = %range.prefix, gateway, "gateway in use");
            }
            self.set_plane_peers();
        }
    }

    /// Brings routes, forwarding and rules in line with the map, the machine's LANs and its routes.
    pub(super) async fn serve_gateways(&mut self) {
        self.gateways.stale = false;
        self.gateways.sentences.clear();
        self.find_coordinator().await;
        let routes = self.shared.netlink.routes(Default::default()).await;
        let routes = routes.unwrap_or_else(|error| {
            warn!("cannot read the machine's routes: {error}");
            Vec::new()
        });
        self.give_way(&routes).await;
        self.look_for_routes().await;
        self.forward(&routes).await;
        self.fence().await;
    }

    /// Switches forwarding on where this node serves ranges, and puts it back where it no longer does.
    async fn forward(&mut self, routes: &[Route]) {
        let mut wanted: BTreeSet<(Family, String)> = BTreeSet::new();
        let mut ready = BTreeSet::new();
        wanted.extend(self.forwarding_for_pods(routes).await);
        let links = if self.gateways.duties.services.is_empty() {
            Vec::new()
        } else {
            self.shared.netlink.links().await.unwrap_or_default()
        };
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
            for link in links.iter().filter(|link| behind.contains(&link.index)) {
                wanted.insert((family, link.name.clone()));
                if link.up && link.carrier {
                    ready.insert(service.published);
                }
            }
        }
        self.gateways.ready = ready;
        let said = self.gateways.forwarding.set(&wanted, &self.files);
        self.gateways.sentences.extend(said);
    }

    /// The interfaces that forward for pods: the tunnel's, and those of default routes, by which answers from the internet
    /// come. A pod's own interface is its plugin's.
    async fn forwarding_for_pods(&self, routes: &[Route]) -> BTreeSet<(Family, String)> {
        let mut wanted = BTreeSet::new();
        if !self.pods.is_open() {
            return wanted;
        }
        let links = self.shared.netlink.links().await.unwrap_or_default();
        for prefix in self.pods.own() {
            let family = Family::of(prefix.addr());
            wanted.insert((family, self.interface.name.clone()));
            let everything = match family {
                Family::V4 => IpNet::from(ipnet::Ipv4Net::default()),
                Family::V6 => ipnet::Ipv6Net::default().into(),
            };
            let uplinks = behind::interfaces(everything, routes, self.interface.index);
            let uplinks = links.iter().filter(|link| uplinks.contains(&link.index));
            wanted.extend(uplinks.map(|link| (family, link.name.clone())));
        }
        wanted
    }

    /// Keeps this network apart from the machine's others, but for the ranges that this node serves.
    pub(in crate::network) async fn fence(&mut self) {
        let mut guarded = self.gateways.forwarding.switched_on();
        guarded.retain(|name| *name != self.interface.name);
        let fenced = Fenced {
            interface: self.interface.name.clone(),
            addresses: self.interface.addresses,
            held: self.held_alone(),
            services: self.gateways.duties.services.clone(),
            guarded,
            prefixes: self.interface.prefixes,
            lans: self.interface.throws().to_vec(),
            underlay: self.underlay.names.clone(),
            pods: self.pods.fenced(
                &self.gateways.duties.services,
                &self.gateways.duties.limits,
                self.pods_keeper.policy().feed(),
            ),
            granted: self.routes.granted().to_vec(),
            adopts: self.routes.is_any(),
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

    /// The name of the gateway that a range's packets go to; none where it is not well.
    fn gateway_of(&self, range: &Range) -> Option<String> {
        let choices = &self.gateways.choices;
        let well = choices.is_well(&range.prefix) || range.members.len() == 1;
        choices
            .of(&range.prefix)
            .filter(|_| well)
            .map(|node| self.name_of(node))
    }

    /// The ranges for `status`.
    pub(super) fn ranges(&self) -> Vec<RangeStatus> {
        let used = self.gateways.duties.ranges.iter().map(|range| RangeStatus {
            prefix: range.prefix.to_string(),
            gateway: self.gateway_of(range),
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
