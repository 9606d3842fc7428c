//! What is compared: two machines on one LAN for each bed, with programs that make a network of them.

mod others;

use std::net::IpAddr;
use std::time::Duration;

use meshd_tests::mesh::{Node, Relay};
use meshd_tests::pods::Pod;
use meshd_tests::{Machine, Nat, Process, Site, World, eventually, eventually_or_last};
use others::Flannel;

use meshd_tests::measure::load::Place;
use meshd_tests::measure::usage::{Reads, peak_rss};
use meshd_tests::measure::wireguard::{INTERFACE, WireGuard};

/// For what takes a moment on a busy computer.
const SOON: Duration = Duration::from_secs(30);
const NET: &str = "prod";
/// The mesh's interface.
const MESH: &str = "meshd0";
/// The way from node to node over the mesh.
pub const NODE: &str = "mesh, node to node";
/// The way from pod to pod over the mesh.
pub const POD: &str = "mesh, pod to pod";
const OVER: &str = "Flannel VXLAN over the mesh";
const PLAIN: &str = "Flannel VXLAN, not encrypted";
const WIREGUARD: &str = "wireguard-go, pods' routes";
/// Packets cross the link one by one, and are gathered where they arrive.
const CUT: &str = "ethtool -K eth0 tso off gso off tx-udp-segmentation off tx-udp_tnl-segmentation off \
                   tx-udp_tnl-csum-segmentation off gro on";

/// From where to where, and what makes the way.
pub struct Way {
    /// What it is called.
    pub name: &'static str,
    /// Who sends.
    pub from: Place,
    /// Who receives.
    pub to: Place,
    /// The receiver's address.
    pub address: IpAddr,
    /// The programs that carry the packets or say where they go; the same number on both machines, the first machine's first.
    pub agents: Vec<u32>,
    /// The interface from which the sender's program reads packets.
    pub reads: Option<Reads>,
}

impl Way {
    /// Peak memory of one node's agents, MiB: the greater one.
    pub fn memory(&self) -> f64 {
        let (first, second) = self.agents.split_at(self.agents.len() / 2);
        let sum = |agents: &[u32]| agents.iter().map(|pid| peak_rss(*pid)).sum::<f64>();
        sum(first).max(sum(second))
    }
}

/// Everything that runs. Programs end before the world does.
pub struct Beds<'a> {
    /// What is compared.
    pub ways: Vec<Way>,
    nodes: Vec<Node>,
    others: Vec<Process>,
    wireguards: Vec<WireGuard>,
    relay: Relay,
    cloud: Machine,
    world: &'a World,
}

impl<'a> Beds<'a> {
    /// Starts all of it, and waits until each way leads somewhere. Programs that are not there are left out, with a line that says so.
    pub fn build(world: &'a World) -> Self {
        let cloud = world.cloud();
        let relay = Relay::start(&cloud);
        relay.create_network(NET, "10.77.0.0/16");
        relay.ctl(&["network", "pods", NET, "--pod-cidr", "10.42.0.0/16"]);
        let (ways, nodes, others, wireguards) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut beds = Self {
            ways,
            nodes,
            others,
            wireguards,
            relay,
            cloud,
            world,
        };
        beds.own();
        match (program("MESHD_FLANNELD"), program("MESHD_ETCD")) {
            (Some(flanneld), Some(etcd)) => beds.flannel(&flanneld, &etcd),
            _ => println!("without Flannel: MESHD_FLANNELD and MESHD_ETCD do not name flanneld and etcd"),
        }
        match program("MESHD_WIREGUARD_GO") {
            Some(wireguard_go) => beds.wireguard(&wireguard_go),
            None => println!("without wireguard-go: MESHD_WIREGUARD_GO does not name it"),
        }
        beds
    }

    /// Node to node and pod to pod over the mesh.
    fn own(&mut self) {
        let [a, b] = self.mesh(["a", "b"]);
        let ((first, _), (second, ips)) = (Pod::added(&a, "first"), Pod::added(&b, "second"));
        reach(&first, ips[0]);
        let agents = vec![a.pid(), b.pid()];
        let reads = Some(Reads::of(a.machine(), MESH));
        let nodes = [&a, &b].map(|node| Place::Node(node.machine().clone()));
        self.add(NODE, nodes, b.ipv4(NET), (agents.clone(), reads.clone()));
        self.add(POD, [first, second].map(Place::Pod), ips[0], (agents, reads));
        self.nodes.extend([a, b]);
    }

