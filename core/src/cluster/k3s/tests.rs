use super::*;
use crate::cluster::Flavor;
use crate::cluster::fixtures::{ground, machine, secrets};
use crate::token::CoordinatorAddress;

fn word() -> ClusterWord {
    ClusterWord {
        flavor: Flavor::K3s,
        token: secrets().token,
        authority: [9; 32],
        issued: 0,
        endpoint: CoordinatorAddress::new("10.77.255.254", 7443).unwrap(),
        key: Some(secrets().key),
    }
}

fn options(entry: Entry<'_>, datastore: Datastore<'_>, release: &str, ground: &Ground) -> Value {
    let node = Node {
        ground,
        machine: &machine(),
        release: Release::parse(release).unwrap(),
        timing: Timing::of([80.0]),
        datastore,
        entry,
        public_node_ports: false,
    };
    node.file().documents.remove(0)
}

const NEW: &str = "k3s version v1.34.1+k3s1 (abc)";
const OLD: &str = "k3s version v1.19.5+k3s1 (abc)";

#[test]
fn the_first_server_makes_the_cluster_at_the_address_that_every_node_holds() {
    let options = options(Entry::First(&secrets()), Datastore::Embedded, NEW, &ground());
    let wanted = json!({
        "node-name": "n1",
        "node-ip": "10.77.0.2,fd77::2",
        "node-external-ip": "10.77.0.2,fd77::2",
        "kubelet-arg": ["address=10.77.0.2", "healthz-bind-address=127.0.0.1"],
        "kube-proxy-arg": [
            "healthz-bind-address=127.0.0.1:10256",
            "metrics-bind-address=127.0.0.1:10249",
            "nodeport-addresses=10.77.0.2/32,fd77::2/128",
        ],
        "bind-address": "10.77.0.2",
        "advertise-address": "10.77.0.2",
        "tls-san": ["10.77.255.254", "fd77::fffe", "api.prod.mesh", "127.0.0.1"],
        "flannel-backend": "none",
        "disable-network-policy": true,
        "disable": ["servicelb"],
        "cluster-cidr": "10.244.0.0/16,fd00:10:244::/48",
        "service-cidr": "10.96.0.0/16,fd00:10:96::/112",
        "kube-controller-manager-arg": ["allocate-node-cidrs=false"],
        "egress-selector-mode": "disabled",
        "agent-token": *secrets().token.text(),
        "token": "02".repeat(32),
        "cluster-init": true,
        "etcd-arg": ["heartbeat-interval=150", "election-timeout=1500"],
    });
    assert_eq!(options, wanted);
}

#[test]
fn an_old_release_is_told_nothing_that_it_does_not_know() {
    let options = options(Entry::First(&secrets()), Datastore::Embedded, OLD, &ground());
    for unknown in ["etcd-arg", "egress-selector-mode"] {
        assert_eq!(options.get(unknown), None, "{unknown}");
    }
    assert_eq!(options["node-ip"], "10.77.0.2");
    assert_eq!(options["cluster-cidr"], "10.244.0.0/16");
    assert_eq!(options["service-cidr"], "10.96.0.0/16");
    assert_eq!(
        options["kubelet-arg"][0], "address=127.0.0.1",
        "its tunnel ends there"
    );
}

#[test]
fn another_server_and_an_agent_come_in_by_their_words() {
    let (word, ground) = (word(), ground());
    let server = options(Entry::Word(&word), Datastore::Embedded, NEW, &ground);
    assert_eq!(server["server"], "https://10.77.255.254:7443");
    let hash = "09".repeat(32);
    assert_eq!(server["token"], format!("K10{hash}::server:{}", "02".repeat(32)));
    assert_eq!(server["agent-token"], *secrets().token.text());
    assert_eq!(server.get("cluster-init"), None);
    assert_eq!(server["etcd-arg"][0], "heartbeat-interval=150");
    let worker = word.for_worker();
    let agent = options(Entry::Word(&worker), Datastore::Embedded, NEW, &ground);
    assert_eq!(
        agent["token"],
        format!("K10{hash}::node:{}", *secrets().token.text())
    );
    assert_eq!(agent["server"], "https://10.77.255.254:7443");
    for of_servers in [
        "bind-address",
        "agent-token",
        "tls-san",
        "cluster-cidr",
        "etcd-arg",
    ] {
        assert_eq!(agent.get(of_servers), None, "{of_servers}");
    }
}

#[test]
fn a_database_takes_the_place_of_etcd() {
    let (url, ground) = ("mysql://k3s:secret@tcp(10.77.0.9:3306)/k3s", ground());
    for entry in [Entry::First(&secrets()), Entry::Word(&word())] {
        let options = options(entry, Datastore::External(url), NEW, &ground);
        assert_eq!(options["datastore-endpoint"], url);
        for of_etcd in ["cluster-init", "etcd-arg", "server"] {
            assert_eq!(options.get(of_etcd), None, "{of_etcd}");
        }
    }
}

#[test]
fn who_allots_parts_is_said() {
    let theirs = Ground {
        mesh_allots: false,
        ..ground()
    };
    let manager = |release: &str| {
        let options = options(Entry::First(&secrets()), Datastore::Embedded, release, &theirs);
        options["kube-controller-manager-arg"].clone()
    };
    assert_eq!(
        manager(NEW),
        json!(["node-cidr-mask-size-ipv6=56", "node-cidr-mask-size-ipv4=24"])
    );
    assert_eq!(manager(OLD), json!(["node-cidr-mask-size=24"]));
}

#[test]
fn nothing_listens_on_every_address() {
    for entry in [Entry::First(&secrets()), Entry::Word(&word())] {
        let text = options(entry, Datastore::Embedded, NEW, &ground()).to_string();
        assert!(!text.contains("0.0.0.0") && !text.contains("\"::"), "{text}");
    }
}

#[test]
fn what_a_program_says_of_itself_is_read() {
    assert!(Release::parse(NEW) > Release::parse(OLD));
    assert_eq!(Release::parse(OLD), Some(OLDEST));
    assert_eq!(Release::parse("v1.30.0").unwrap().to_string(), "v1.30");
    for odd in ["", "k3s version dev (HEAD)", "v2.0.0", "v1.x"] {
        assert_eq!(Release::parse(odd), None, "{odd}");
    }
    let hash = "09".repeat(32);
    assert_eq!(authority(&format!("K10{hash}::server:abc\n")), Some([9; 32]));
    for odd in ["", "K10", "K10::x", "K1009::x", "abc"] {
        assert_eq!(authority(odd), None, "{odd}");
    }
}
