//! Pods hardly notice that meshd on their node is restarted, killed or upgraded.

use std::time::Duration;

use meshd_tests::mesh::Node;
use meshd_tests::pods::Pod;
use meshd_tests::{Nat, eventually, figure, keeps};

use crate::bed::{self, Bed, NET, SOON};
use crate::pods::{STREAM, at, give_prefixes, reaches, two_nodes};

/// The longest that pods' traffic may stand still while meshd restarts.
const PAUSE: Duration = Duration::from_secs(1);

/// A way to restart meshd: what it is called, and how meshd ends.
type Restart = (&'static str, fn(&Node));

/// Restarts meshd on the first node under a stream from a pod there to one on the second; neither stream nor lease is lost.
fn pods_hardly_notice(bed: &Bed, restarts: &[Restart]) {
    let (first, _) = Pod::added(&bed.nodes[0], "first");
    let (second, second_ips) = Pod::added(&bed.nodes[1], "second");
    reaches(&first, second_ips[0]);
    for (port, (what, end)) in (9100..).zip(restarts) {
        let flow = first.streams_to(&second, at(second_ips[0], port), 2_000_000);
        eventually(SOON, "the stream arrives", || {
            (flow.received() > STREAM).then_some(())
        });
        end(&bed.nodes[0]);
        bed.nodes[0].start_again();
        bed.settle();
        let report = flow.stop();
        let stall = report.longest_stall;
        figure(
            &format!("pods while meshd is {what}"),
            format!("{} ms", stall.as_millis()),
            "1,000 ms",
        );
        assert!(
            report.broken.is_none() && keeps(stall, PAUSE),
            "{what}: {report:?}"
        );
    }
    let result = bed.nodes[0].network(NET).expect("joined")["pods"].clone();
    assert_eq!(result["leases"], 1, "{result}");
}

#[test]
fn a_restart_of_meshd_pauses_pods_for_a_second_at_most_and_keeps_their_leases() {
    let restarts: [Restart; 2] = [
        ("stopped and started", Node::stop),
        ("killed and started", Node::kill),
    ];
    pods_hardly_notice(&two_nodes(), &restarts);
}

/// As the package does it: the new program is in place, and the service manager, which keeps the interface meanwhile, ends the
/// old one by SIGTERM and starts the new one (`systemctl try-restart`).
#[test]
fn an_upgrade_of_the_package_pauses_pods_for_a_second_at_most() {
    let mut bed = bed::empty();
    for (name, nat) in [("a", Nat::PortRestricted), ("b", Nat::Symmetric)] {
        let site = bed.world.site(nat);
        let node = Node::start_managed(&site.machine(name, 2));
        node.join(&bed.relay.token(NET, &[]));
        bed.nodes.push(node);
        bed.sites.push(site);
    }
    bed.settle();
    give_prefixes(&bed, "10.42.0.0/16");
    let restarts: [Restart; 2] = [
        ("upgraded under a service manager", Node::stop),
        ("killed under a service manager", Node::kill),
    ];
    pods_hardly_notice(&bed, &restarts);
}
