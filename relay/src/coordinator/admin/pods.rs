//! Pods: the prefixes of a network's pods and services, and each node's part of them.
//!
//! Where the root key is here, every node that is in has a part, from the moment of its join or of the prefixes' for as long
//! as it is in. Where the root key is elsewhere, an admin signs each part.

use ipnet::IpNet;
use meshd_api::coordinator::admin::{Done, NetworkPods, NodePods, PodsInfo};
use meshd_core::id::{NetworkId, NodeId};
use meshd_core::ipam::{check_terms, fits, next_prefixes};
use meshd_core::statement::{Deed, PodPrefixes, PodTerms, Tellers};

use super::gateways::prefix;
use super::shown;
use crate::coordinator::network::Network;
use crate::coordinator::refusal::Refusal;
use crate::coordinator::state::{Effect, State};
use crate::store::Batch;

impl State {
    /// Gives a network's pods and services prefixes, or changes them.
    pub fn set_pods(&mut self, network: NetworkId, wanted: &NetworkPods) -> Result<Done, Refusal> {
        self.write(network, |network, batch| {
            let terms = terms(&wanted.pods)?;
            network.check_pods(&terms)?;
            let message = set(network.name(), &terms);
            let act = network.act(Deed::PodNetwork { terms }, wanted.statement.as_ref())?;
            network.take_act(&act, batch)?;
            let effect = Effect::audited(network, &message);
            Ok((Done { message }, effect))
        })
    }

    /// Gives a node its part of the pods' prefixes.
    pub fn give_pods(&mut self, network: NetworkId, name: &str, wanted: &NodePods) -> Result<Done, Refusal> {
        self.write(network, |network, batch| {
            let node = network.node_named(name)?;
            let prefixes = PodPrefixes {
                ipv4: ipv4(&wanted.cidr)?,
                ipv6: wanted.cidr6.as_deref().map(ipv6).transpose()?,
            };
            network.check_part(node, &prefixes)?;
            let message = format!(
                "pods on \"{}\" have addresses in {}",
                network.shown_name(node),
                prefixes.ipv4
            );
            let act = network.act(Deed::PodPrefixes { node, prefixes }, wanted.statement.as_ref())?;
            network.take_act(&act, batch)?;
            let effect = Effect::audited(network, &message);
            Ok((Done { message }, effect))
        })
    }
}

impl Network {
    /// Gives every node that is in and has none its part, around everything in use and `avoid`. Does nothing where the root
    /// key is elsewhere, and leaves out whom nothing is left for.
    pub fn allot_pods(&mut self, avoid: &[IpNet], batch: &mut Batch) -> Result<(), Refusal> {
        let ours = |terms: &&PodTerms| self.root.is_some() && terms.tellers.is_empty();
        let Some(terms) = self.effects.pods().filter(ours).cloned() else {
            return Ok(());
        };
        let without: Vec<NodeId> = self
            .members()
            .filter(|node| self.effects.part(*node).is_none())
            .collect();
        if without.is_empty() {
            return Ok(());
        }
        let mut used = self.in_use();
        used.extend(avoid);
        for node in without {
            let Some(prefixes) = next_prefixes(&terms, &used) else {
                return Ok(());
            };
            used.extend(prefixes.all());
            let act = self.act(Deed::PodPrefixes { node, prefixes }, None)?;
            self.take_act(&act, batch)?;
        }
        Ok(())
    }

    /// The prefixes of pods and services, as an admin sees them.
    pub(super) fn pods_shown(&self) -> Option<PodsInfo> {
        let terms = self.effects.pods()?;
        Some(PodsInfo {
            cidr: terms.ipv4.to_string(),
            cidr6: terms.ipv6.map(|ipv6| ipv6.to_string()),
            node_prefix: terms.node_prefix,
            services: terms.services.iter().map(ToString::to_string).collect(),
            control_planes: terms.tellers.nodes.iter().map(NodeId::to_string).collect(),
            control_plane_tags: terms.tellers.tags.clone(),
        })
    }

    /// What Kubernetes gave a node and is not signed yet, as an admin sees it.
    pub(super) fn told_shown(&self, node: NodeId) -> Vec<String> {
        let told = self.told.get(&node).copied();
        let news = told.filter(|told| self.effects.part(node) != Some(*told));
        let all = news.into_iter().flat_map(|part| part.all());
        all.map(|prefix| prefix.to_string()).collect()
    }

    /// A node's part, as an admin sees it.
    pub(super) fn part_shown(&self, node: NodeId) -> Vec<String> {
        let part = self.effects.part(node);
        part.into_iter()
            .flat_map(|part| part.all())
            .map(|prefix| prefix.to_string())
            .collect()
    }

    /// The parts of all nodes that are in.
    pub(super) fn parts_in_use(&self) -> Vec<IpNet> {
        self.parts_in_use_but(None)
    }

    fn parts_in_use_but(&self, node: Option<NodeId>) -> Vec<IpNet> {
        self.nodes
            .keys()
            .filter(|other| Some(**other) != node)
            .filter_map(|node| self.effects.part(*node))
            .flat_map(|part| part.all())
            .collect()
    }

