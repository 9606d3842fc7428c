//! meshd as people run it: joined by a token, in its unit's sandbox. meshrelay is on the hub, with nothing to carry.

use std::net::SocketAddr;
use std::time::Duration;

use meshd_tests::idlers::Idlers;
use meshd_tests::measure::load::Place;
use meshd_tests::mesh::{Node, Relay};
use meshd_tests::pods::Pod;
use meshd_tests::{World, eventually};

use super::star::Star;
use super::{Bed, MESHD, SOON, Shape};

const NET: &str = "prod";
/// For a thousand members to join, on a busy computer.
const JOINING: Duration = Duration::from_secs(600);
/// Where the coordinator listens.
const COORDINATOR: u16 = 443;

/// Nodes whose paths are direct.
pub fn bed(world: &World, shape: Shape) -> Bed {
    let star = Star::new(world, MESHD, shape.spokes);
    let relay = Relay::start_with(&star.machines[0], &["--public-addr", &star.hub(1).to_string()]);
    relay.create_network(NET, "10.77.0.0/16");
    if shape.pods {
        relay.ctl(&["network", "pods", NET, "--pod-cidr", "10.42.0.0/16"]);
    }
    let idlers = idlers(&star, &relay, shape.idle);
    let joined = |machine| {
        let node = Node::start(machine);
        node.join(&relay.token(NET, &[]));
        node
    };
    let nodes: Vec<Node> = star.machines.iter().map(joined).collect();
    for spoke in &nodes[1..] {
        direct(&nodes[0], spoke);
        direct(spoke, &nodes[0]);
    }
    let peers = shape.spokes + shape.idle;
    eventually(SOON, "the hub knows everybody", || {
        (nodes[0].network(NET)?["peers"].as_array()?.len() == peers).then_some(())
    });
    let (agents, addresses) = (
        nodes.iter().map(Node::pid).collect(),
        nodes.iter().map(|node| node.ipv4(NET)).collect(),
    );
    let pods = shape.pods.then(|| pods(&nodes));
    let mut bed = Bed::new(
        MESHD,
        &star,
        addresses,
        (agents, Box::new((nodes, idlers, relay))),
    );
    bed.pods = pods;
    bed
}

fn direct(node: &Node, peer: &Node) {
    node.reaches(peer.name(), SOON);
    eventually(SOON, "the path is direct", || {
        (node.path_kind(NET, peer.name()) == "direct").then_some(())
    });
}

/// Members that only are there, on the first machine around the hub.
fn idlers(star: &Star, relay: &Relay, count: usize) -> Option<Idlers> {
    let most = (count > 0).then(|| relay.token(NET, &["--uses", &count.to_string()]))?;
    let coordinator = SocketAddr::new(star.hub(1), COORDINATOR);
    let mut idlers = Idlers::start(&star.machines[1], &most, coordinator, count as u32);
    eventually(JOINING, "the idle members are bound", || {
        (idlers.bound() == count).then_some(())
    });
    Some(idlers)
}

/// A pod on each of the first two, as containerd has them made.
fn pods(nodes: &[Node]) -> ([Place; 2], std::net::IpAddr) {
    let pod = |node: &Node| {
        eventually(SOON, "it has a part of the pods' prefix", || {
            node.network(NET)?["pods"]["cidr"].as_str().map(str::to_owned)
        });
        Pod::added(node, "pod")
    };
    let ((from, _), (to, addresses)) = (pod(&nodes[0]), pod(&nodes[1]));
    eventually(SOON, "the pods reach each other", || {
        from.pings(addresses[0]).then_some(())
    });
    ([from, to].map(Place::Pod), addresses[0])
}
