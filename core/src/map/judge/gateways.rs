//! Gateways: acts of the root about nodes that are in, where their range breaks nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Judge;
use crate::gateway::{Gateway, Published, apart_from_pods, check};
use crate::id::NodeId;
use crate::map::acts::Effects;
use crate::map::{Cause, Node};
use crate::statement::{Params, PodPrefixes};

impl Judge<'_> {
    /// The gateways that count. The root may err; a range that would take the network's own addresses, or another
    /// gateway's, is refused here too: of two the one of the higher node id, everywhere alike.
    pub(super) fn gateways(
        &mut self,
        effects: &Effects,
        params: &Params,
        nodes: &BTreeMap<NodeId, Arc<Node>>,
        parts: &BTreeMap<NodeId, PodPrefixes>,
    ) -> Vec<Gateway> {
        let mesh = [params.ipv4.into(), params.ipv6.into()];
        let pods: Vec<_> = parts.values().flat_map(PodPrefixes::all).collect();
        let (mut gateways, mut published) = (Vec::new(), Vec::new());
        for ((node, range), terms) in &effects.gateways {
            let Some(held) = nodes.get(node) else { continue };
            let (node, terms) = (*node, terms.clone());
            let gateway = Gateway { node, terms };
            let fits = check(*range, gateway.published(), &mesh, &published)
                .and_then(|()| apart_from_pods(gateway.published(), &pods));
            match fits {
                Ok(()) => {
                    published.push(Published {
                        prefix: gateway.published(),
                        range: *range,
                        gateway: held.name.clone(),
                    });
                    gateways.push(gateway);
                }
                Err(why) => self.refuse(node, Cause::GatewayUnfit(why)),
            }
        }
        gateways
    }
}
