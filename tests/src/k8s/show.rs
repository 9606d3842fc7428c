//! What the mesh is for, shown once: a cluster whose nodes are all behind NATs, a machine outside it, the death of a gateway, and
//! a power cut of everything with the cloud host gone. `./demo --k8s` prints it, a test asserts it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{Cluster, NET, Parts, Plan, Pod, ProxyMode, get, guide};
use crate::mesh::{Node, words};
use crate::nat::Nat;
use crate::site::Site;
use crate::wait::poll;

/// For what a cluster does by itself, on a busy computer.
const PATIENCE: Duration = Duration::from_secs(180);
/// For what the mesh does by itself.
const SOON: Duration = Duration::from_secs(30);
/// Questions by which each of three pods is met: all are, but for one run in 10^5.
const OFTEN: u32 = 30;
/// Time for one connection while a gateway dies.
const TRY: Duration = Duration::from_millis(250);
/// What was shown, and how long it took.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// A sentence.
    pub what: String,
    /// Its time.
    pub took: Duration,
}

/// The cluster, the machine outside, and what was shown so far.
pub struct Show {
    /// What was shown.
    pub outcomes: Vec<Outcome>,
    /// The machine outside.
    pub laptop: Node,
    /// The cluster.
    pub cluster: Cluster,
    home: Site,
    say: fn(&str),
}

impl Show {
    /// Brings the cluster and the machine outside up. `say` is told of each step when it begins.
    pub fn start(parts: &Parts, say: fn(&str)) -> Self {
        say(
            "a cloud host with one address; cp, w1 and w2 join by token from behind a full cone, a port-restricted and a symmetric NAT",
        );
        let begin = Instant::now();
        let cluster = Cluster::start_as(parts, ProxyMode::Nftables, Plan::HOMES);
        cluster.relay.ctl(&["node", "set-relay", "cp"]);
        cluster.apply(include_str!("../../k8s/manifests/web.yaml"));
        cluster.wait_for_pods(PATIENCE, "app=web", cluster.nodes.len());
        // by now the namespace has the account that a lone pod needs
        cluster.apply(include_str!("../../k8s/manifests/lone.yaml"));
        cluster.wait_for_pods(PATIENCE, "app=lone", 1);
        let home = cluster.world.site(Nat::PortRestricted);
        let laptop = Node::start(&home.machine("laptop", 2));
        laptop.join(&cluster.relay.token(NET, &[]));
        let mut show = Self {
            outcomes: Vec::new(),
            laptop,
            cluster,
            home,
            say,
        };
        show.note("mesh and cluster are up, with a pod on each node", begin);
        show
    }

    /// A pod on one node reaches pods on all of them by the service's address.
    pub fn pods_answer(&mut self) {
        self.say("a pod on w1 asks the service's ClusterIP; pods on every node answer");
        let begin = Instant::now();
        self.every_pod_answers(&["w1"]);
        self.note("a pod on w1 reaches pods on all nodes by ClusterIP", begin);
    }

    /// So does a machine that is in the mesh and not in the cluster, through two of its nodes.
    pub fn outside_answers(&mut self) {
        self.say("the laptop, outside the cluster, asks the same ClusterIP through the gateways w1 and cp");
        let begin = Instant::now();
        for step in [guide::FIRST_GATEWAY, guide::SECOND_GATEWAY] {
            self.cluster.relay.ctl(&guide::words(step));
        }
        self.laptop_is_answered();
        self.note("a machine outside the cluster reaches the ClusterIP", begin);
    }