    /// Flannel over the mesh, and without it.
    fn flannel(&mut self, flanneld: &str, etcd: &str) {
        self.others.push(others::etcd(&self.cloud, etcd));
        let vxlan = |name, interface, network| Flannel {
            flanneld,
            name,
            interface,
            network,
            backend: "vxlan",
        };
        let [c, d] = self.mesh(["c", "d"]);
        let machines = [&c, &d].map(|node| node.machine().clone());
        let reads = Some(Reads::of(c.machine(), MESH));
        let over = vxlan("over", MESH, "10.101.0.0/16");
        self.flannel_way(OVER, &over, &machines, (vec![c.pid(), d.pid()], reads));
        self.nodes.extend([c, d]);
        let machines = machines_on_a_lan(self.world, ["e", "f"]);
        let plain = vxlan("plain", "eth0", "10.102.0.0/16");
        self.flannel_way(PLAIN, &plain, &machines, (Vec::new(), None));
        let own = Flannel {
            backend: "wireguard",
            ..vxlan("wireguard", "eth0", "10.103.0.0/16")
        };
        self.refused(&own, &machines[0]);
    }

    /// Two pods on a Flannel network of two machines; `agents` carry it beside flanneld.
    fn flannel_way(
        &mut self,
        name: &'static str,
        flannel: &Flannel<'_>,
        machines: &[Machine; 2],
        what: Carriers,
    ) {
        flannel.announce(&self.cloud);
        let started = machines.each_ref().map(|machine| flannel.start(machine));
        let [first, second] = &started;
        let (from, _) = flannel.pod(&machines[0], first, "first");
        let (to, ip) = flannel.pod(&machines[1], second, "second");
        reach(&from, ip);
        let (carriers, reads) = what;
        let pids = [first.pid(), second.pid()];
        let (one, other) = carriers.split_at(carriers.len() / 2);
        let agents = [one, &pids[..1], other, &pids[1..]].concat();
        self.add(name, [from, to].map(Place::Pod), ip, (agents, reads));
        self.others.extend(started);
    }

    /// Flannel's own WireGuard wants the kernel's: says what becomes of it where the kernel has none.
    fn refused(&self, flannel: &Flannel<'_>, machine: &Machine) {
        flannel.announce(&self.cloud);
        let flanneld = flannel.start(machine);
        let word = eventually_or_last(SOON, || flanneld.log(), |log| log.contains("wireguard:"));
        let said = word
            .lines()
            .rfind(|line| line.starts_with('E') || line.contains("rror"));
        println!(
            "Flannel's backend wireguard: {}",
            said.unwrap_or("runs here, and is not among the ways")
        );
    }

    /// Pods behind wireguard-go.
    fn wireguard(&mut self, wireguard_go: &str) {
        let machines = machines_on_a_lan(self.world, ["g", "h"]);
        let (started, [(from, _), (to, ip)]) = others::wireguard_go(&machines, wireguard_go);
        reach(&from, ip);
        let agents = started.each_ref().map(|own| own.process().pid()).to_vec();
        let reads = Some(Reads::of(&machines[0], INTERFACE));
        self.add(WIREGUARD, [from, to].map(Place::Pod), ip, (agents, reads));
        self.wireguards.extend(started);
    }

    fn add(
        &mut self,
        name: &'static str,
        [from, to]: [Place; 2],
        address: IpAddr,
        (agents, reads): Carriers,
    ) {
        self.ways.push(Way {
            name,
            from,
            to,
            address,
            agents,
            reads,
        });
    }

    /// Two nodes on one LAN that reach each other directly.
    fn mesh(&self, names: [&str; 2]) -> [Node; 2] {
        let nodes = machines_on_a_lan(self.world, names).map(|machine| {
            let node = Node::start(&machine);
            node.join(&self.relay.token(NET, &[]));
            node
        });
        for (node, peer) in [(&nodes[0], &nodes[1]), (&nodes[1], &nodes[0])] {
            node.reaches(peer.name(), SOON);
            eventually(SOON, "the path is direct", || {
                (node.path_kind(NET, peer.name()) == "direct").then_some(())
            });
            eventually(SOON, "it has a part of the pods' prefix", || {
                node.network(NET)?["pods"]["cidr"].as_str().map(str::to_owned)
            });
        }
        nodes
    }
}

/// The programs that carry the packets, and what they read from.
type Carriers = (Vec<u32>, Option<Reads>);

/// A program that a variable names.
fn program(variable: &str) -> Option<String> {
    std::env::var(variable)
        .ok()
        .filter(|path| std::path::Path::new(path).exists())
}

fn reach(pod: &Pod, ip: IpAddr) {
    eventually(SOON, &format!("the pod {} reaches {ip}", pod.name), || {
        pod.pings(ip).then_some(())
    });
}

/// Two machines on one LAN.
fn machines_on_a_lan(world: &World, names: [&str; 2]) -> [Machine; 2] {
    let site: Site = world.site(Nat::PortRestricted);
    let mut host = 1;
    names.map(|name| {
        host += 1;
        let machine = site.machine(name, host);
        machine.sh(CUT);
        machine
    })
}
