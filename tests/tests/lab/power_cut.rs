//! Every machine of several homes loses power at once while the cloud host is gone, as `k8s/homes.rs` has it, without a cluster: no
//! relay that could bring two nodes together, and no memory but what was on disk.

use std::thread;
use std::time::Duration;

use meshd_tests::mesh::{Node, words};
use meshd_tests::{Nat, figure, poll, timed};

use crate::bed::{self, Bed, NET, SOON};

/// For what has to come back by itself.
const BACK: Duration = Duration::from_secs(90);
/// The homes; the first is a relay for the others.
const HOMES: [(&str, Nat); 4] = [
    ("cp", Nat::FullCone),
    ("w1", Nat::PortRestricted),
    ("w2", Nat::Symmetric),
    ("laptop", Nat::PortRestricted),
];

#[test]
fn after_a_power_cut_of_all_homes_without_the_cloud_host_everybody_is_reached() {
    let times = cut_again_and_again(2);
    note(&times);
}

#[test]
#[ignore = "long: forty power cuts"]
fn after_forty_power_cuts_of_all_homes_without_the_cloud_host_everybody_is_reached() {
    let times = cut_again_and_again(40);
    note(&times);
}

fn note(times: &[Duration]) {
    let worst = times.iter().max().expect("one at least");
    figure(
        &format!(
            "{} power cuts of all homes, without the cloud host: everybody is reached again",
            times.len()
        ),
        format!("after {} ms at most", worst.as_millis()),
        "none",
    );
}

fn cut_again_and_again(times: u32) -> Vec<Duration> {
    let bed = homes();
    let mut took = Vec::new();
    for round in 0..times {
        bed.relay.kill();
        cut(&bed, round);
        took.push(all_reach(&bed, round));
        nobody_is_flooded(&bed, round);
        bed.relay.start_again();
        bed.settle();
    }
    took
}

fn homes() -> Bed {
    let world = meshd_tests::World::new();
    let cloud = world.cloud();
    let relay = meshd_tests::mesh::Relay::start_with(&cloud, &["--public-addr", "203.0.113.1"]);
    relay.create_network(NET, bed::CIDR);
    let mut bed = bed::with_relay(world, cloud, relay);
    for (name, nat) in HOMES {
        let site = bed.world.site(nat);
        bed.add(&site, name, 2);
        bed.sites.push(site);
    }
    bed.relay.ctl(&["node", "set-relay", HOMES[0].0]);
    bed.settle();
    bed
}

/// Power off and on, each machine at a moment of its own; every other time the routers were without power too.
fn cut(bed: &Bed, round: u32) {
    for (node, site) in bed.nodes.iter().zip(&bed.sites) {
        node.machine().reboot();
        if round % 2 == 1 {
            site.forget_mappings();
        }
        site.plug(node.machine(), 2);
    }
    // each machine is first once in a while, and last
    let mut order: Vec<&Node> = bed.nodes.iter().collect();
    let count = order.len();
    order.rotate_left(round as usize % count);
    if round as usize / count % 2 == 1 {
        order.reverse();
    }
    order.into_iter().for_each(Node::start_again);
}

/// Nodes that relay are asked like any relay, also where the one whose session is wanted is the relay itself.
fn nobody_is_flooded(bed: &Bed, round: u32) {
    for node in &bed.nodes {
        let status = node.status().expect("it answers").to_string();
        assert!(!status.contains("floods"), "power cut {round}: {status}");
    }
}

/// One side asks, as the machine outside of a cluster does: nothing but its packets tells the others that it wants them.
fn all_reach(bed: &Bed, round: u32) -> Duration {
    let asks = |node: &Node, peer: &str| {
        let found = poll(BACK, || node.pings(peer).then_some(()));
        assert!(
            found.is_some(),
            "power cut {round}: {} does not reach {peer}\n{}\n{}",
            node.name(),
            words(&node.try_ctl(&["why", peer])),
            words(&node.try_ctl(&["status"]))
        );
    };
    let (laptop, rest) = bed.nodes.split_last().expect("four");
    timed(SOON * 10, "all are reached", || {
        thread::scope(|scope| {
            for node in rest {
                scope.spawn(move || asks(laptop, node.name()));
                let others = rest.iter().filter(|peer| peer.name() != node.name());
                for peer in others {
                    scope.spawn(move || asks(node, peer.name()));
                }
            }
        });
        Some(())
    })
    .1
}
