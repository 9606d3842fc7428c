//! Where nothing is dropped on the way, nothing is lost, whatever the paths do: first contact, upgrade, a better way found later.

use std::collections::BTreeSet;

use meshd_core::sim::{HostId, node_id};
use proptest::prelude::*;

use crate::places::{MS, S};
use crate::worlds::{Scenario, Stage, config, scenario};

fn talk(scenario: &Scenario) {
    let mut stage = Stage::build(scenario);
    stage.world.run(2 * S);
    let [ann, bob] = stage.hosts;
    // together, as after an outage: handshakes cross, and both look for a path at once
    stage.world.flow(ann, bob, 10 * MS, 8 * S);
    stage.world.flow(bob, ann, 10 * MS, 8 * S);
    stage.world.run(9 * S);
    for (from, to) in [(ann, bob), (bob, ann)] {
        let came = numbers(&stage, from, to);
        assert_eq!(came.len(), 800, "{}", gaps(&came));
    }
}

fn numbers(stage: &Stage, from: HostId, to: HostId) -> BTreeSet<u64> {
    let deliveries = &stage.world.node(to).unwrap().deliveries;
    let of = deliveries
        .iter()
        .filter(|delivery| delivery.from == node_id(from));
    of.map(|delivery| delivery.number).collect()
}

/// Where numbers are missing; those of the two flows alternate.
fn gaps(came: &BTreeSet<u64>) -> String {
    let pairs = came.iter().zip(came.iter().skip(1));
    let gaps: Vec<_> = pairs.filter(|(one, next)| **next > **one + 2).collect();
    format!(
        "{} came, {:?} to {:?}, gaps {gaps:?}",
        came.len(),
        came.first(),
        came.last()
    )
}

/// Links that lose nothing; the rest is as it comes: NATs, delay, packets that overtake one another.
fn lossless() -> impl Strategy<Value = Scenario> {
    scenario().prop_map(|mut scenario| {
        scenario.relay = true;
        scenario.links.iter_mut().for_each(|link| link.loss_permille = 0);
        scenario
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn while_nothing_is_dropped_nothing_is_lost(scenario in lossless()) {
        talk(&scenario);
    }
}
