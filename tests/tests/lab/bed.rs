//! A mesh that is up, for tests that begin with one.

use std::time::Duration;

use meshd_tests::mesh::{Node, Relay};
use meshd_tests::{Machine, Nat, Site, World, eventually};

/// Name of the network of every test that needs only one.
pub const NET: &str = "prod";
/// Its IPv4 prefix.
pub const CIDR: &str = "10.77.0.0/16";
/// For what takes a moment on a busy computer and has no bar.
pub const SOON: Duration = Duration::from_secs(20);

/// A cloud host with a relay, and nodes. Fields are dropped in this order: programs, then the world.
pub struct Bed {
    pub nodes: Vec<Node>,
    pub relay: Relay,
    pub sites: Vec<Site>,
    pub cloud: Machine,
    pub world: World,
}

/// A cloud host with a running relay and the network [`NET`], and no node.
pub fn empty() -> Bed {
    let world = World::new();
    let cloud = world.cloud();
    let relay = Relay::start(&cloud);
    relay.create_network(NET, CIDR);
    with_relay(world, cloud, relay)
}

/// A relay at both of the cloud host's addresses, and the network: two observers, so that nodes can tell what NAT they have.
pub fn relay_with_two_addresses(cloud: &Machine) -> Relay {
    let flags = ["--public-addr", "203.0.113.1", "--public-addr", "203.0.113.2"];
    let relay = Relay::start_with(cloud, &flags);
    relay.create_network(NET, CIDR);
    relay
}

/// The same where world, cloud host or relay are of a special kind; the network is there.
pub fn with_relay(world: World, cloud: Machine, relay: Relay) -> Bed {
    Bed {
        nodes: Vec::new(),
        relay,
        sites: Vec::new(),
        cloud,
        world,
    }
}

/// The same with a joined node behind each NAT, each on a site of its own.
pub fn apart(places: &[(&str, Nat)]) -> Bed {
    let mut bed = empty();
    for (name, nat) in places {
        let site = bed.world.site(*nat);
        bed.add(&site, name, 2);
        bed.sites.push(site);
    }
    bed.settle();
    bed
}

/// The same with joined nodes on one LAN behind one NAT.
pub fn together(names: &[&str]) -> Bed {
    let mut bed = empty();
    let site = bed.world.site(Nat::PortRestricted);
    for (number, name) in (2..).zip(names) {
        bed.add(&site, name, number);
    }
    bed.sites.push(site);
    bed.settle();
    bed
}

impl Bed {
    /// Starts a machine on a site and joins it to [`NET`].
    pub fn add(&mut self, site: &Site, name: &str, host: u32) {
        let node = Node::start(&site.machine(name, host));
        node.join(&self.relay.token(NET, &[]));
        self.nodes.push(node);
    }

    /// Waits until every node pings every other by name.
    pub fn settle(&self) {
        for node in &self.nodes {
            for peer in self.nodes.iter().filter(|peer| peer.name() != node.name()) {
                node.reaches(peer.name(), SOON);
            }
        }
    }

    /// Waits until the path from each node to each other is of the kind.
    pub fn wait_for_paths(&self, kind: &str) {
        for node in &self.nodes {
            for peer in self.nodes.iter().filter(|peer| peer.name() != node.name()) {
                let what = format!("{} -> {} is {kind}", node.name(), peer.name());
                eventually(SOON, &what, || {
                    (node.path_kind(NET, peer.name()) == kind).then_some(())
                });
            }
        }
    }
}
