//! What a person asks about paths: one ping, and why a peer is reached as it is.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use meshd_api::Problem;
use meshd_api::local::{self, PathStatus, PingReply, Why};
use meshd_core::id::NodeId;
use meshd_core::nat::{Allocation, Filtering, Mapping, NatBehaviour};
use meshd_core::path::{Endpoint, Explanation, Help, Method, Outcome, PathKind};

use super::Question;
use super::task::Task;
use crate::supervisor::Reply;

/// How long a ping waits for its pong.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Pings that wait at a time; more are refused.
const MAX_WAITING: usize = 64;

/// Pings of people that wait for their pong.
#[derive(Default)]
pub(super) struct Pings(Vec<(NodeId, Instant, Reply<PingReply>)>);

impl Pings {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.0.iter().map(|(_, until, _)| *until).min()
    }
}

impl Task {
    /// One question.
    pub(super) fn answer(&mut self, question: Question) {
        match question {
            Question::Netcheck(reply) => self.asked_to_check(reply),
            Question::Ping(peer, reply) => match self.peer_called(&peer) {
                Ok(node) => self.ping(node, reply),
                Err(problem) => drop(reply.send(Err(problem))),
            },
            Question::Exit(nodes, reply) => drop(reply.send(self.use_exits(&nodes))),
            Question::Why(peer, reply) => {
                let answer = self.peer_called(&peer).and_then(|node| self.why(node));
                let _ = reply.send(answer);
            }
        }
    }

    /// The peer that a person means, by name, full name, id or address in the network.
    pub(super) fn peer_called(&self, called: &str) -> Result<NodeId, Problem> {
        let view = self.map.view();
        let nodes = view.iter().flat_map(|view| view.nodes.values());
        let address: Option<IpAddr> = called.parse().ok();
        let domain = format!(".{}.mesh", self.membership.name);
        let short = called.strip_suffix(&domain).unwrap_or(called);
        let found = nodes.clone().find(|node| {
            node.name == short
                || node.id.to_string() == called
                || address.is_some_and(|ip| ip == IpAddr::from(node.ipv4) || ip == IpAddr::from(node.ipv6))
        });
        match found {
            Some(node) if node.id == self.membership.node => {
                let sentence = format!("{called} is this machine itself; name another node");
                Err(Problem::new("own-node", sentence))
            }
            Some(node) => Ok(node.id),
            None => {
                let others = nodes.filter(|node| node.id != self.membership.node);
                let mut names: Vec<&str> = others.map(|node| node.name.as_str()).take(8).collect();
                names.sort_unstable();
                let there = match names.is_empty() {
                    true => "nobody else is in it yet".to_owned(),
                    false => format!("there are {}", names.join(", ")),
                };
                let sentence = format!("no node {called} in {}; {there}", self.membership.name);
                Err(Problem::new("unknown-node", sentence))
            }
        }
    }

    fn ping(&mut self, node: NodeId, reply: Reply<PingReply>) {
        if self.pings.0.len() >= MAX_WAITING {
            let _ = reply.send(Err(Problem::new("too-often", "too many pings wait already")));
            return;
        }
        let now = Instant::now();
        self.pings.0.push((node, now + PATIENCE, reply));
        self.agent.ping(now, node);
    }

    /// A pong came: whoever waits for one of this peer, by its present path, has it.
    pub(super) fn ponged(&mut self, node: NodeId, way: Endpoint, rtt: Duration) {
        let primary = self.paths.of(node).and_then(|(path, _)| path.primary);
        if self.pings.0.is_empty() || primary.is_some_and(|primary| primary != way) {
            return;
        }
        let peer = self.name_of(node);
        let path = PathStatus {
            rtt_ms: Some(rtt.as_secs_f64() * 1000.0),
            ..self.path(node)
        };
        let (ready, waiting) = std::mem::take(&mut self.pings.0)
            .into_iter()
            .partition(|(of, _, _)| *of == node);
        self.pings.0 = waiting;
        for (_, _, reply) in ready {
            let _ = reply.send(Ok(PingReply {
                peer: peer.clone(),
                path: path.clone(),
            }));
        }
    }

    /// Ends the wait of pings without a pong.
    pub(super) fn give_up_pings(&mut self, now: Instant) {
        let (late, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pings.0)
            .into_iter()
            .partition(|(_, until, _)| now >= *until);
        self.pings.0 = waiting;
        for (node, _, reply) in late {
            let kind = self
                .paths
                .of(node)
                .map_or(PathKind::None, |(path, _)| path.kind());
            let way = match kind {
                PathKind::None => {
                    "there is no path to it: is it running, and is a relay reachable (`meshctl netcheck`)?"
                }
                PathKind::Relay => "the relay has it, but it does not answer",
                PathKind::Direct => "it does not answer on its direct path",
            };
            let sentence = format!("no pong from {} in 1.5 s; {way}", self.name_of(node));
            let _ = reply.send(Err(Problem::new("no-pong", sentence)));
        }
    }

