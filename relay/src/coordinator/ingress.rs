//! What nodes expose by themselves: asked for by a cluster's control plane, within what the root allowed.
//!
//! An ask is the whole of what one allowance exposes, so what it leaves out is gone. Asks are not stored: who asked asks again whenever it
//! connects, and every 20 s. Each time anything changes, all of them are judged anew against the acts in force: an allowance that is
//! withdrawn, or a node that left, takes its ports along. What an admin exposes comes first.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Instant;

use meshd_api::coordinator::ingress::IngressState;
use meshd_core::expose::{Asked, Exposure, NODE_PORTS, admit, check_place, most_ports, supersedes};
use meshd_core::id::{NetworkId, NodeId};
use meshd_core::statement::{ExposeTerms, IngressTerms};
use tracing::{info, warn};

use super::network::{Budget, Network};
use super::refusal::Refusal;
use super::state::State;
use crate::expose::{Place, Target, Wanted};

/// Whose allowance, and what it is called.
pub type Key = (NetworkId, String);

/// What was asked for last under an allowance.
pub struct Ask {
    by: NodeId,
    term: u64,
    at: Instant,
    budget: Budget,
    ports: Vec<Asked>,
}

/// What became of an allowance's ports.
#[derive(Default)]
pub struct Judged {
    /// Who asked.
    pub by: Option<NodeId>,
    /// Of each port.
    pub ports: Vec<IngressState>,
}

impl State {
    /// Takes what a node asks for; what became of each port. `can_listen` says of one that is news why it cannot be had.
    pub fn ask_ingress(
        &mut self,
        id: NetworkId,
        from: NodeId,
        (allowance, term, ports): (String, u64, Vec<Asked>),
        can_listen: impl Fn(&Asked) -> Result<(), String>,
    ) -> Result<Vec<IngressState>, Refusal> {
        let network = self.network(id)?;
        let terms = network.allowance_for(from, &allowance)?;
        let most = most_ports(terms);
        if ports.len() > most {
            return Err(Refusal::Conflict(format!(
                "{} ports are asked for, and \"{allowance}\" allows {most}; `meshctl expose allow --max-ports` changes that",
                ports.len()
            )));
        }
        let name = network.shown_name(from);
        let key = (id, allowance);
        let (now, held) = (Instant::now(), self.asks.get_mut(&key));
        match held {
            Some(held) if held.by != from && !supersedes(term, held.term, now - held.at) => {
                return Err(Refusal::Conflict(
                    "another control plane was elected since; it speaks for the cluster".into(),
                ));
            }
            Some(held) if held.ports == ports => {
                (held.by, held.term, held.at) = (from, term, now);
            }
            Some(held) => {
                if !held.budget.take() {
                    return Err(Refusal::TooOften);
                }
                info!(allowance = %key.1, node = %name, ports = ports.len(), "a cluster exposes other ports, or leads them elsewhere");
                (held.by, held.term, held.at, held.ports) = (from, term, now, ports);
            }
            None => {
                info!(allowance = %key.1, node = %name, ports = ports.len(), "a cluster exposes ports");
                let budget = Budget::default();
                let ask = Ask {
                    by: from,
                    term,
                    at: now,
                    budget,
                    ports,
                };
                self.asks.insert(key.clone(), ask);
            }
        }
        self.tell_ingress();
        let mut states = self
            .judged
            .get(&key)
            .map(|judged| judged.ports.clone())
            .unwrap_or_default();
        let asked = self
            .asks
            .get(&key)
            .map(|ask| ask.ports.as_slice())
            .unwrap_or_default();
        for (state, asked) in states.iter_mut().zip(asked) {
            if state.refused.is_none() {
                let named = |why| format!("{}/{}: {why}", asked.namespace, asked.service);
                state.refused = can_listen(asked).err().map(named);
            }
        }
        Ok(states)
    }

    /// Tells the ingress what is exposed now.
    pub(in crate::coordinator) fn tell_ingress(&mut self) {
        let networks = self.networks.values();
        let mut wanted: Vec<Wanted> = networks.flat_map(Network::wanted_exposures).collect();
        self.asks.retain(|key, ask| {
            let network = self.networks.get(&key.0);
            network.is_some_and(|network| network.allowance_for(ask.by, &key.1).is_ok())
        });
        let mut judged = BTreeMap::new();
        for (key, ask) in &self.asks {
            let Some(network) = self.networks.get(&key.0) else {
                continue;
            };
            let ports = network.judge_ask(key, ask, &self.site.own_ports, &mut wanted);
            let before = self
                .judged
                .get(key)
                .map(|judged| judged.ports.as_slice())
                .unwrap_or_default();
            for why in ports
                .iter()
                .filter(|port| !before.contains(port))
                .filter_map(|port| port.refused.as_ref())
            {
                warn!(allowance = %key.1, "not exposed: {why}");
            }
            judged.insert(
                key.clone(),
                Judged {
                    by: Some(ask.by),
                    ports,
                },
            );
        }
        self.judged = judged;
        self.exposed.send_if_modified(|held| {
            let new = **held != wanted;
            if new {
                *held = wanted.into();
            }
            new
        });
    }
}

