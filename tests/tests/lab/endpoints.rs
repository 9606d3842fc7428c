//! Endpoints: an address that every node has, and whoever is well behind it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use meshd_tests::mesh::Node;
use meshd_tests::{Greeted, Greeter, Machine, eventually, figure, keeps};
use serde_json::Value;

use crate::bed::{self, Bed, NET, SOON};

/// Most time without a new connection when one behind an endpoint dies.
const FAILOVER: Duration = Duration::from_secs(3);
/// The port behind it.
const PORT: u16 = 6443;
/// Where it is: the network's last usable address.
const API: &str = "10.77.255.254:7443";
/// The same for IPv6 goes with it.
const API_PORT: u16 = 7443;

/// Two nodes with a server each, a worker, and an endpoint in front of the servers.
struct Cluster {
    servers: Vec<Option<Greeter>>,
    bed: Bed,
}

impl Cluster {
    fn new() -> Self {
        let bed = bed::together(&["cp1", "cp2", "w1"]);
        let servers = bed.nodes[..2].iter().map(|node| Some(serve(node))).collect();
        let cluster = Self { servers, bed };
        cluster.admin("endpoint add api --to cp1:6443,cp2:6443");
        for name in ["cp1", "cp2"] {
            cluster.eventually_is(name, "ready");
        }
        cluster
    }

    fn admin(&self, words: &str) -> String {
        self.bed.relay.ctl(&words.split_whitespace().collect::<Vec<_>>())
    }

    fn node(&self, name: &str) -> &Node {
        let mut nodes = self.bed.nodes.iter();
        nodes.find(|node| node.name() == name).expect("a node of the bed")
    }

    /// Takes a node's cable out: nothing of it is heard any more, and nothing is refused.
    fn cut_off(&self, name: &str) {
        self.bed.sites[0].unplug(self.node(name).machine());
    }

    fn plug_in(&self, name: &str) {
        let host = (2..).zip(&self.bed.nodes).find(|(_, node)| node.name() == name);
        let (host, node) = host.expect("a node of the bed");
        self.bed.sites[0].plug(node.machine(), host);
    }

    fn worker(&self) -> &Machine {
        self.node("w1").machine()
    }

    fn connect(&self) -> Option<Greeted> {
        Greeted::connect(self.worker(), API.parse().expect("an address"), FAILOVER)
    }

    /// A connection of the worker to the server of this name.
    fn connect_to(&self, name: &str) -> Greeted {
        // those to others are kept until then: who has the fewest is next
        let mut others = Vec::new();
        eventually(SOON, &format!("a connection goes to {name}"), || {
            let greeted = self.connect()?;
            if greeted.name == name {
                return Some(greeted);
            }
            others.push(greeted);
            None
        })
    }

    /// Who answers, of so many new connections.
    fn answering(&self, count: usize) -> BTreeSet<String> {
        let all = (0..count).filter_map(|_| self.connect());
        all.map(|greeted| greeted.name.clone()).collect()
    }

    fn health(&self, name: &str) -> Option<String> {
        let status = self.node("w1").network(NET)?;
        let members = status["endpoints"][0]["members"].as_array()?.clone();
        let member: Value = members.into_iter().find(|member| member["node"] == name)?;
        member["health"].as_str().map(str::to_owned)
    }

    fn eventually_is(&self, name: &str, health: &str) {
        eventually(SOON, &format!("{name} is {health}"), || {
            (self.health(name)? == health).then_some(())
        });
    }

    /// The longest time between two connections that were answered, from when `happens` until somebody of `wanted` answered.
    fn longest_gap(&self, happens: impl FnOnce(), until: impl Fn(&Self) -> bool) -> Duration {
        assert!(self.connect().is_some(), "somebody answers before");
        let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
        happens();
        let begun = Instant::now();
        while begun.elapsed() < SOON {
            if self.connect().is_some() {
                longest = longest.max(last.elapsed());
                last = Instant::now();
                if begun.elapsed() > FAILOVER && until(self) {
                    break;
                }
            }
        }
        longest.max(last.elapsed())
    }
}

fn serve(node: &Node) -> Greeter {
    Greeter::start(node.machine(), node.at(NET, PORT), node.name())
}

#[test]
fn a_member_that_falls_silent_costs_new_connections_three_seconds_at_most() {
    let cluster = Cluster::new();
    assert_eq!(cluster.answering(6).len(), 2, "both answer");
    let (idle, busy) = (cluster.connect_to("cp1"), cluster.connect_to("cp1"));
    let mut to_other = cluster.connect_to("cp2");
    let (told, ends) = mpsc::channel();
    let gap = cluster.longest_gap(
        || {
            cluster.cut_off("cp1");
            for (kind, greeted) in [("idle", idle), ("busy", busy)] {
                let (told, died) = (told.clone(), Instant::now());
                thread::spawn(move || told.send((kind, greeted.lasts(SOON, kind == "busy"), died)));
            }
        },
        |cluster| cluster.health("cp1").as_deref() == Some("dead"),
    );
    figure(
        "no new connection through an endpoint when a member dies",
        format!("{} ms", gap.as_millis()),
        "3 s",
    );
    assert!(keeps(gap, FAILOVER), "{gap:?}");
    for _ in 0..2 {
        let (kind, end, died) = ends.recv().expect("both tell");
        let end = end.map(|end| end - died);
        figure(
            &format!("the {kind} connection through an endpoint lasts after its member died"),
            format!("{end:?}"),
            "3 s",
        );
        assert!(end.is_some_and(|end| keeps(end, FAILOVER)), "{kind}: {end:?}");
    }
    assert!(to_other.is_alive(), "the other one goes on");
    assert_eq!(cluster.answering(6), BTreeSet::from(["cp2".to_owned()]));

    cluster.plug_in("cp1");
    cluster.eventually_is("cp1", "ready");
    cluster.connect_to("cp1");
    assert!(to_other.is_alive(), "and goes on");
}

