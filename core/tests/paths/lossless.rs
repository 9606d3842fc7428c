//! Where nothing is dropped on the way, nothing is lost, whatever the paths do: first contact, upgrade, a better way found later;
//! on a computer that has no time for them now and then, and that learns late what NAT is in front of it.

use std::collections::BTreeSet;
use std::time::Duration;

use meshd_core::sim::{HostId, node_id};
use proptest::prelude::*;

use crate::places::{MS, S};
use crate::worlds::{Scenario, Stage, config, scenario};

/// What happens to one of two nodes, and when.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// It has measured the NAT in front of it.
    Measured,
    /// Its control side gets no processor for so long.
    Busy(Duration),
}

/// Which node, and when after both began to talk.
type Moments = Vec<(Duration, usize, Moment)>;

fn talk(scenario: &Scenario, mut moments: Moments) {
    let mut stage = Stage::build(scenario);
    stage.world.run(2 * S);
    let [ann, bob] = stage.hosts;
    // together, as after an outage: handshakes cross, and both look for a path at once
    stage.world.flow(ann, bob, 10 * MS, 8 * S);
    stage.world.flow(bob, ann, 10 * MS, 8 * S);
    let measured = (0..2).map(|at| (scenario.measured[at], at, Moment::Measured));
    moments.extend(measured.filter(|(when, ..)| !when.is_zero()));
    moments.sort_by_key(|(when, ..)| *when);
    let begin = stage.world.elapsed();
    for (when, at, moment) in moments {
        stage
            .world
            .run((begin + when).saturating_sub(stage.world.elapsed()));
        let host = stage.hosts[at];
        let nat = stage.world.behaviour(host);
        stage.world.with_node(host, |node, now| match moment {
            Moment::Measured => node.agent.set_nat_behaviour(now, nat),
            Moment::Busy(lasting) => node.be_busy(now + lasting),
        });
    }
    stage
        .world
        .run((begin + 9 * S).saturating_sub(stage.world.elapsed()));
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

/// Some time in the first seconds.
fn soon() -> impl Strategy<Value = Duration> {
    (1..4_000u64).prop_map(Duration::from_millis)
}

/// The same, and neither node knows its NAT at first.
fn measured_late() -> impl Strategy<Value = Scenario> {
    (lossless(), [soon(), soon()]).prop_map(|(mut scenario, measured)| {
        scenario.measured = measured;
        scenario
    })
}

/// Short ones, mostly; a control side that stands still for a second has been seen on a computer with too much to do.
fn busy() -> impl Strategy<Value = Moments> {
    let lasting = prop_oneof![3 => 1..100u64, 1 => 100..1_000u64];
    let lasting = lasting.prop_map(|ms| Moment::Busy(Duration::from_millis(ms)));
    prop::collection::vec((soon(), 0..2usize, lasting), 0..12)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn while_nothing_is_dropped_nothing_is_lost(scenario in lossless()) {
        talk(&scenario, Vec::new());
    }

    #[test]
    fn nor_where_nodes_measure_late_what_is_in_front_of_them(scenario in measured_late()) {
        talk(&scenario, Vec::new());
    }

    #[test]
    fn nor_on_a_computer_that_is_busy(scenario in measured_late(), moments in busy()) {
        talk(&scenario, moments);
    }
}
