//! Building the world, and what befalls it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use rand_core::RngCore;

use crate::id::RelayId;
use crate::keys::{DiscoverySecret, LanKey};
use crate::path::{Agent, AgentConfig, Hint, Local};
use crate::relay::{RelayConfig, RelayServer};
use crate::sim::nat::NatKind;
use crate::sim::net::{HostId, INTERNET, Link, SiteId};
use crate::sim::node::Node;

use super::{Due, Flow, LAN_KEY, Member, NETWORK, NODE_PORT, RELAY_SECRET, Relay, World, node_id};

impl World {
    // ---- building

    /// A site behind a NAT with this external address, or behind none.
    pub fn add_site(&mut self, nat: Option<(NatKind, &str)>, link: Link) -> SiteId {
        self.add_site_behind(INTERNET, nat, link)
    }

    /// A site whose way out is another site.
    pub fn add_site_behind(&mut self, uplink: SiteId, nat: Option<(NatKind, &str)>, link: Link) -> SiteId {
        self.net
            .add_site(uplink, nat.map(|(kind, external)| (kind, ip(external))), link)
    }

    /// A host that does nothing but count what it gets.
    pub fn add_bystander(&mut self, site: SiteId, address: &str) -> HostId {
        self.net.add_host(site, vec![ip(address)])
    }

    /// A relay on the public network, running.
    pub fn add_relay(&mut self, addresses: &[&str]) -> usize {
        self.add_relay_at(INTERNET, addresses)
    }

    /// A relay in a site, whose link its packets take twice.
    pub fn add_relay_at(&mut self, site: SiteId, addresses: &[&str]) -> usize {
        let host = self
            .net
            .add_host(site, addresses.iter().map(|address| ip(address)).collect());
        let id = RelayId::from_bytes([self.relays.len() as u8 + 1; 8]);
        self.relays.push(Relay {
            id,
            host,
            server: None,
            restarts: 0,
        });
        self.start_relay(self.relays.len() - 1);
        self.relays.len() - 1
    }

    /// A node with these addresses and prefixes, running. The others learn of it at once.
    pub fn add_node(&mut self, site: SiteId, addresses: &[&str]) -> HostId {
        let host = self
            .net
            .add_host(site, nets(addresses).iter().map(IpNet::addr).collect());
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let member = Member {
            secret: DiscoverySecret::from_seed(&seed),
            node: None,
            lives: 0,
            past: Default::default(),
            lie: None,
        };
        self.members.insert(host, member);
        self.boot(host, &nets(addresses), &[]);
        self.enrol();
        host
    }

    // ---- what happens to it

    /// Starts a node that is off; what it knows is the map, and these hints.
    pub fn boot(&mut self, host: HostId, addresses: &[IpNet], hints: &[Hint]) {
        let (now, infos, relays) = (self.now, self.infos(), self.relay_infos(host));
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let Some(member) = self.members.get_mut(&host) else {
            return;
        };
        member.lives += 1;
        let config = AgentConfig {
            node: node_id(host),
            network: NETWORK,
            discovery: member.secret.clone(),
            lan_key: Some(LanKey::from_bytes(LAN_KEY)),
            seed,
        };
        let mut agent = Agent::new(now, config);
        let local = Local {
            addresses: addresses.to_vec(),
            port: NODE_PORT,
            meshes: Vec::new(),
        };
        agent.set_local(now, local);
        if self.nats_known {
            agent.set_nat_behaviour(now, self.net.behaviour(host));
        }
        agent.set_relays(now, &relays);
        agent.set_peers(now, infos);
        agent.import_hints(now, hints);
        let mut node = Node::new(
            self.start,
            node_id(host),
            agent,
            member.lives << 8 | host.0 as u64,
        );
        (node.events, node.deliveries) = std::mem::take(&mut member.past);
        node.drain(now);
        member.node = Some(node);
        self.carry_out(host);
    }

    /// Ends a node's process without a word; gives what it had stored.
    pub fn kill(&mut self, host: HostId) -> Vec<Hint> {
        let now = self.now;
        let Some(member) = self.members.get_mut(&host) else {
            return Vec::new();
        };
        let Some(node) = member.node.take() else {
            return Vec::new();
        };
        let hints = node.agent.hints(now);
        member.past = (node.events, node.deliveries);
        hints
    }

