//! What an exposure tells of itself.

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering::Relaxed;

use meshd_api::coordinator::admin::{ExposeCounts, ExposeInfo, ExposeLimits, ExposeTarget};
use meshd_core::statement::Protocol;

use super::Target as To;
use super::service::{Counts, Service};

/// How an exposure goes on.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// This machine's mesh address, where meshd runs on it.
    pub beside: Option<Ipv4Addr>,
    at: Vec<String>,
    targets: Vec<Target>,
    troubles: Vec<String>,
    limits: ExposeLimits,
    counts: ExposeCounts,
}

#[derive(Debug, Clone)]
struct Target {
    to: To,
    name: String,
    health: &'static str,
    connections: u64,
}

impl Status {
    /// Of one that is not served.
    pub fn refused(why: String) -> Self {
        Self {
            troubles: vec![why],
            ..Self::default()
        }
    }

    /// Puts it into an answer.
    pub fn tell(self, info: &mut ExposeInfo) {
        for Target {
            to,
            name,
            health,
            connections,
        } in self.targets
        {
            let (id, port) = match to {
                To::Node(member) => (member.node.to_string(), member.port),
                To::Address(at) => (String::new(), at.port()),
            };
            let mut held = info.targets.iter_mut();
            let same = |target: &&mut ExposeTarget| {
                target.id == id && target.port == port && (!id.is_empty() || target.node == name)
            };
            match held.find(same) {
                Some(target) => (target.health, target.connections) = (health.to_owned(), connections),
                None => info.targets.push(ExposeTarget {
                    node: name,
                    id,
                    port,
                    health: "leaving".into(),
                    connections,
                }),
            }
        }
        info.at = self.at;
        info.troubles = self.troubles;
        info.limits = self.limits;
        info.counts = self.counts;
    }
}

impl Service {
    /// What it tells of itself.
    pub(super) fn status(&self) -> Status {
        let flows = self.flows().len() as u64;
        let tunnel = self.tunnel();
        let state = self.state();
        let terms = &state.wanted.terms;
        let (protocol, port) = (terms.protocol, terms.port);
        let targets = state.balancer.members();
        let targets = targets.map(|(to, health, connections)| Target {
            to,
            name: state.names.get(&to).cloned().unwrap_or_default(),
            health: health.word(),
            connections,
        });
        let mut troubles = Vec::new();
        if tunnel.is_none() {
            troubles.push(no_tunnel(&state.wanted.network_name));
        }
        if state.wanted.places.is_empty() {
            troubles.push("none of its nodes is in the network any more".to_owned());
        }
        let mut at = Vec::new();
        for (place, listens) in self.host().iter().flat_map(|host| host.ports.at(protocol, port)) {
            match listens {
                Ok(()) => at.push(place.to_string()),
                Err(why) => troubles.push(why),
            }
        }
        let limits = state.gate.limits();
        let Counts {
            accepted,
            refused,
            unserved,
            ended,
            idle,
        } = state.counts;
        Status {
            beside: tunnel.map(|tunnel| tunnel.address),
            at,
            targets: targets.collect(),
            troubles,
            limits: ExposeLimits {
                connections: limits.connections,
                per_second: limits.per_second,
                idle_seconds: limits.idle.as_secs(),
            },
            counts: ExposeCounts {
                open: match protocol {
                    Protocol::Tcp => state.gate.open().into(),
                    Protocol::Udp => flows,
                },
                accepted,
                refused,
                unserved,
                ended,
                idle,
                bytes_in: self.moved().inward.load(Relaxed),
                bytes_out: self.moved().outward.load(Relaxed),
            },
        }
    }
}

/// That nothing can be forwarded, and what to do.
pub fn no_tunnel(network: &str) -> String {
    format!(
        "nothing can be forwarded: no meshd of network {network} runs on meshrelay's machine; `meshctl join TOKEN` there brings it in"
    )
}
