//! What is not known yet: pods that were just made, clusters that were never seen, addresses that are used again.

use meshd_core::policy::{
    Cluster, Compiler, Direction, Full, Local, MAX_POLICIES, Name, PodIdentity, Policy, PolicyRule, Ruleset,
    Selector,
};

use super::evaluate::{Packet, passes};
use super::matrix::{self, policy, select};

const NEW: &str = "mpodffffffffff";

fn new(namespace: &str, name: &str, uid: &str) -> Local {
    Local {
        host: NEW.into(),
        addresses: vec!["10.42.0.99".parse().unwrap()],
        pod: Some(PodIdentity {
            name: Name::new(namespace, name),
            uid: uid.into(),
        }),
    }
}

/// Whether x/b reaches the new pod on TCP 80, and it x/b.
fn reached(ruleset: &Ruleset) -> (bool, bool) {
    let (other, host) = (matrix::addresses(("x", "b"))[0], matrix::host(("x", "b")));
    let new = "10.42.0.99".parse().unwrap();
    let packet = |source, destination| Packet {
        source,
        destination,
        protocol: Some(meshd_core::policy::Protocol::Tcp),
        port: 80,
    };
    (
        passes(ruleset, &packet((other, Some(&host)), (new, Some(NEW)))),
        passes(ruleset, &packet((new, Some(NEW)), (other, Some(&host)))),
    )
}

fn with(cluster: &mut Cluster, local: Local) -> (bool, bool) {
    let mut compiler = Compiler::default();
    let mut locals = matrix::locals();
    locals.push(local);
    compiler.set_locals(locals);
    reached(&compiler.compile(cluster))
}

fn deny(name: &str, pods: Selector, types: &[Direction]) -> Policy {
    Policy {
        types: types.to_vec(),
        ..policy(name, pods)
    }
}

#[test]
fn a_pod_without_labels_is_denied_where_its_namespace_has_a_policy() {
    let mut cluster = matrix::cluster();
    assert_eq!(
        with(&mut cluster, new("x", "new", "u")),
        (true, true),
        "no policy there"
    );
    cluster
        .upsert_policy(deny("some", select(&[("pod", "q")]), &[Direction::Ingress]))
        .unwrap();
    assert_eq!(
        with(&mut cluster, new("x", "new", "u")),
        (false, true),
        "it may select it"
    );
    assert_eq!(
        with(&mut cluster, new("y", "new", "u")),
        (true, true),
        "another namespace"
    );
    cluster
        .upsert_policy(deny("more", select(&[("pod", "r")]), &[Direction::Egress]))
        .unwrap();
    assert_eq!(with(&mut cluster, new("x", "new", "u")), (false, false));
    let open = Policy {
        ingress: vec![PolicyRule::default()],
        ..deny("everybody", Selector::default(), &[Direction::Ingress])
    };
    cluster.upsert_policy(open).unwrap();
    assert_eq!(
        with(&mut cluster, new("x", "new", "u")),
        (true, false),
        "a policy for all pods surely selects it"
    );
}

#[test]
fn labels_count_before_the_api_server_knows_the_address() {
    let mut cluster = matrix::cluster();
    cluster
        .upsert_policy(Policy {
            ingress: vec![PolicyRule {
                peers: vec![meshd_core::policy::Peer::Pods {
                    namespaces: None,
                    pods: Some(select(&[("pod", "new")])),
                }],
                ports: Vec::new(),
            }],
            ..deny("b", select(&[("pod", "b")]), &[Direction::Ingress])
        })
        .unwrap();
    assert_eq!(with(&mut cluster, new("x", "new", "u")), (false, false));
    let pod = meshd_core::policy::Pod {
        name: Name::new("x", "new"),
        uid: "u".into(),
        labels: matrix::labels(&[("pod", "new")]),
        addresses: Vec::new(),
        ports: Vec::new(),
        host_network: false,
        node: "node".into(),
    };
    cluster.upsert_pod(pod).unwrap();
    assert_eq!(
        with(&mut cluster, new("x", "new", "u")),
        (true, true),
        "by the runtime's word"
    );
    assert_eq!(
        with(&mut cluster, new("x", "new", "another")),
        (false, false),
        "a pod of that name before"
    );
}