    fn why(&mut self, node: NodeId) -> Result<Why, Problem> {
        let now = Instant::now();
        let peer = self.name_of(node);
        let explained = self.agent.explain(now, node);
        let explained = explained.ok_or_else(|| Problem::new("unknown-node", format!("{peer} is gone")))?;
        let ago = |at: Instant| now.saturating_duration_since(at).as_secs();
        let attempts = explained.attempts.iter().map(|attempt| local::Attempt {
            ago: ago(attempt.at),
            method: method(attempt.method).to_owned(),
            outcome: outcome(attempt.outcome).to_owned(),
            address: match attempt.outcome {
                Outcome::Direct(address) => Some(address.to_string()),
                _ => None,
            },
        });
        Ok(Why {
            because: because(
                &explained,
                &peer,
                self.agent.relays().any(|relay| relay.bound_to.is_some()),
            ),
            peer,
            path: self.path(node),
            ours: nat(explained.ours),
            theirs: explained.theirs.map(nat),
            attempts: attempts.collect(),
            next_attempt: explained
                .next_attempt
                .map(|at| at.saturating_duration_since(now).as_secs()),
            help: explained
                .help
                .iter()
                .map(|help| advice(*help).to_owned())
                .collect(),
        })
    }
}

/// A NAT for people and programs.
pub(super) fn nat(behaviour: NatBehaviour) -> local::Nat {
    let mapping = match behaviour.mapping {
        Mapping::Unknown => "unknown",
        Mapping::NoNat => "none",
        Mapping::EndpointIndependent => "endpoint-independent",
        Mapping::AddressDependent => "address-dependent",
        Mapping::AddressAndPortDependent => "address-and-port-dependent",
    };
    let filtering = match behaviour.filtering {
        Filtering::Unknown => "unknown",
        Filtering::EndpointIndependent => "endpoint-independent",
        Filtering::AddressDependent => "address-dependent",
        Filtering::AddressAndPortDependent => "address-and-port-dependent",
    };
    let allocation = match behaviour.allocation {
        Allocation::Unknown => "unknown",
        Allocation::Preserving => "preserving",
        Allocation::Sequential { .. } => "sequential",
        Allocation::Random => "random",
    };
    local::Nat {
        mapping: mapping.into(),
        filtering: filtering.into(),
        allocation: allocation.into(),
        udp_blocked: behaviour.udp_blocked,
    }
}

fn method(method: Method) -> &'static str {
    match method {
        Method::Punch => "punch",
        Method::FreshPort => "fresh-port",
        Method::Birthday => "birthday",
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::UnderWay => "under-way",
        Outcome::Direct(_) => "direct",
        Outcome::NoAnswer => "no-answer",
        Outcome::Hopeless => "hopeless",
        Outcome::Abandoned => "abandoned",
    }
}

fn advice(help: Help) -> &'static str {
    match help {
        Help::AllowUdpHere => "let UDP out of this node's network",
        Help::AllowUdpThere => "let UDP out of the peer's network",
        Help::ForwardPortHere => {
            "forward a UDP port to this node (its listen port is in `meshctl status --json`), or switch PCP, NAT-PMP or UPnP on in its router"
        }
        Help::ForwardPortThere => {
            "forward a UDP port to the peer, or switch PCP, NAT-PMP or UPnP on in its router"
        }
        Help::Ipv6 => "give both sides IPv6",
    }
}

/// `relay` is whether any relay answers this node.
fn because(explained: &Explanation, peer: &str, relay: bool) -> String {
    let theirs = explained.theirs.unwrap_or_default();
    let under_way = explained
        .attempts
        .iter()
        .any(|attempt| attempt.outcome == Outcome::UnderWay);
    match explained.path.kind() {
        PathKind::Direct => "it answered there, and nothing is better".into(),
        PathKind::None if !relay => {
            format!(
                "no relay answers this node (`meshctl netcheck` says which were asked), and {peer} does not answer directly"
            )
        }
        PathKind::None => {
            format!("no packet went to {peer} yet, or it is not in touch with a relay: is it running?")
        }
        PathKind::Relay if explained.ours.udp_blocked => "no UDP leaves this node's network".into(),
        PathKind::Relay if theirs.udp_blocked => format!("no UDP leaves {peer}'s network"),
        PathKind::Relay if under_way => "a direct path is being tried right now".into(),
        PathKind::Relay if explained.attempts.is_empty() => {
            "a direct path was not tried yet: that begins with the first packet".into()
        }
        PathKind::Relay if explained.ours.is_dependent() && theirs.is_dependent() => {
            "both NATs give another port to each peer, so neither side can know where to send".into()
        }
        PathKind::Relay if explained.ours.is_dependent() => {
            format!(
                "the NAT here gives another port to each peer, and {peer}'s lets in only ports that it has sent to"
            )
        }
        PathKind::Relay if theirs.is_dependent() => {
            format!(
                "{peer}'s NAT gives another port to each peer, and the one here lets in only ports that were sent to"
            )
        }
        PathKind::Relay => "no try was answered: a NAT or firewall on the way drops the packets".into(),
    }
}
