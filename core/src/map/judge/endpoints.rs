//! Endpoints: the root's word on what is balanced, where that breaks nothing.

use super::Judge;
use crate::balance::{Endpoint, check};
use crate::map::acts::Effects;
use crate::map::{Cause, Refusal};
use crate::statement::{Params, PodTerms};

impl Judge<'_> {
    /// The endpoints that count, by name. Of two at one place the first by name counts, everywhere alike.
    pub(super) fn endpoints(
        &mut self,
        effects: &Effects,
        params: &Params,
        pods: Option<&PodTerms>,
    ) -> Vec<Endpoint> {
        let mut good: Vec<Endpoint> = Vec::new();
        for (name, terms) in &effects.endpoints {
            match check(terms, params, pods, &good) {
                Ok(()) => good.push(Endpoint {
                    name: name.clone(),
                    terms: terms.clone(),
                }),
                Err(why) => {
                    let (name, why) = (name.clone(), Box::new(why));
                    self.refusals
                        .push(Refusal::of_map(Cause::EndpointUnfit { name, why }));
                }
            }
        }
        good
    }
}
