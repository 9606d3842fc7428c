//! One trial of one pair: two nodes that know nothing of each other's paths, numbered packets both ways, what became of them.

use std::thread;
use std::time::{Duration, Instant};

use super::Place;
use crate::flow::UdpFlow;
use crate::wait::poll;

/// Packets/s each way.
const RATE: u32 = 100;
/// Time for a node to be bound to a relay after its start, on a busy computer.
const READY: Duration = Duration::from_secs(15);
/// Packets go on for so long after the path became direct, so that losses on the change are seen.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// What one trial showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// Until the first packet had arrived both ways.
    pub first_packet: Option<Duration>,
    /// Until both nodes sent directly; none where they did not.
    pub direct: Option<Duration>,
    /// Packets lost after the first that arrived, both ways together.
    pub lost: u64,
}

/// Runs one. The flow lasts until both are direct, and at most `bound`. A node that finds no relay makes it a trial in
/// which nothing arrived.
pub(super) fn run(network: &str, a: &Place, b: &Place, bound: Duration) -> Trial {
    if !begin_anew(a, b) {
        return Trial::default();
    }
    let port = 9000;
    let (to_a, to_b) = (a.node.at(network, port), b.node.at(network, port));
    let begin = Instant::now();
    let there = UdpFlow::start(&a.node, &b.node, to_b, RATE);
    let back = UdpFlow::start(&b.node, &a.node, to_a, RATE);
    let direct = poll(bound, || {
        let both = [(a, b), (b, a)]
            .iter()
            .all(|(from, to)| from.is_direct(network, to));
        both.then(|| begin.elapsed())
    });
    if direct.is_some() {
        thread::sleep(AFTERWARDS);
    }
    let (there, back) = (there.stop(), back.stop());
    for (from, flow) in [(a, &there), (b, &back)] {
        if flow.lost_later() > 0 {
            let missing = &flow.missing;
            println!(
                "{} lost {missing:?} of {}, direct after {direct:?}: {}",
                from.node.name(),
                flow.sent,
                what_was_dropped(network, a, b)
            );
        }
    }
    Trial {
        first_packet: there.first_arrival.zip(back.first_arrival).map(|(a, b)| a.max(b)),
        direct,
        lost: there.lost_later() + back.lost_later(),
    }
}

/// What both nodes count as dropped.
fn what_was_dropped(network: &str, a: &Place, b: &Place) -> String {
    let of = |place: &Place| {
        let status = place.node.network(network).unwrap_or_default();
        format!("{} {}", place.node.name(), status["drops"])
    };
    format!("{}, {}", of(a), of(b))
}

/// Both nodes begin anew: no mapping, no memory of paths, bound to the relay and idle. False where they do not come so far.
fn begin_anew(a: &Place, b: &Place) -> bool {
    let places = [a, b];
    places.iter().for_each(|place| place.end());
    for place in places {
        place.site.forget_mappings();
        place.node.machine().sh("rm -f /var/lib/meshd/networks/*/paths");
        place.node.spawn_again();
    }
    poll(READY, || (a.is_ready(b) && b.is_ready(a)).then_some(())).is_some()
}
