//! The cluster that this was built for: every node behind a NAT, one address in the cloud.

use std::time::Duration;

use meshd_tests::k8s::Show;
use meshd_tests::{figure, keeps};

use crate::bed;

/// Most time without a gateway to the services when one dies.
const FAILOVER: Duration = Duration::from_secs(3);

#[test]
#[ignore = "long: run by ./test --long"]
fn a_cluster_behind_nats_serves_machines_outside_and_comes_back_without_the_cloud_host() {
    let Some(parts) = bed::parts("a cluster behind NATs") else {
        return;
    };
    let mut show = Show::start(&parts, |_| {});
    show.pods_answer();
    show.outside_answers();
    let took = show.gateway_dies();
    figure(
        "a service's gateway is killed: connections are made through the other",
        format!("after {} ms", took.as_millis()),
        "3,000 ms",
    );
    assert!(keeps(took, FAILOVER), "{took:?}");
    show.power_cut();
    for shown in &show.outcomes {
        figure(&shown.what, format!("{:.1} s", shown.took.as_secs_f64()), "none");
    }
}
