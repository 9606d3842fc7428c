//! Grants: the root's word on where routes of other programs count, where that breaks nothing.

use super::Judge;
use crate::adopted::check;
use crate::gateway::{Gateway, Published};
use crate::map::acts::Effects;
use crate::map::{Cause, Refusal};
use crate::statement::{Grant, Grantee, Params, PodTerms};

impl Judge<'_> {
    /// The grants that count. What would take addresses of nodes, of this network's own pods, or from behind a gateway is
    /// refused, everywhere alike.
    pub(super) fn grants(
        &mut self,
        effects: &Effects,
        params: &Params,
        pods: Option<&PodTerms>,
        gateways: &[Gateway],
    ) -> Vec<Grant> {
        if effects.grants.is_empty() {
            return Vec::new();
        }
        let mesh = [params.ipv4.into(), params.ipv6.into()];
        let published: Vec<_> = gateways
            .iter()
            .map(|gateway| Published {
                prefix: gateway.published(),
                range: gateway.terms.range,
                gateway: self.called(gateway.node).unwrap_or_default(),
            })
            .collect();
        let mut good = Vec::new();
        for grant in &effects.grants {
            let of_pods = pods.into_iter().flat_map(PodTerms::all);
            match check(grant.prefix, &mesh, of_pods, &published) {
                Ok(()) => good.push(grant.clone()),
                Err(why) => match grant.to {
                    Grantee::Node(node) => self.refuse(node, Cause::GrantUnfit(why)),
                    _ => self.refusals.push(Refusal::of_map(Cause::GrantUnfit(why))),
                },
            }
        }
        good
    }
}
