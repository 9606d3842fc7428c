//! Network policies against the kernel: real connections between pods, judged by the rules that meshd makes.

mod bed;
#[path = "../../../../core/tests/policy/matrix/mod.rs"]
pub mod matrix;
mod probes;
mod scale;
mod sctp;
mod trouble;

use std::thread;
use std::time::Duration;

use bed::{Bed, Rules};
use matrix::{Case, Flow};
use meshd_core::policy::Protocol;

/// After this time a question that was not answered counts as denied; an allowed one is answered within milliseconds.
const DENIED: Duration = Duration::from_millis(300);
/// On a busy computer an allowed one may take longer; it is asked again.
const PATIENT: Duration = Duration::from_secs(5);

/// Asks everybody everything, and compares with the table.
fn check(bed: &Bed, case: &str, expects: &(dyn Fn(&Flow) -> bool + Sync)) {
    thread::scope(|scope| {
        for (from, pod) in &bed.pods {
            scope.spawn(move || {
                let flows: Vec<Flow> = matrix::flows().filter(|flow| flow.from == *from).collect();
                for version in 0..2 {
                    let to = |flow: &Flow| (flow.protocol, matrix::addresses(flow.to)[version], flow.port);
                    let all: Vec<(Protocol, _, u16)> = flows.iter().map(to).collect();
                    let answers = probes::ask(pod, &all, DENIED);
                    let wrong = |(flow, answered): &(&Flow, bool)| *answered && !expects(flow);
                    let passed: Vec<_> = flows.iter().zip(answers.iter().copied()).filter(wrong).collect();
                    assert!(passed.is_empty(), "{case}: forbidden, and passed: {passed:?}");
                    let silent = flows
                        .iter()
                        .zip(&answers)
                        .filter(|(flow, answered)| !*answered && expects(flow));
                    let silent: Vec<&Flow> = silent.map(|(flow, _)| flow).collect();
                    let again: Vec<_> = silent.iter().map(|flow| to(flow)).collect();
                    let answers = probes::ask(pod, &again, PATIENT);
                    let lost: Vec<_> = silent
                        .iter()
                        .zip(answers)
                        .filter(|(_, answered)| !answered)
                        .collect();
                    assert!(lost.is_empty(), "{case}: allowed, and did not pass: {lost:?}");
                }
            });
        }
    });
}

fn named(name: &str) -> Case {
    let found = matrix::cases().into_iter().find(|case| case.name == name);
    found.expect("a case of the table")
}

#[test]
fn the_upstream_matrix_of_network_policies_holds_in_the_kernel() {
    let bed = Bed::new();
    bed.run(async |files| {
        let rules = Rules::start(files);
        for case in matrix::cases() {
            rules.set(&case.policies).await;
            check(&bed, case.name, &|flow| case.expects(flow));
        }
        let status = rules.handle.status().await.expect("a cluster is watched");
        assert!(status.known && status.isolated == 3, "{status:?}");
        assert!(
            status.denied_ingress > 0 && status.denied_egress > 0,
            "{status:?}"
        );
        rules.handle.remove().await;
        assert!(!bed.machine.sh("nft list tables").contains("meshd"));
    });
}
