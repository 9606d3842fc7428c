//! What a cluster exposes by itself: whether this node may ask for it, as the root allowed, and the asking.
//!
//! Which services there are the controller knows ([`crate::kube`]); here the coordinator is asked, by the line that proves who asks.

use super::coordinator::Request;
use super::task::Task;
use crate::kube::desk::{Allowed, Outcome, put};
use meshd_api::Problem;
use meshd_api::coordinator::ingress::{IngressAsk, IngressGiven};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is exposed is asked for again after this time: the coordinator forgets it when it starts anew.
const AGAIN: Duration = Duration::from_secs(20);
/// What was refused, because it changes too often or somebody else speaks, is asked for again after this.
const SOON: Duration = Duration::from_secs(2);

/// What was asked for.
#[derive(Debug, Default)]
pub(super) struct Asking {
    last: Option<Arc<IngressAsk>>,
    /// When to ask again, although nothing changed.
    again: Option<Instant>,
}

impl Task {
    /// Tells the controller what this node may expose. Of several allowances the first by name counts.
    pub(super) fn allow_ingress(&self) {
        let allowed = self.map.view().and_then(|view| {
            let own = view.nodes.get(&self.membership.node)?;
            let tags = &own.membership.terms.tags;
            let mut all = view.ingress.iter();
            let (name, terms) = all.find(|(_, terms)| terms.askers.name(own.id, tags))?;
            Some(Arc::new(Allowed {
                name: name.clone(),
                terms: terms.clone(),
                own: own.name.clone(),
                nodes: view.nodes.values().map(|node| node.ipv4).collect(),
                pods: view.parts.values().map(|part| part.ipv4).collect(),
                hosts: self
                    .membership
                    .addresses
                    .iter()
                    .map(|(host, _)| host.clone())
                    .collect(),
            }))
        });
        put(&self.kube.desk().allowed, allowed);
    }

    /// Asks the coordinator for what the controller wants, where that changed or it is time again.
    pub(super) fn ask_ingress(&mut self, now: Instant) {
        let wanted = self.kube.desk().wanted.borrow().clone();
        let Some(ask) = wanted else {
            self.asking = Asking::default();
            return;
        };
        let due = self.asking.again.is_none_or(|again| now >= again);
        if self.asking.last.as_ref() == Some(&ask) && !due {
            return;
        }
        self.asking = Asking {
            last: Some(ask.clone()),
            again: Some(now + AGAIN),
        };
        if self.coordinator.requests.try_send(Request::Ingress(ask)).is_err() {
            self.asking.again = Some(now + SOON);
        }
    }

    /// The line is there again: what was asked before may be forgotten.
    pub(super) fn ask_ingress_anew(&mut self) {
        self.asking = Asking::default();
        self.ask_ingress(Instant::now());
    }

    /// The coordinator answered.
    pub(super) fn ingress_given(&mut self, ask: Arc<IngressAsk>, given: Result<IngressGiven, Problem>) {
        if given.is_err() {
            self.asking.again = Some(Instant::now() + SOON);
        }
        let given = given.map_err(|problem| problem.message);
        put(&self.kube.desk().outcome, Some(Arc::new(Outcome { ask, given })));
    }
}
