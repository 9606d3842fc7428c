//! Pods, as the network's task has to do with them: what the map says goes to the keeper of leases ([`crate::pods`]), into
//! routes and allowed IPs; the rules and the forwarding that pods need come with the first one.

use super::task::Task;
use crate::firewall::FencedPods;
use crate::pods::Setting;
use ipnet::IpNet;
use meshd_api::local::{ClusterGround, NodePods};
use meshd_core::balance::reserved;
use meshd_core::gateway::{PodLimit, Service};
use meshd_core::id::NodeId;
use meshd_core::map::View;
use meshd_core::statement::{PodPrefixes, PodTerms};
use tracing::info;

/// What a network's task knows of pods.
#[derive(Debug, Default)]
pub(super) struct Pods {
    /// Prefixes of pods and services.
    terms: Option<PodTerms>,
    /// This node's part.
    part: Option<PodPrefixes>,
    /// Whether there are pods on this node, or were since meshd's start.
    open: bool,
}

impl Pods {
    /// As the map says at a start, where leases wait in the state folder or not.
    pub fn new(view: Option<&View>, own: NodeId, leases: usize) -> Self {
        Self {
            terms: view.and_then(|view| view.pods.clone()),
            part: view.and_then(|view| view.parts.get(&own).copied()),
            open: leases > 0,
        }
    }

    /// The prefixes of all pods of the network.
    pub fn prefixes(&self) -> Vec<IpNet> {
        self.terms.iter().flat_map(PodTerms::pods).collect()
    }

    /// This node's part: what of it no pod has leads nowhere.
    pub fn own(&self) -> Vec<IpNet> {
        self.part.iter().flat_map(PodPrefixes::all).collect()
    }

    /// Whether pods' packets are forwarded here.
    pub fn is_open(&self) -> bool {
        self.open && self.part.is_some()
    }

    /// What our firewall table has to know. A gateway for services sends packets on to pods, also where it has none itself.
    pub fn fenced(
        &self,
        served: &[Service],
        limits: &[PodLimit],
        cluster: &crate::policy::Feed,
    ) -> Option<FencedPods> {
        let services = self.terms.iter().flat_map(|terms| &terms.services);
        let mut served = served.iter().map(|service| service.range);
        let leads_to_pods = served.any(|range| services.clone().any(|prefix| prefix.contains(&range)));
        let part = self.part.filter(|_| self.open || leads_to_pods)?;
        Some(FencedPods {
            part: part.all().collect(),
            limits: limits
                .iter()
                .map(|limit| (limit.prefix, cluster.selected(limit.pods.as_ref())))
                .collect(),
        })
    }
}

impl Task {
    /// Takes what the map says now. Routes and rules follow with [`Self::serve_gateways`].
    pub(super) fn judge_pods(&mut self) {
        let Some(view) = self.map.view() else { return };
        let (terms, part) = (view.pods.clone(), view.parts.get(&self.membership.node).copied());
        if (&terms, &part) != (&self.pods.terms, &self.pods.part) {
            if let Some(part) = part {
                info!(prefix = %part.ipv4, "this node's pods have addresses of their own");
            }
            (self.pods.terms, self.pods.part) = (terms, part);
            self.gateways.touch();
        }
        self.tell_pods();
    }

    /// Tells the keeper of leases what holds.
    pub(super) fn tell_pods(&self) {
        self.pods_keeper.set(Setting {
            part: self.pods.part,
            table: self.interface.table(),
            source: self.interface.addresses,
            mtu: self.interface.mtu,
        });
    }

    /// The first pod comes: forwarding and rules are there when this returns.
    pub(super) async fn open_pods(&mut self) {
        if !self.pods.open {
            self.pods.open = true;
            self.serve_gateways().await;
        }
    }

    /// Pods on this node, for `status`.
    pub(super) fn pods_status(&self) -> Option<NodePods> {
        let part = self.pods.part?;
        Some(NodePods {
            cidr: part.ipv4.to_string(),
            cidr6: part.ipv6.map(|ipv6| ipv6.to_string()),
            leases: self.pods_keeper.leases(),
            // whoever asks for the status asks the keeper of rules himself: this task waits for nobody
            policy: None,
        })
    }

    /// What a cluster uses of this network, for `status`.
    pub(super) fn ground(&self) -> Option<ClusterGround> {
        let view = self.map.view()?;
        let terms = view.pods.as_ref()?;
        let (api, api6) = reserved(&view.params);
        let v6 = terms.ipv6.map(|ipv6| ipv6.to_string());
        Some(ClusterGround {
            api,
            api6,
            pods: [terms.ipv4.to_string()].into_iter().chain(v6).collect(),
            node_prefix: terms.node_prefix,
            services: terms.services.iter().map(ToString::to_string).collect(),
            authority: match terms.tellers.is_empty() {
                true => "mesh".to_owned(),
                false => "kubernetes".to_owned(),
            },
        })
    }

    /// Pods may have come, gone or changed their labels, by which they may send into ranges.
    pub(super) async fn fence_pods(&mut self) {
        if self.gateways.has_limits() && self.pods.is_open() {
            self.fence().await;
        }
    }

    /// Ranges for pods with labels, where this node cannot know its pods' labels.
    pub(super) fn limit_sentence(&self) -> Option<String> {
        let unknown = self.gateways.has_limits() && self.pods.is_open() && self.kube.status().is_none();
        unknown.then(|| {
            "ranges behind gateways are for pods with certain labels, and this node does not hear of its pods' labels: pods whose labels \
             it does not know already do not get there until `meshctl cni credentials --kubeconfig FILE`"
                .to_owned()
        })
    }
}
