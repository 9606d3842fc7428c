//! What passes between a network's task and the controller of services: what may be exposed, what is to be, and what became of it.

use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use meshd_api::coordinator::ingress::{IngressAsk, IngressGiven};
use meshd_core::statement::IngressTerms;
use tokio::sync::watch;

/// What this node may expose, as the root allowed it, and what of the mesh that concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The allowance's name.
    pub name: String,
    /// What it says.
    pub terms: IngressTerms,
    /// What this node is called.
    pub own: String,
    /// Mesh addresses of the nodes that are in.
    pub nodes: Vec<Ipv4Addr>,
    /// Prefixes of pods whose network is the mesh.
    pub pods: Vec<Ipv4Net>,
    /// Names and addresses of the coordinator, for where it names none itself.
    pub hosts: Vec<String>,
}

/// What became of an ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What was asked.
    pub ask: Arc<IngressAsk>,
    /// The answer, or why there is none.
    pub given: Result<IngressGiven, String>,
}

/// The place where both leave what the other has to know; clones are the same.
#[derive(Clone, Debug)]
pub struct Desk {
    /// From the network; none where this node may expose nothing.
    pub allowed: watch::Sender<Option<Arc<Allowed>>>,
    /// From the controller, where it was elected.
    pub wanted: watch::Sender<Option<Arc<IngressAsk>>>,
    /// From the network.
    pub outcome: watch::Sender<Option<Arc<Outcome>>>,
    /// From the controller, for `status`: a sentence for each thing that somebody should know.
    pub sentences: watch::Sender<Vec<String>>,
    /// From the controller: whether it was elected.
    pub leads: watch::Sender<bool>,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            allowed: watch::Sender::new(None),
            wanted: watch::Sender::new(None),
            outcome: watch::Sender::new(None),
            sentences: watch::Sender::new(Vec::new()),
            leads: watch::Sender::new(false),
        }
    }
}

/// Puts a value there, and wakes whoever waits where it is another one.
pub fn put<T: PartialEq>(place: &watch::Sender<T>, value: T) {
    place.send_if_modified(|held| {
        let new = *held != value;
        if new {
            *held = value;
        }
        new
    });
}
