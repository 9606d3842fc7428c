//! Step 1: what the root signed.

use super::Judge;
use crate::map::network_map::Entries;
use crate::map::{Body, Cause};

impl Judge<'_> {
    /// Step 1: parameters, delegations and acts; and what cannot be read at all.
    pub(super) fn hear_root(&mut self, entries: &Entries) {
        let root = self.root;
        for (key, entry) in entries {
            let (what, network, genuine): (_, _, &dyn Fn() -> bool) = match entry.body() {
                Body::Params(params) => ("set of network parameters", params.value().network(), &|| {
                    params.verify(&root).is_ok()
                }),
                Body::Delegation(delegation) => ("delegation", delegation.value().network, &|| {
                    delegation.verify(&root).is_ok()
                }),
                Body::Act(act) => ("admin act", act.value().network, &|| act.verify(&root).is_ok()),
                Body::Broken { why, .. } => {
                    self.refuse_map(Err(Cause::Unreadable {
                        key: *key,
                        why: why.clone(),
                    }));
                    continue;
                }
                Body::Node(_) | Body::Departure(_) | Body::Newer(_) => continue,
            };
            let foreign = network != self.network;
            let verdict = self.verdicts.on(*key, &root, || match genuine() {
                true if foreign => Err(Cause::WrongNetwork),
                true => Ok(()),
                false => Err(Cause::NotByRoot(what)),
            });
            let noted = verdict.and_then(|()| match entry.body() {
                Body::Params(params) => self.memory.note_params(params),
                Body::Delegation(delegation) => self.memory.note_delegation(delegation),
                Body::Act(act) => {
                    self.memory.note_act(*key, act);
                    Ok(())
                }
                Body::Node(_) | Body::Departure(_) | Body::Newer(_) | Body::Broken { .. } => Ok(()),
            });
            self.refuse_map(noted);
        }
    }
}