    /// Everything that a new part must leave alone.
    fn in_use(&self) -> Vec<IpNet> {
        self.in_use_but(None)
    }

    /// The same, for a new part of a node that may have one.
    pub(super) fn in_use_but(&self, node: Option<NodeId>) -> Vec<IpNet> {
        let mut used = self.parts_in_use_but(node);
        for (_, terms) in self.gateways().filter(|(_, terms)| terms.range.prefix_len() > 0) {
            used.extend([terms.range, terms.published.unwrap_or(terms.range)]);
        }
        used
    }

    /// New prefixes must hold what nodes have: a part is fixed for its node's life.
    fn check_pods(&self, terms: &PodTerms) -> Result<(), Refusal> {
        let params = self.params.value();
        let mesh = [params.ipv4.into(), params.ipv6.into()];
        check_terms(terms, &mesh).map_err(|why| Refusal::Invalid(why.to_string()))?;
        let by_mesh = self.effects.pods().map(|held| held.tellers.is_empty());
        if !self.parts_in_use().is_empty()
            && by_mesh.is_some_and(|by_mesh| by_mesh != terms.tellers.is_empty())
        {
            return Err(Refusal::Conflict(
                "nodes have their parts already; who allots them, the mesh or Kubernetes, is chosen before the first one has".into(),
            ));
        }
        for node in self.nodes.keys() {
            let Some(part) = self.effects.part(*node).filter(|part| !fits(terms, part)) else {
                continue;
            };
            return Err(Refusal::Conflict(format!(
                "\"{}\" has {} for its pods, which lies outside of the new prefix; a node keeps its part as long as it is in",
                self.shown_name(*node),
                part.ipv4
            )));
        }
        Ok(())
    }

    fn check_part(&self, node: NodeId, part: &PodPrefixes) -> Result<(), Refusal> {
        let Some(terms) = self.effects.pods() else {
            let text =
                "this network's pods have no prefix yet: `meshctl network pods NAME --pod-cidr PREFIX`";
            return Err(Refusal::Conflict(text.into()));
        };
        let by_mesh = terms.tellers.is_empty();
        if let Some(held) = self.effects.part(node).filter(|_| by_mesh) {
            let text = format!("it has {} already, and keeps it as long as it is in", held.ipv4);
            return Err(Refusal::Conflict(text));
        }
        if !fits(terms, part) {
            let text = format!("{} lies outside of the pods' prefix {}", part.ipv4, terms.ipv4);
            return Err(Refusal::Invalid(text));
        }
        let overlap = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
        let met = part.all().find_map(|one| {
            let used = self.in_use_but(Some(node));
            used.into_iter().find(|used| overlap(used, &one))
        });
        match met {
            Some(met) => Err(Refusal::Conflict(format!(
                "{} overlaps {met}, which is in use",
                part.ipv4
            ))),
            None => Ok(()),
        }
    }
}

fn terms(wanted: &PodsInfo) -> Result<PodTerms, Refusal> {
    let services = wanted.services.iter().map(|text| prefix(text));
    let odd = |text: &str| Refusal::Invalid(format!("\"{}\" is no node's id", shown(text)));
    let nodes = wanted
        .control_planes
        .iter()
        .map(|text| text.parse().map_err(|_| odd(text)));
    Ok(PodTerms {
        ipv4: ipv4(&wanted.cidr)?,
        ipv6: wanted.cidr6.as_deref().map(ipv6).transpose()?,
        node_prefix: wanted.node_prefix,
        services: services.collect::<Result<_, _>>()?,
        tellers: Tellers {
            nodes: nodes.collect::<Result<_, _>>()?,
            tags: wanted.control_plane_tags.clone(),
        },
    })
}

/// What an admin is told.
fn set(network: &str, terms: &PodTerms) -> String {
    let prefixes: Vec<String> = terms.pods().map(|prefix| prefix.to_string()).collect();
    let prefixes = prefixes.join(" and ");
    match terms.tellers.is_empty() {
        true => format!(
            "pods of {network} have addresses in {prefixes}, each node a /{} of it",
            terms.node_prefix
        ),
        false => format!(
            "pods of {network} have addresses in {prefixes}, each node what Kubernetes gives it, as its control planes tell"
        ),
    }
}

fn ipv4(text: &str) -> Result<ipnet::Ipv4Net, Refusal> {
    match prefix(text)? {
        IpNet::V4(net) => Ok(net),
        IpNet::V6(net) => Err(Refusal::Invalid(format!(
            "{net} is no IPv4 prefix; write it as 10.42.0.0/16"
        ))),
    }
}

fn ipv6(text: &str) -> Result<ipnet::Ipv6Net, Refusal> {
    match prefix(text)? {
        IpNet::V6(net) => Ok(net),
        IpNet::V4(net) => Err(Refusal::Invalid(format!(
            "{net} is no IPv6 prefix; write it as fd42::/56"
        ))),
    }
}