impl Network {
    /// What a node may expose under an allowance.
    fn allowance_for(&self, node: NodeId, allowance: &str) -> Result<&IngressTerms, Refusal> {
        let held = self.nodes.get(&node).and_then(|held| self.delegation_of(held));
        let tags = held.map(|delegation| delegation.terms.tags.as_slice());
        let is_in = self.members().any(|member| member == node);
        let terms = self.effects.ingress().get(allowance).map(|(_, terms)| terms);
        let named = terms.filter(|terms| is_in && terms.askers.name(node, tags.unwrap_or_default()));
        named.ok_or_else(|| {
            Refusal::Conflict(
                "this node may expose nothing by that name: `meshctl expose allow` says which nodes may, and what".into(),
            )
        })
    }

    /// What becomes of each port that was asked for; those that are had are added to `wanted`.
    fn judge_ask(
        &self,
        key: &Key,
        ask: &Ask,
        own: &[meshd_core::expose::OwnPort],
        wanted: &mut Vec<Wanted>,
    ) -> Vec<IngressState> {
        let Some((_, terms)) = self.effects.ingress().get(&key.1) else {
            return Vec::new();
        };
        let mut states = Vec::new();
        for asked in &ask.ports {
            let mut state = IngressState::default();
            let here = (asked.protocol, asked.port);
            let own_shared = own
                .iter()
                .any(|own| (own.protocol, own.port) == here && own.shared);
            let others = wanted
                .iter()
                .any(|one| (one.terms.protocol, one.terms.port) == here);
            let had = admit((&key.1, terms), asked, own_shared || others)
                .map_err(|why| why.to_string())
                .and_then(|terms| {
                    let others: Vec<Exposure> = wanted.iter().map(exposure).collect();
                    check_place(&terms, own, &others).map_err(|why| why.to_string())?;
                    Ok(terms)
                });
            match had {
                Ok(terms) => wanted.push(self.asked_for(key, asked, terms, &mut state.warnings)),
                Err(why) => state.refused = Some(format!("{}/{}: {why}", asked.namespace, asked.service)),
            }
            states.push(state);
        }
        states
    }

    fn asked_for(&self, key: &Key, asked: &Asked, terms: ExposeTerms, warnings: &mut Vec<String>) -> Wanted {
        let mut places = Vec::new();
        for target in &asked.targets {
            match self.place_at(*target) {
                Ok(place) => places.push(place),
                Err(why) => warnings.push(why),
            }
        }
        Wanted {
            network: self.id,
            network_name: self.name().to_owned(),
            prefix: self.params.value().ipv4,
            name: format!(
                "{}/{}:{}/{}",
                asked.namespace,
                asked.service,
                asked.port,
                asked.protocol.word()
            ),
            allowance: Some(key.1.clone()),
            terms,
            places,
        }
    }

    /// A pod, or a node's port for services.
    fn place_at(&self, at: SocketAddrV4) -> Result<Place, String> {
        let found = self.nodes.iter().find(|(id, node)| {
            let part = self.effects.part(**id);
            let pods = part.is_some_and(|part| part.ipv4.contains(at.ip()));
            (node.row.ipv4 == *at.ip() || pods) && !self.is_pending(**id, node)
        });
        let Some((id, node)) = found else {
            return Err(format!(
                "{} is no address of a pod or a node of the network",
                at.ip()
            ));
        };
        let name = self.name_of(*id, node);
        let own = node.row.ipv4 == *at.ip();
        if own && !NODE_PORTS.contains(&at.port()) {
            return Err(format!(
                "{at} is no node port of {name}: of nodes' own ports only {} to {} are led to",
                NODE_PORTS.start(),
                NODE_PORTS.end()
            ));
        }
        Ok(Place {
            target: Target::Address(at),
            name: match own {
                true => name.to_owned(),
                false => format!("{name}/{}", at.ip()),
            },
            address: at.into(),
            node: node.row.ipv4,
        })
    }
}

fn exposure(wanted: &Wanted) -> Exposure {
    Exposure {
        network: wanted.network_name.clone(),
        name: wanted.name.clone(),
        terms: wanted.terms.clone(),
    }
}
