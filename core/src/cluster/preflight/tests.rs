use super::*;

const NOW: u64 = 1_800_000_000;

fn ground() -> Ground {
    Ground {
        network: "prod".into(),
        api: ("10.77.255.254".parse().unwrap(), "fd77::fffe".parse().unwrap()),
        pods: vec!["10.244.0.0/16".parse().unwrap()],
        node_prefix: 24,
        services: vec!["10.96.0.0/16".parse().unwrap()],
        mesh_allots: true,
    }
}

fn well(role: Role) -> Facts {
    Facts {
        role,
        system: System {
            root: true,
            time: NOW,
            hostname: "n1".into(),
            service_manager: true,
            ..System::default()
        },
        mesh: Mesh {
            network: "prod".into(),
            name: "n1".into(),
            ground: Some(ground()),
            way: Some(Way {
                own: true,
                others: vec![peer(Some(8.0))],
            }),
            lans: vec![lan("192.168.1.0/24"), lan("0.0.0.0/0")],
        },
        word: None,
    }
}

fn peer(round_trip: Option<f64>) -> Peer {
    Peer {
        name: "n2".into(),
        round_trip,
    }
}

fn lan(prefix: &str) -> Lan {
    Lan {
        interface: "eth0".into(),
        prefix: prefix.parse().unwrap(),
    }
}

/// The one thing that is wrong after `spoil`.
#[track_caller]
fn found(role: Role, spoil: impl FnOnce(&mut Facts)) -> (Severity, String) {
    let mut facts = well(role);
    spoil(&mut facts);
    let mut all = check(&facts);
    assert_eq!(all.len(), 1, "{all:#?}");
    let one = all.remove(0);
    (one.severity, one.sentence)
}

#[test]
fn a_machine_that_is_well_passes() {
    assert_eq!(check(&well(Role::ControlPlane)), []);
    assert_eq!(check(&well(Role::Worker)), []);
}

#[test]
fn each_fault_is_one_sentence_that_says_what_to_do() {
    type Spoil = fn(&mut Facts);
    let cases: [(Spoil, &str); 12] = [
        (|f| f.system.root = false, "sudo"),
        (
            |f| f.system.missing = vec!["kubeadm".into()],
            "kubeadm is not here: install",
        ),
        (
            |f| f.system.no_runtime = Some("/run/x.sock".into()),
            "/run/x.sock: install containerd",
        ),
        (|f| f.system.swap = vec!["/dev/sda2".into()], "swapoff -a"),
        (|f| f.system.old_cgroups = true, "failCgroupV1: false"),
        (|f| f.system.listening = vec![22, 10250], "TCP port 10250"),
        (
            |f| f.system.foreign = vec!["/etc/kubernetes/admin.conf".into()],
            "meshctl k8s reset",
        ),
        (|f| f.system.time = 86_400, "timedatectl set-ntp true"),
        (|f| f.mesh.ground = None, "meshctl network pods prod --pod-cidr"),
        (
            |f| f.mesh.ground.as_mut().unwrap().services.clear(),
            "--service-cidr",
        ),
        (|f| f.mesh.way = None, "endpoint add api --to n1:6443"),
        (
            |f| f.mesh.lans.push(lan("10.96.3.0/24")),
            "10.96.0.0/16 overlaps 10.96.3.0/24",
        ),
    ];
    for (spoil, part) in cases {
        let (severity, sentence) = found(Role::ControlPlane, spoil);
        assert_eq!(severity, Severity::Fault, "{sentence}");
        assert!(sentence.contains(part), "{sentence}");
    }
}

#[test]
fn what_will_do_is_a_warning() {
    for (role, spoil, part) in [
        (
            Role::Worker,
            (|f| f.mesh.lans.push(lan("10.244.7.0/24"))) as fn(&mut Facts),
            "reached on eth0",
        ),
        (
            Role::Worker,
            |f| f.system.hostname = "n1.example.net".into(),
            "name in the mesh",
        ),
        (
            Role::Worker,
            |f| f.system.service_manager = false,
            "keep it running",
        ),
        (Role::ControlPlane, |f| way(f, peer(None)), "n2 does not answer"),
        (
            Role::ControlPlane,
            |f| way(f, peer(Some(51.0))),
            "n2 is 51 ms away",
        ),
    ] {
        let (severity, sentence) = found(role, spoil);
        assert_eq!(severity, Severity::Warning, "{sentence}");
        assert!(sentence.contains(part), "{sentence}");
    }
}

fn way(facts: &mut Facts, peer: Peer) {
    facts.mesh.way.as_mut().unwrap().others = vec![peer];
}

#[test]
fn control_planes_that_are_too_far_apart_are_refused_unless_forced() {
    let (severity, sentence) = found(Role::ControlPlane, |f| way(f, peer(Some(200.0))));
    assert_eq!(severity, Severity::Risk);
    assert!(
        sentence.contains("200 ms") && sentence.contains("--force"),
        "{sentence}"
    );
    // how far a worker is from them is nobody's concern
    let mut worker = well(Role::Worker);
    way(&mut worker, peer(Some(200.0)));
    assert_eq!(check(&worker), []);
}

#[test]
fn a_machine_behind_nothing_is_named() {
    let (_, sentence) = found(Role::ControlPlane, |f| f.mesh.way.as_mut().unwrap().own = false);
    assert!(
        sentence.starts_with("n1 is not behind the endpoint"),
        "{sentence}"
    );
    let (_, sentence) = found(Role::Worker, |f| f.mesh.way = None);
    assert!(sentence.contains("meshctl status"), "{sentence}");
    let mut worker = well(Role::Worker);
    worker.mesh.way.as_mut().unwrap().own = false;
    assert_eq!(check(&worker), []);
}

#[test]
fn words_grow_old_and_clocks_lag() {
    let aged = |role, age: u64| {
        let mut facts = well(role);
        facts.word = Some(NOW - age);
        check(&facts).len()
    };
    assert_eq!(
        (aged(Role::ControlPlane, 7200), aged(Role::ControlPlane, 7201)),
        (0, 1)
    );
    assert_eq!((aged(Role::Worker, 86_400), aged(Role::Worker, 86_401)), (0, 1));
    let (_, sentence) = found(Role::Worker, |f| f.word = Some(NOW + 601));
    assert!(sentence.contains("10 minutes behind"), "{sentence}");
}

#[test]
fn the_worst_comes_first() {
    let mut facts = well(Role::ControlPlane);
    facts.system.service_manager = false;
    facts.system.root = false;
    way(&mut facts, peer(Some(200.0)));
    let order: Vec<Severity> = check(&facts).iter().map(|finding| finding.severity).collect();
    assert_eq!(order, [Severity::Fault, Severity::Risk, Severity::Warning]);
}
