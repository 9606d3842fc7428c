//! A relay that lives, and no longer reaches one of the two.

use meshd_core::sim::{HostId, NatKind, World, node_id};

use crate::places::{MS, S, arrived, longest_gap, two_homes};

/// Two nodes that only relays connect, with flows in these directions; then the relay by which they go loses the first of them, which
/// cannot tell the coordinator that it has another home now.
fn estranged(there: bool, back: bool) -> (World, HostId, HostId) {
    let (mut world, ann, bob) = two_homes([NatKind::SYMMETRIC, NatKind::SYMMETRIC]);
    world.add_relay(&["203.0.113.2"]);
    world.publish();
    world.run(2 * S);
    for (from, to, flows) in [(ann, bob, there), (bob, ann, back)] {
        if flows {
            world.flow(from, to, 20 * MS, 90 * S);
        }
    }
    world.run(8 * S);
    world.set_coordinator(false);
    let home = world.node(ann).unwrap().path(node_id(bob)).primary.unwrap();
    let home = usize::from(home.address().ip().to_string() == "203.0.113.2");
    world.cut_relay(home, ann);
    world.run(60 * S);
    (world, ann, bob)
}

#[test]
fn a_relay_that_no_longer_reaches_one_of_the_two_is_missed_for_three_seconds_at_most() {
    for (there, back) in [(true, true), (false, true), (true, false)] {
        let (world, ann, bob) = estranged(there, back);
        for (from, to, flows) in [(ann, bob, there), (bob, ann, back)] {
            if flows {
                let gap = longest_gap(&world, from, to, 8 * S);
                assert!(gap <= 3 * S, "{there} {back}, to {to:?}: {gap:?}");
                assert!(arrived(&world, from, to) > 3_000, "nothing is lost later");
            }
        }
    }
}
