//! meshd as people run it: joined by a token, in its unit's sandbox. meshrelay is on the first machine, with nothing to carry.

use std::time::Duration;

use meshd_tests::mesh::{Node, Relay};
use meshd_tests::{Machine, World, eventually};

use super::{Bed, MESHD, OUTER, pair};

/// Until the path is direct, on a busy computer.
const SOON: Duration = Duration::from_secs(60);
const NET: &str = "prod";

/// Two nodes whose path is direct.
pub fn bed(world: &World) -> Bed {
    let machines = pair(world, MESHD);
    let relay = Relay::start_with(&machines[0], &["--public-addr", &OUTER[0].to_string()]);
    relay.create_network(NET, "10.77.0.0/16");
    let nodes = machines.each_ref().map(|machine| joined(machine, &relay));
    for (node, peer) in [(&nodes[0], &nodes[1]), (&nodes[1], &nodes[0])] {
        node.reaches(peer.name(), SOON);
        eventually(SOON, "the path is direct", || {
            (node.path_kind(NET, peer.name()) == "direct").then_some(())
        });
    }
    let agents = nodes.iter().map(Node::pid).collect();
    let addresses = nodes.each_ref().map(|node| node.ipv4(NET));
    Bed::new(MESHD, &machines, addresses, (agents, Box::new((nodes, relay))))
}

fn joined(machine: &Machine, relay: &Relay) -> Node {
    let node = Node::start(machine);
    node.join(&relay.token(NET, &[]));
    node
}
