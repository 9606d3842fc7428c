//! What follows from services, case by case.

use super::*;

fn service(name: &str) -> Service {
    Service {
        name: Name::new("web", name),
        class: Some(CLASS.into()),
        ports: vec![ServicePort {
            name: "http".into(),
            protocol: Some(Protocol::Tcp),
            port: 80,
            node_port: 30080,
        }],
        ..Service::default()
    }
}

fn slices(endpoints: &[(&str, EndpointState, &str)]) -> BTreeMap<Name, Slice> {
    let endpoints = endpoints.iter().map(|(address, state, node)| Endpoint {
        address: address.parse().unwrap(),
        state: *state,
        node: (*node).into(),
    });
    let name = Name::new("web", "shop-x1");
    let slice = Slice {
        name: name.clone(),
        service: "shop".into(),
        ports: vec![("http".into(), Protocol::Tcp, 8080)],
        endpoints: endpoints.collect(),
    };
    BTreeMap::from([(name, slice)])
}

fn ground() -> Ground {
    Ground {
        pods: vec!["10.42.1.0/24".parse().unwrap()],
        nodes: BTreeMap::from([("w1".to_owned(), Ipv4Addr::new(10, 77, 0, 3))]),
    }
}

fn terms() -> IngressTerms {
    IngressTerms {
        ports: vec!["80".parse().unwrap()],
        pool: vec!["10.88.0.0/30".parse().unwrap()],
        ..IngressTerms::default()
    }
}

fn targets_of(endpoints: &[(&str, EndpointState, &str)]) -> Vec<String> {
    let plan = plan([&service("shop")], &slices(endpoints), &terms(), &ground());
    assert_eq!(plan.services[0].1, Planned::Public(0..1));
    plan.ports[0].targets.iter().map(ToString::to_string).collect()
}

#[test]
fn ready_pods_are_targets_and_of_another_network_their_nodes_ports() {
    use EndpointState::*;
    assert_eq!(
        targets_of(&[
            ("10.42.1.7", Ready, "w1"),
            ("10.42.1.8", Away, "w1"),
            ("10.42.1.9", Ending, "w1")
        ]),
        ["10.42.1.7:8080"]
    );
    assert_eq!(
        targets_of(&[("10.42.1.9", Ending, "w1"), ("10.42.1.8", Away, "w1")]),
        ["10.42.1.9:8080"]
    );
    assert_eq!(
        targets_of(&[
            ("192.168.9.1", Ready, "w1"),
            ("192.168.9.2", Ready, "w1"),
            ("192.168.9.3", Ready, "w2")
        ]),
        ["10.77.0.3:30080"]
    );
    assert_eq!(targets_of(&[]), [""; 0]);
}

#[test]
fn a_service_of_another_class_is_not_ours_and_one_of_none_where_that_was_said() {
    let (mut other, mut none) = (service("a"), service("b"));
    other.class = Some("cloud/nlb".into());
    none.class = None;
    assert!(!is_ours(&other, &terms()) && !is_ours(&none, &terms()));
    let default = IngressTerms {
        default_class: true,
        ..terms()
    };
    assert!(!is_ours(&other, &default) && is_ours(&none, &default));
}

#[test]
fn what_cannot_be_honoured_is_said_and_not_half_done() {
    let odd = [
        Service {
            has_sources: true,
            ..service("shop")
        },
        Service {
            proxy: Some("v3".into()),
            ..service("shop")
        },
        Service {
            pool: Some("mine".into()),
            ..service("shop")
        },
        Service {
            fixed: "192.0.2.1".parse().ok(),
            ..service("shop")
        },
    ];
    for service in odd {
        let plan = plan([&service], &BTreeMap::new(), &terms(), &ground());
        assert!(
            matches!(plan.services[0].1, Planned::Nothing(_)) && plan.ports.is_empty(),
            "{plan:?}"
        );
    }
}

#[test]
fn more_ports_than_are_allowed_leave_those_before_them_alone() {
    let terms = IngressTerms {
        listeners: Some(1),
        ..terms()
    };
    let plan = plan(
        [&service("a"), &service("b")],
        &BTreeMap::new(),
        &terms,
        &ground(),
    );
    assert_eq!(
        (plan.ports.len(), &plan.services[0].1),
        (1, &Planned::Public(0..1))
    );
    assert!(matches!(&plan.services[1].1, Planned::Nothing(why) if why.contains("1 ports are allowed")));
}

#[test]
fn private_addresses_stay_are_fixed_or_are_the_next_ones() {
    let private = |name: &str| Service {
        pool: Some("private".into()),
        ..service(name)
    };
    let (a, mut b, mut c) = (private("a"), private("b"), private("c"));
    b.status = vec!["10.88.0.1".into()];
    c.pool = None;
    c.fixed = "10.88.0.2".parse().ok();
    let plan = plan([&a, &b, &c], &BTreeMap::new(), &terms(), &ground());
    let [(_, first), (_, second), (_, third)] = &plan.services[..] else {
        panic!("{plan:?}")
    };
    assert!(
        matches!(first, Planned::Nothing(why) if why.contains("--pool")),
        "{first:?}"
    );
    assert_eq!(*second, Planned::Private(Ipv4Addr::new(10, 88, 0, 1)));
    assert_eq!(*third, Planned::Private(Ipv4Addr::new(10, 88, 0, 2)));
    assert!(plan.ports.is_empty());
}