#[test]
fn an_address_that_is_used_again_is_not_its_former_pods() {
    let mut cluster = matrix::cluster();
    let old = meshd_core::policy::Pod {
        name: Name::new("x", "old"),
        uid: "o".into(),
        labels: matrix::labels(&[("pod", "friend")]),
        addresses: vec!["10.42.0.99".parse().unwrap()],
        ports: Vec::new(),
        host_network: false,
        node: "node".into(),
    };
    cluster.upsert_pod(old).unwrap();
    let friends = PolicyRule {
        peers: vec![meshd_core::policy::Peer::Pods {
            namespaces: None,
            pods: Some(select(&[("pod", "friend")])),
        }],
        ports: Vec::new(),
    };
    cluster
        .upsert_policy(Policy {
            ingress: vec![friends],
            ..deny("b", select(&[("pod", "b")]), &[Direction::Ingress])
        })
        .unwrap();
    assert!(
        !with(&mut cluster, new("y", "new", "n")).1,
        "the API server has not heard of it"
    );
    let unnamed = Local {
        pod: None,
        ..new("y", "new", "n")
    };
    assert!(
        with(&mut cluster, unnamed).1,
        "whom the runtime does not name has the address"
    );
}

#[test]
fn nobody_is_isolated_before_somebody_watches_and_every_named_pod_until_all_is_known() {
    let mut cluster = Cluster::default();
    assert_eq!(with(&mut cluster, new("x", "new", "u")), (true, true));
    cluster.watch();
    assert_eq!(with(&mut cluster, new("x", "new", "u")), (false, false));
    cluster.replace_policies(Vec::new()).unwrap();
    cluster.replace_namespaces(Vec::new()).unwrap();
    assert!(!cluster.is_ready() && cluster.save_policies().is_none());
    cluster.replace_pods(Vec::new()).unwrap();
    assert!(cluster.is_ready());
    assert_eq!(with(&mut cluster, new("x", "new", "u")), (true, true));
}

#[test]
fn what_was_known_is_known_after_a_restart() {
    let mut before = matrix::cluster();
    before
        .upsert_policy(deny("all", Selector::default(), &Direction::BOTH))
        .unwrap();
    let (policies, pods) = (before.save_policies().unwrap(), before.save_pods().unwrap());
    let mut after = Cluster::default();
    after.restore_policies(&policies).unwrap();
    assert!(after.is_ready());
    assert_eq!(
        with(&mut after, new("x", "new", "u")),
        (false, false),
        "without the pods, too"
    );
    after.restore_pods(&pods).unwrap();
    assert!(before.pods().eq(after.pods()) && before.policies().eq(after.policies()));
    assert!(before.namespaces().eq(after.namespaces()));
    let mut damaged = Cluster::default();
    assert!(damaged.restore_policies(&policies[..policies.len() / 2]).is_err());
    assert_eq!(
        with(&mut damaged, new("x", "new", "u")),
        (false, false),
        "it fails closed"
    );
    let newer = String::from_utf8(policies)
        .unwrap()
        .replacen("\"version\":1", "\"version\":9", 1);
    assert!(Cluster::default().restore_policies(newer.as_bytes()).is_err());
}

#[test]
fn policies_for_which_there_is_no_room_isolate_their_namespace() {
    let mut cluster = matrix::cluster();
    for number in 0..MAX_POLICIES {
        let mut one = deny(
            &format!("p{number}"),
            select(&[("pod", "q")]),
            &[Direction::Egress],
        );
        one.name = Name::new("other", &one.name.name);
        cluster.upsert_policy(one).unwrap();
    }
    let refused = cluster.upsert_policy(deny("one-more", Selector::default(), &[Direction::Ingress]));
    assert!(
        matches!(
            refused,
            Err(Full {
                most: MAX_POLICIES,
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(with(&mut cluster, new("x", "new", "u")), (false, false));
}

#[test]
fn labels_of_this_nodes_pods_are_kept_over_an_older_list_of_all() {
    let mut before = matrix::cluster();
    let (policies, all) = (before.save_policies().unwrap(), before.save_pods().unwrap());
    let own = matrix::locals().remove(0);
    let mut pod = own.known_in(&before).expect("the matrix knows it").clone();
    pod.labels = matrix::labels(&[("pod", "relabelled")]);
    before.upsert_pod(pod.clone()).unwrap();
    let mut compiler = Compiler::default();
    compiler.set_locals([own.clone(), new("x", "new", "u")]);
    let known: Vec<_> = compiler.known(&before).collect();
    assert_eq!(known, [&pod], "the new one's labels are not known");
    let kept = Cluster::save_own(compiler.known(&before));
    let mut after = Cluster::default();
    after.restore_policies(&policies).unwrap();
    after.restore_pods(&all).unwrap();
    after.restore_own(&kept).unwrap();
    assert_eq!(own.known_in(&after), Some(&pod));
    assert_eq!(before.pods().count(), after.pods().count());
    assert!(after.restore_own(b"{").is_err());
}