    /// Moves a host to other addresses. A node is told, unless `silently`.
    pub fn move_to(&mut self, host: HostId, site: SiteId, addresses: &[&str], silently: bool) {
        let addresses = nets(addresses);
        self.net
            .move_host(host, site, addresses.iter().map(IpNet::addr).collect());
        if !silently {
            let nat = self.net.behaviour(host);
            let known = self.nats_known;
            self.with_node(host, |node, now| {
                if known {
                    node.agent.set_nat_behaviour(now, nat);
                }
                node.news = true;
                node.agent.set_local(
                    now,
                    Local {
                        addresses,
                        port: NODE_PORT,
                        meshes: Vec::new(),
                    },
                );
            });
        }
    }

    /// The relay's process ends.
    pub fn stop_relay(&mut self, relay: usize) {
        self.relays[relay].server = None;
    }

    /// The relay's process starts, without a memory of sessions and bindings.
    pub fn start_relay(&mut self, relay: usize) {
        let seed = [self.relays[relay].restarts; 32];
        let mut server = RelayServer::new(self.now, RELAY_SECRET, seed, RelayConfig::default());
        server.set_members(NETWORK, self.members.keys().map(|&host| node_id(host)));
        self.relays[relay].server = Some(server);
        self.relays[relay].restarts += 1;
    }

    /// Of the discovery packets that relays forward from now on, so many come `through`, and so many after them are `lost`.
    pub fn lose(&mut self, through: u64, lost: u64) {
        self.loses = (through, lost);
    }

    /// Nothing from `a` arrives directly at `b` any more, nor back.
    pub fn cut(&mut self, a: HostId, b: HostId) {
        self.net.cut(a, b);
        self.net.cut(b, a);
    }

    /// Nothing passes between a relay and `host` any more; others reach the relay as before.
    pub fn cut_relay(&mut self, relay: usize, host: HostId) {
        self.cut(self.relays[relay].host, host);
    }

    /// Nothing from `a` arrives directly at `b`; back it does.
    pub fn cut_one_way(&mut self, a: HostId, b: HostId) {
        self.net.cut(a, b);
    }

    /// Undoes a cut.
    pub fn mend(&mut self, a: HostId, b: HostId) {
        self.net.mend(a, b);
        self.net.mend(b, a);
    }

    /// A site's link.
    pub fn link(&mut self, site: SiteId) -> &mut Link {
        self.net.link_mut(site)
    }

    /// The site's NAT forgets everything.
    pub fn reboot_nat(&mut self, site: SiteId) {
        if let Some(nat) = self.net.nat_mut(site) {
            nat.reboot();
        }
    }

    /// Whether nodes that boot or move from now on know what NAT is in front of them.
    pub fn set_nats_known(&mut self, known: bool) {
        self.nats_known = known;
    }

    /// Whether maps reach the nodes.
    pub fn set_coordinator(&mut self, up: bool) {
        self.coordinator_up = up;
    }

    /// The node says of itself what is not true: in its record, and when it calls.
    pub fn lie(&mut self, host: HostId, candidates: &[SocketAddr]) {
        if let Some(member) = self.members.get_mut(&host) {
            member.lie = Some(candidates.to_vec());
        }
        let addresses = candidates
            .iter()
            .map(|candidate| IpNet::from(candidate.ip()))
            .collect();
        self.with_node(host, |node, now| {
            node.agent.set_local(
                now,
                Local {
                    addresses,
                    port: NODE_PORT,
                    meshes: Vec::new(),
                },
            );
        });
        self.publish();
    }

    /// A member joins that names the discovery key of `of` as its own; it has no process.
    pub fn steal_key(&mut self, of: HostId) -> HostId {
        let host = self.net.add_host(INTERNET, Vec::new());
        let secret = self.members[&of].secret.clone();
        let member = Member {
            secret,
            node: None,
            lives: 0,
            past: Default::default(),
            lie: None,
        };
        self.members.insert(host, member);
        self.enrol();
        host
    }

    /// A datagram appears at a host as if it came from `from`: replayed, forged, or reflected.
    pub fn inject(&mut self, to: HostId, from: SocketAddr, bytes: Vec<u8>) {
        self.push(
            Duration::ZERO,
            Due::Datagram {
                to,
                port: NODE_PORT,
                from,
                bytes,
                beacon: false,
            },
        );
    }

    /// The application on `from` sends a numbered packet to the node on `to`, now and every so often.
    pub fn flow(&mut self, from: HostId, to: HostId, every: Duration, lasting: Duration) {
        let flow = Flow {
            from,
            to: node_id(to),
            every,
            until: self.now + lasting,
        };
        self.flows.push(flow);
        self.push(Duration::ZERO, Due::Flow(self.flows.len() - 1));
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is no address"))
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts
        .iter()
        .map(|text| {
            text.parse()
                .unwrap_or_else(|_| panic!("{text} is no address with prefix"))
        })
        .collect()
}
