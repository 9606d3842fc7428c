//! The upstream matrix, against what is compiled.

use meshd_core::policy::{Compiler, Name, Pod};

use super::evaluate::{Packet, passes};
use super::matrix::{self, Case, Flow};

/// Checks every flow by each of the pods' addresses.
fn check(case: &str, ruleset: &meshd_core::policy::Ruleset, expects: impl Fn(&Flow) -> bool) {
    for flow in matrix::flows() {
        let (from, to) = (matrix::addresses(flow.from), matrix::addresses(flow.to));
        let hosts = (matrix::host(flow.from), matrix::host(flow.to));
        for version in 0..2 {
            let packet = Packet {
                source: (from[version], Some(&hosts.0)),
                destination: (to[version], Some(&hosts.1)),
                protocol: Some(flow.protocol),
                port: flow.port,
            };
            assert_eq!(
                passes(ruleset, &packet),
                expects(&flow),
                "{case}: {flow:?} {packet:?}"
            );
        }
    }
}

#[test]
fn each_case_of_the_matrix_is_as_upstream_has_it() {
    for case in matrix::cases() {
        let (mut cluster, mut compiler) = (matrix::cluster(), Compiler::default());
        compiler.set_locals(matrix::locals());
        cluster.replace_policies(case.policies.clone()).unwrap();
        check(case.name, &compiler.compile(&mut cluster), |flow| {
            case.expects(flow)
        });
    }
}

#[test]
fn one_case_after_the_other_is_the_same() {
    let (mut cluster, mut compiler) = (matrix::cluster(), Compiler::default());
    compiler.set_locals(matrix::locals());
    for case in matrix::cases().iter().chain(matrix::cases().iter().rev()) {
        cluster.replace_policies(case.policies.clone()).unwrap();
        check(case.name, &compiler.compile(&mut cluster), |flow| {
            case.expects(flow)
        });
    }
    cluster.replace_policies(Vec::new()).unwrap();
    let ruleset = compiler.compile(&mut cluster);
    assert_eq!(ruleset, meshd_core::policy::Ruleset::default(), "nothing is left");
}

fn named(name: &str) -> Case {
    let found = matrix::cases().into_iter().find(|case| case.name == name);
    found.expect("a case of the table")
}

fn relabel(cluster: &mut meshd_core::policy::Cluster, pod: (&str, &str), label: &str) {
    let old = cluster.pod(&Name::new(pod.0, pod.1)).unwrap().clone();
    let labels = matrix::labels(&[("pod", label)]);
    cluster.upsert_pod(Pod { labels, ..old }).unwrap();
}

#[test]
fn labels_that_change_count_at_once() {
    let (mut cluster, mut compiler) = (matrix::cluster(), Compiler::default());
    compiler.set_locals(matrix::locals());
    cluster
        .replace_policies(named("pods of the own namespace").policies)
        .unwrap();
    compiler.compile(&mut cluster);
    relabel(&mut cluster, ("x", "c"), "b");
    check("a peer's label", &compiler.compile(&mut cluster), |f| {
        f.from == f.to || f.to != ("x", "a") || f.from == ("x", "b") || f.from == ("x", "c")
    });
    relabel(&mut cluster, ("x", "a"), "q");
    check("the pod's own label", &compiler.compile(&mut cluster), |_| true);
    cluster
        .replace_policies(named("a namespace by its label").policies)
        .unwrap();
    relabel(&mut cluster, ("x", "a"), "a");
    let labels = matrix::labels(&[("ns", "y")]);
    let z = meshd_core::policy::Namespace {
        name: "z".into(),
        labels,
    };
    cluster.upsert_namespace(z).unwrap();
    check("a namespace's label", &compiler.compile(&mut cluster), |f| {
        f.from == f.to || f.to != ("x", "a") || f.from.0 != "x"
    });
}