    /// meshd on the gateway in use dies; connections are made through the other within the time given back.
    pub fn gateway_dies(&mut self) -> Duration {
        self.say("meshd on the gateway w1 is killed while the laptop goes on asking");
        let at = SocketAddr::new(self.service("lone"), 80);
        let machine = self.laptop.machine();
        let answers = || machine.inside(|| TcpStream::connect_timeout(&at, TRY).is_ok());
        let heard = poll(SOON, || answers().then_some(()));
        assert!(
            heard.is_some(),
            "{at} answers the laptop\n{}",
            self.cluster.description()
        );
        self.cluster.node("w1").mesh().kill();
        let begin = Instant::now();
        let heard = poll(SOON, || answers().then_some(()));
        let took = begin.elapsed();
        assert!(heard.is_some(), "{at} answers through cp");
        self.cluster.node("w1").mesh().start_again();
        self.outcomes.push(Outcome {
            what: "the other gateway has taken over".into(),
            took,
        });
        took
    }

    /// Everything is switched off and on while the cloud host is away, and is whole again without it.
    pub fn power_cut(&mut self) {
        self.say("the cloud host is gone; cp, w1, w2 and the laptop lose power and get it back");
        let begin = Instant::now();
        self.cluster.relay.kill();
        self.cluster.power_cycle();
        self.laptop.machine().reboot();
        self.home.plug(self.laptop.machine(), 2);
        self.laptop.start_again();
        self.every_pod_answers(&["cp", "w1", "w2"]);
        self.note(
            "without the cloud host: all pods reach all pods by ClusterIP again",
            begin,
        );
        self.laptop_is_answered();
        self.note("without the cloud host: so does the machine outside", begin);
        self.say("the cloud host is back");
        let begin = Instant::now();
        self.cluster.relay.start_again();
        let connected = || {
            let all = self.cluster.nodes.iter().map(super::Worker::mesh);
            let mut all = all.chain([&self.laptop]);
            all.all(|node| {
                node.network(NET)
                    .is_some_and(|net| net["coordinator"] == "connected")
            })
        };
        let found = poll(PATIENCE, || connected().then_some(()));
        assert!(found.is_some(), "everybody finds the coordinator again");
        self.note("everybody has found the coordinator again", begin);
    }

    fn say(&self, what: &str) {
        (self.say)(what);
    }

    fn note(&mut self, what: &str, begin: Instant) {
        self.outcomes.push(Outcome {
            what: what.to_owned(),
            took: begin.elapsed(),
        });
    }

    /// The address of a service.
    fn service(&self, name: &str) -> IpAddr {
        let address = self
            .cluster
            .kubectl(&["get", "service", name, "-o", "jsonpath={.spec.clusterIP}"]);
        address.trim().parse().expect("a service has an address")
    }

    /// Waits until the pods on these nodes hear every web pod at the service's address.
    fn every_pod_answers(&self, nodes: &[&str]) {
        let mut last = String::new();
        for node in nodes {
            let heard = poll(PATIENCE, || {
                let service = self.try_service("web")?.to_string();
                let pods = self.cluster.pods("app=web");
                let names: BTreeSet<String> = pods.iter().map(|pod| pod.name.clone()).collect();
                let from: &Pod = pods.iter().find(|pod| pod.node == *node)?;
                let machine = self.cluster.node(node).mesh().machine();
                let heard = from.dial(machine, (&service, 80), "hostname", OFTEN);
                last = format!("{heard:?}");
                (pods.len() == self.cluster.nodes.len() && heard.ok()? == names).then_some(())
            });
            assert!(
                heard.is_some(),
                "a pod on {node} hears all: {last}\n{}",
                self.cluster.description()
            );
        }
    }

    fn try_service(&self, name: &str) -> Option<IpAddr> {
        let object = self.cluster.get(&["service", name])?;
        object["spec"]["clusterIP"].as_str()?.parse().ok()
    }

    fn laptop_is_answered(&self) {
        let mut last = String::new();
        let heard = poll(PATIENCE, || {
            let at = SocketAddr::new(self.try_service("web")?, 80);
            get(self.laptop.machine(), at, "/hostname")
                .map_err(|error| last = error)
                .ok()
        });
        assert!(
            heard.is_some(),
            "the laptop is answered: {last}\n{}{}\n{}",
            words(&self.laptop.try_ctl(&["why", "cp"])),
            words(&self.laptop.try_ctl(&["why", "w1"])),
            self.cluster.description()
        );
    }
}