#[test]
fn a_node_that_was_cut_off_itself_keeps_its_connections() {
    let cluster = Cluster::new();
    let mut held = [cluster.connect_to("cp1"), cluster.connect_to("cp2")];
    cluster.cut_off("w1");
    for name in ["cp1", "cp2"] {
        cluster.eventually_is(name, "dead");
    }
    cluster.plug_in("w1");
    for name in ["cp1", "cp2"] {
        cluster.eventually_is(name, "ready");
    }
    for greeted in &mut held {
        assert!(greeted.is_alive(), "the connection to {} goes on", greeted.name);
    }
}

#[test]
fn one_that_ends_or_is_taken_out_gets_nothing_new_and_keeps_what_it_has() {
    let mut cluster = Cluster::new();
    let mut first = cluster.connect_to("cp1");
    let mut second = cluster.connect_to("cp2");
    // it shuts down: its listener is closed, and who is connected is served to the end
    cluster.servers[0] = None;
    cluster.eventually_is("cp1", "refusing");
    assert_eq!(cluster.answering(6), BTreeSet::from(["cp2".to_owned()]));
    assert!(
        first.is_alive(),
        "a server that shuts down ends its connections itself"
    );
    cluster.servers[0] = Some(serve(cluster.node("cp1")));
    cluster.eventually_is("cp1", "ready");
    cluster.connect_to("cp1");

    cluster.admin("endpoint remove api --to cp2:6443");
    cluster.eventually_is("cp2", "leaving");
    assert_eq!(cluster.answering(6), BTreeSet::from(["cp1".to_owned()]));
    assert!(second.is_alive(), "who is taken out is drained");
    drop(second);
    eventually(SOON, "it is gone when its last connection ends", || {
        cluster.health("cp2").is_none().then_some(())
    });
    cluster.admin("endpoint remove api");
    assert!(first.ends(SOON), "without the endpoint its connections end");
    eventually(SOON, "the address is gone", || {
        let held = cluster.worker().run(&["ip", "addr"]);
        (!held.contains("10.77.255.254")).then_some(())
    });
}

#[test]
fn the_address_is_every_nodes_own_and_nobody_elses() {
    let cluster = Cluster::new();
    let w1 = cluster.node("w1");
    let v6 = cluster.bed.relay.json(&["endpoint", "list"])[0]["at"][1].clone();
    let v6: SocketAddr = v6.as_str().expect("text").parse().expect("an address");
    assert_eq!(v6.port(), API_PORT);
    eventually(SOON, "it is reached by IPv6", || {
        Greeted::connect(cluster.worker(), v6, FAILOVER).map(drop)
    });
    for node in &cluster.bed.nodes {
        let held = node.machine().run(&["ip", "-4", "-o", "addr"]);
        assert!(held.contains("10.77.255.254/32 scope host"), "{held}");
    }
    // no source, and nothing goes into the tunnel
    for to in [cluster.node("cp1").ipv4(NET), cluster.node("cp1").ipv6(NET)] {
        let route = cluster.worker().run(&["ip", "route", "get", &to.to_string()]);
        assert!(
            route.contains(&format!(
                "src {}",
                if to.is_ipv4() { w1.ipv4(NET) } else { w1.ipv6(NET) }
            )),
            "{route}"
        );
    }
    let route = cluster.worker().run(&["ip", "route", "get", "10.77.255.254"]);
    assert!(route.contains("local"), "{route}");

    // a machine of the LAN gets no answer: neither by ARP nor through the node's own address
    let site = &cluster.bed.sites[0];
    let stranger = site.machine("stranger", 66);
    let lan = site.v4(66);
    stranger.run(&[
        "ip",
        "route",
        "add",
        "10.77.255.254/32",
        "dev",
        "eth0",
        "src",
        &lan,
    ]);
    let api: SocketAddr = API.parse().expect("an address");
    assert!(Greeted::connect(&stranger, api, Duration::from_secs(1)).is_none());
    let neighbours = stranger.run(&["ip", "neigh", "show", "10.77.255.254"]);
    assert!(!neighbours.contains("lladdr"), "nobody answers ARP: {neighbours}");
    stranger.run(&["ip", "route", "replace", "10.77.255.254/32", "via", &site.v4(4)]);
    assert!(Greeted::connect(&stranger, api, Duration::from_secs(1)).is_none());
    assert!(cluster.connect().is_some(), "the node itself still reaches it");
}

#[test]
fn an_address_of_ones_own_choice_is_served_without_the_relay_and_after_a_reboot() {
    let cluster = Cluster::new();
    let own: SocketAddr = "10.0.1.99:60443".parse().expect("an address");
    cluster.admin("endpoint add old --address 10.0.1.99:60443 --to cp1:6443,cp2:6443");
    let answers = |name: &str| {
        let machine = cluster.node(name).machine();
        eventually(SOON, &format!("{name} reaches it"), || {
            Greeted::connect(machine, own, FAILOVER).map(drop)
        });
    };
    for name in ["cp1", "cp2", "w1"] {
        answers(name);
    }
    cluster.bed.relay.kill();
    let w1 = cluster.node("w1");
    w1.kill();
    w1.start_again();
    answers("w1");
    assert!(cluster.connect().is_some(), "and the reserved address, too");
}
