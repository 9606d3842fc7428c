//! Kubernetes' word on nodes' parts of the pods' prefixes, as its control planes tell it.
//!
//! Who may tell it stands in the root's act on the pods' prefixes. What is told is signed like any part where the root key is
//! here; where it is elsewhere it waits for an admin to sign it (`meshctl network pods`). A part must lie in the pods'
//! prefixes and overlap nothing in use, whoever tells it: peers check the same.

use ipnet::IpNet;
use meshd_api::coordinator::node::{NodePart, Parts, PartsTaken};
use meshd_core::id::{NetworkId, NodeId};
use meshd_core::ipam::fits;
use meshd_core::statement::{Deed, PodPrefixes};

use crate::coordinator::network::Network;
use crate::coordinator::refusal::Refusal;
use crate::coordinator::state::{Effect, State};

/// Most nodes of which one request tells.
const MOST: usize = 1024;

impl State {
    /// Takes what a control plane tells of nodes' parts.
    pub fn tell_parts(
        &mut self,
        network: NetworkId,
        from: NodeId,
        told: &Parts,
    ) -> Result<PartsTaken, Refusal> {
        let held = self.network(network)?;
        held.check_teller(from)?;
        let parts = told
            .parts
            .iter()
            .take(MOST)
            .map(read)
            .collect::<Result<Vec<_>, _>>()?;
        let news: Vec<_> = parts
            .into_iter()
            .filter(|(node, part)| {
                held.effects.part(*node) != Some(*part) && held.told.get(node) != Some(part)
            })
            .collect();
        if news.is_empty() {
            return Ok(PartsTaken::default());
        }
        self.write(network, |network, batch| {
            let mut taken = PartsTaken::default();
            let mut said = Vec::new();
            for (node, part) in news {
                if let Err(why) = network.check_told(node, &part) {
                    taken.refused.push(why);
                    continue;
                }
                said.push(format!("{} for \"{}\"", part.ipv4, network.shown_name(node)));
                taken.taken += 1;
                if network.root.is_some() {
                    let act = network.act(Deed::PodPrefixes { node, prefixes: part }, None)?;
                    network.take_act(&act, batch)?;
                } else {
                    network.told.insert(node, part);
                }
            }
            let teller = network.shown_name(from);
            let line = format!("\"{teller}\" tells of Kubernetes' prefixes: {}", said.join(", "));
            let effect = match said.is_empty() {
                true => Effect::default(),
                false => Effect::audited(network, &line),
            };
            Ok((taken, effect))
        })
    }
}

impl Network {
    /// Only nodes that the root named tell of parts.
    fn check_teller(&self, from: NodeId) -> Result<(), Refusal> {
        let tags = self.nodes.get(&from).and_then(|node| self.delegation_of(node));
        let tags = tags
            .map(|delegation| delegation.terms.tags.as_slice())
            .unwrap_or_default();
        let named = self
            .effects
            .pods()
            .is_some_and(|terms| terms.tellers.name(from, tags));
        match named && self.members().any(|node| node == from) {
            true => Ok(()),
            false => Err(Refusal::Conflict(
                "this node does not tell of nodes' parts: `meshctl network pods --authority kubernetes --control-planes` says which do".into(),
            )),
        }
    }

    /// Why a part that was told is not taken.
    fn check_told(&self, node: NodeId, part: &PodPrefixes) -> Result<(), String> {
        let name = self.shown_name(node);
        if !self.members().any(|member| member == node) {
            return Err(format!("node {node} is not in the network"));
        }
        let Some(terms) = self.effects.pods().filter(|terms| fits(terms, part)) else {
            return Err(format!(
                "{} of \"{name}\" lies outside of the pods' prefix",
                part.ipv4
            ));
        };
        if part.ipv4 == terms.ipv4 {
            return Err(format!(
                "{} of \"{name}\" is the whole of the pods' prefix",
                part.ipv4
            ));
        }
        let overlap = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
        let used = self.in_use_but(Some(node));
        let met = part
            .all()
            .find_map(|one| used.iter().find(|used| overlap(used, &one)).copied());
        match met {
            Some(met) => Err(format!(
                "{} of \"{name}\" overlaps {met}, which is in use",
                part.ipv4
            )),
            None => Ok(()),
        }
    }
}

fn read(told: &NodePart) -> Result<(NodeId, PodPrefixes), Refusal> {
    let odd = |what: &str| Refusal::Invalid(format!("\"{what}\" is no prefix, or no node's id"));
    let prefixes = PodPrefixes {
        ipv4: told.cidr.parse().map_err(|_| odd(&told.cidr))?,
        ipv6: match &told.cidr6 {
            Some(text) => Some(text.parse().map_err(|_| odd(text))?),
            None => None,
        },
    };
    let whole = prefixes.all().all(|prefix| prefix == prefix.trunc());
    if !whole {
        return Err(odd(&told.cidr));
    }
    Ok((told.node.parse().map_err(|_| odd(&told.node))?, prefixes))
}
