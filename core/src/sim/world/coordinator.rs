//! The coordinator: what the nodes say of themselves goes to all others, while it is up.

use std::net::SocketAddr;

use crate::id::NodeId;
use crate::path::{Agent, PeerInfo};
use crate::relay::{RelayInfo, bind_key};
use crate::sim::net::HostId;
use crate::statement::{Candidate, CandidateKind};

use super::{Member, NETWORK, RELAY_PORT, RELAY_SECRET, Relay, World, node_id};

impl World {
    // ---- the coordinator

    pub(super) fn infos(&self) -> Vec<PeerInfo> {
        self.members
            .iter()
            .map(|(&host, member)| self.info(host, member))
            .collect()
    }

    pub(super) fn info(&self, host: HostId, member: &Member) -> PeerInfo {
        let lie = |addresses: &Vec<SocketAddr>| {
            addresses
                .iter()
                .map(|&addr| Candidate {
                    kind: CandidateKind::ServerReflexive,
                    addr,
                })
                .collect()
        };
        let agent = member.node.as_ref().map(|node| &node.agent);
        let truth = || agent.map(Agent::candidates).unwrap_or_default();
        PeerInfo {
            node: node_id(host),
            discovery: member.secret.public(),
            candidates: member.lie.as_ref().map_or_else(truth, lie),
            home_relay: agent.and_then(|agent| agent.relays().find(|relay| relay.home).map(|relay| relay.id)),
        }
    }

    pub(super) fn relay_infos(&self, host: HostId) -> Vec<RelayInfo> {
        let info = |relay: &Relay| RelayInfo {
            id: relay.id,
            addresses: self
                .net
                .addresses(relay.host)
                .iter()
                .map(|&ip| SocketAddr::new(ip, RELAY_PORT))
                .collect(),
            key: bind_key(&RELAY_SECRET, NETWORK, node_id(host)),
            node: None,
        };
        self.relays.iter().map(info).collect()
    }

    pub(super) fn enrol(&mut self) {
        let members: Vec<NodeId> = self.members.keys().map(|&host| node_id(host)).collect();
        for relay in &mut self.relays {
            if let Some(server) = &mut relay.server {
                server.set_members(NETWORK, members.iter().copied());
            }
        }
        self.publish();
    }

    /// Gives every node the present map.
    pub fn publish(&mut self) {
        self.publishing = false;
        if !self.coordinator_up {
            return;
        }
        let infos = self.infos();
        let hosts: Vec<HostId> = self.members.keys().copied().collect();
        for host in hosts {
            let (relays, infos) = (self.relay_infos(host), infos.clone());
            self.with_node(host, |node, now| {
                node.agent.set_relays(now, &relays);
                node.agent.set_peers(now, infos);
            });
        }
    }
}
