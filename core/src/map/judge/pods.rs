//! Pods: the root's word on their prefixes, and on each node's part of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::Judge;
use crate::id::NodeId;
use crate::ipam::{check_terms, fits};
use crate::map::acts::Effects;
use crate::map::{Cause, Node, Refusal};
use crate::statement::{Params, PodPrefixes, PodTerms};

impl Judge<'_> {
    /// The prefixes of pods and services, where they break nothing.
    pub(super) fn pods(&mut self, effects: &Effects, params: &Params) -> Option<PodTerms> {
        let terms = effects.pods.clone()?;
        match check_terms(&terms, &[params.ipv4.into(), params.ipv6.into()]) {
            Ok(()) => Some(terms),
            Err(why) => {
                self.refusals.push(Refusal::of_map(Cause::PodsUnfit(why)));
                None
            }
        }
    }

    /// The nodes' parts that count: inside the pods' prefixes, of nodes that are in. Where two overlap, the earlier act's
    /// node keeps its part, everywhere alike.
    pub(super) fn parts(
        &mut self,
        effects: &Effects,
        terms: Option<&PodTerms>,
        nodes: &BTreeMap<NodeId, Arc<Node>>,
    ) -> BTreeMap<NodeId, PodPrefixes> {
        let mut given: BTreeMap<NodeId, PodPrefixes> = BTreeMap::new();
        let Some(terms) = terms else { return given };
        let mut acts: Vec<_> = effects
            .parts
            .iter()
            .map(|(node, (serial, part))| (*serial, *node, *part))
            .collect();
        acts.sort();
        for (_, node, part) in acts.into_iter().filter(|(_, node, _)| nodes.contains_key(node)) {
            let holder = given
                .iter()
                .find(|(_, held)| meet(held, &part))
                .map(|(node, _)| *node);
            let why = match holder {
                Some(holder) => format!("is node {}'s", nodes[&holder].name),
                None if !fits(terms, &part) => format!("is outside of the pods' prefix {}", terms.ipv4),
                None => {
                    given.insert(node, part);
                    continue;
                }
            };
            let part = IpNet::from(part.ipv4);
            self.refuse(node, Cause::PartUnfit { part, why });
        }
        given
    }
}

fn meet(a: &PodPrefixes, b: &PodPrefixes) -> bool {
    a.all().any(|a| b.all().any(|b| a.contains(&b) || b.contains(&a)))
}
