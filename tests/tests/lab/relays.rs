//! Several relays: nodes learn of them, use the nearest, and move to another when one dies.

use std::sync::Mutex;
use std::time::Duration;

use meshd_tests::mesh::{Node, Relay, program};
use meshd_tests::{
    DelayBox, Machine, Nat, Process, TcpFlow, UdpFlow, Weather, World, eventually, figure, keeps,
};

use crate::bed::{self, Bed, CIDR, NET, SOON};

/// The longest time without packets that the death of a relay may cause.
const BAR: Duration = Duration::from_secs(3);

/// A meshrelay that only relays.
pub struct Outpost {
    machine: Machine,
    word: String,
    process: Mutex<Process>,
}

impl Outpost {
    /// Made on the coordinator, started on a machine of a routed site of its own.
    pub fn start(bed: &mut Bed, name: &str) -> Self {
        let site = bed.world.site(Nat::Open);
        let machine = site.machine(name, 2);
        bed.sites.push(site);
        let word = bed.relay.ctl(&["relay", "create", name]).trim().to_owned();
        assert!(word.starts_with("meshr1"), "one word: {word}");
        let process = Mutex::new(run(&machine, &word));
        Self {
            machine,
            word,
            process,
        }
    }

    fn kill(&self) {
        self.process.lock().expect("not poisoned").kill();
    }

    fn start_again(&self) {
        *self.process.lock().expect("not poisoned") = run(&self.machine, &self.word);
    }
}

fn run(machine: &Machine, word: &str) -> Process {
    machine.spawn(&[&program("meshrelay"), "run", "--relay-for", word], &[])
}

/// Waits until a node is bound at so many relays.
fn bound_at(node: &Node, count: usize) {
    eventually(
        SOON,
        &format!("{} is bound at {count} relays", node.name()),
        || {
            let network = node.network(NET)?;
            let relays = network["relays"].as_array()?;
            let bound = relays.iter().filter(|relay| !relay["endpoint"].is_null()).count();
            (bound == count).then_some(())
        },
    );
}

fn endpoint(node: &Node, peer: &str) -> String {
    let peer = node.peer(NET, peer).expect("it is known");
    peer["path"]["endpoint"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn the_death_of_a_relay_under_traffic_costs_at_most_3_s_and_the_other_takes_over() {
    let mut bed = bed::apart(&[("a", Nat::Symmetric), ("b", Nat::Symmetric)]);
    let east = Outpost::start(&mut bed, "east");
    let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
    let mut worst = Duration::ZERO;
    for round in 0..4 {
        bound_at(a, 2);
        bound_at(b, 2);
        bed.wait_for_paths("relay");
        a.reaches("b", SOON);
        let there = UdpFlow::start(a, b, b.at(NET, 9000), 1000);
        let back = UdpFlow::start(b, a, a.at(NET, 9000), 1000);
        let stream = TcpFlow::start(a, b, b.at(NET, 9001), 1_000_000);
        let used = endpoint(a, "b");
        let at_home = used.starts_with("203.0.113.1:");
        if at_home {
            bed.relay.kill();
        } else {
            east.kill();
        }
        eventually(SOON, "both use the other relay", || {
            (endpoint(a, "b") != used && endpoint(b, "a") != used).then_some(())
        });
        a.reaches("b", SOON);
        let (there, back, stream) = (there.stop(), back.stop(), stream.stop());
        let silence = there.longest_silence.max(back.longest_silence);
        worst = worst.max(silence);
        assert!(keeps(silence, BAR), "round {round}, {used}: {there:?} {back:?}");
        assert_eq!(stream.broken, None, "{stream:?}");
        if at_home {
            bed.relay.start_again();
        } else {
            east.start_again();
        }
    }
    figure(
        "a relay killed under traffic, worst of 4",
        format!("{} ms of silence", worst.as_millis()),
        "3,000 ms",
    );
}

#[test]
fn a_relay_is_listed_used_and_removed() {
    let mut bed = bed::apart(&[("a", Nat::Symmetric), ("b", Nat::Symmetric)]);
    let east = Outpost::start(&mut bed, "east");
    let listed = || bed.relay.json(&["relay", "list"]);
    eventually(SOON, "the relay is in touch", || {
        (listed()[1]["connected"] == true).then_some(())
    });
    assert_eq!(listed()[0]["name"], "coordinator");
    assert!(bed.relay.ctl(&["relay", "list"]).contains("east"));
    bed.nodes.iter().for_each(|node| bound_at(node, 2));
    // a newcomer is told as well, and the relay of the newcomer
    let site = bed.world.site(Nat::UdpBlocked);
    bed.add(&site, "c", 2);
    bed.sites.push(site);
    bound_at(&bed.nodes[2], 2);
    let relays = bed.nodes[2].network(NET).expect("it is joined")["relays"].clone();
    let over_tls = |relay: &serde_json::Value| relay["transport"] == "tls";
    assert!(
        relays.as_array().is_some_and(|all| all.iter().all(over_tls)),
        "{relays}"
    );
    bed.nodes[2].reaches("a", SOON);
    // with the coordinator gone, the other relay goes on, over TLS as well
    bed.relay.kill();
    bed.nodes[2].reaches("b", SOON);
    bed.nodes[0].reaches("b", SOON);
    bed.relay.start_again();
    bed.relay.ctl(&["relay", "remove", "east"]);
    bed.nodes.iter().for_each(|node| bound_at(node, 1));
    bed.nodes[0].reaches("b", SOON);
    eventually(SOON, "the relay learns that it is out", || {
        let log = east.process.lock().expect("not poisoned").log();
        log.contains("coordinator is away").then_some(())
    });
    assert_eq!(
        bed.relay.json(&["relay", "list"]).as_array().map(Vec::len),
        Some(1)
    );
}

/// Two nodes that nothing brings together directly, and a third that both reach; the uplinks of the cloud host and of the
/// third have these delays, in ms.
fn with_a_third(cloud_ms: u64, third_ms: u64) -> (Bed, DelayBox) {
    let weather = |ms| Weather {
        delay: Duration::from_millis(ms),
        ..Weather::default()
    };
    let world = World::new();
    let (cloud, uplink) = world.slow_cloud(weather(cloud_ms));
    let relay = Relay::start_with(&cloud, &["--public-addr", "203.0.113.1"]);
    relay.create_network(NET, CIDR);
    let sites = vec![
        world.site(Nat::Symmetric),
        world.site(Nat::Symmetric),
        world.slow_site(Nat::Open, weather(third_ms)),
    ];
    let mut bed = bed::with_relay(world, cloud, relay);
    for (site, name) in sites.iter().zip(["a", "b", "r"]) {
        bed.add(site, name, 2);
    }
    bed.sites = sites;
    bed.settle();
    (bed, uplink)
}

/// Waits until both of the pair send by this relay.
fn goes_by(bed: &Bed, address: &str) {
    let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
    eventually(SOON, &format!("the pair goes by {address}"), || {
        a.pings("b");
        let by = |node: &Node, peer| endpoint(node, peer).starts_with(&format!("{address}:"));
        let relayed = |node: &Node, peer| node.path_kind(NET, peer) == "relay";
        (by(a, "b") && by(b, "a") && relayed(a, "b") && relayed(b, "a")).then_some(())
    });
}

#[test]
fn a_node_that_is_a_relay_is_used_where_it_is_quicker_and_left_when_it_is_none_any_more() {
    let (bed, _uplink) = with_a_third(40, 0);
    let (a, b, third) = (&bed.nodes[0], &bed.nodes[1], bed.sites[2].v4(2));
    goes_by(&bed, "203.0.113.1");
    let flow = UdpFlow::start(a, b, b.at(NET, 9000), 500);
    let said = bed.relay.ctl(&["node", "set-relay", "r"]);
    assert!(said.contains("\"r\" relays for nodes"), "{said}");
    goes_by(&bed, &third);
    assert_eq!(bed.relay.json(&["node", "show", "r"])["relay"], true);
    assert!(
        !bed.relay.try_ctl(&["node", "set-relay", "r"]).status.success(),
        "it is one"
    );
    // it needs no cloud host
    bed.relay.kill();
    a.reaches("b", SOON);
    bed.relay.start_again();
    let page = a.ctl(&["status"]);
    assert!(page.contains("(node r"), "{page}");
    bed.relay.ctl(&["node", "set-relay", "r", "--off"]);
    goes_by(&bed, "203.0.113.1");
    let flow = flow.stop();
    assert!(keeps(flow.longest_silence, Duration::from_secs(1)), "{flow:?}");
}

#[test]
fn a_node_that_is_a_relay_takes_over_when_the_cloud_host_dies() {
    let (bed, _uplink) = with_a_third(0, 40);
    let (a, b, third) = (&bed.nodes[0], &bed.nodes[1], bed.sites[2].v4(2));
    bed.relay.ctl(&["node", "set-relay", "r"]);
    bound_at(a, 2);
    bound_at(b, 2);
    goes_by(&bed, "203.0.113.1");
    let flow = UdpFlow::start(a, b, b.at(NET, 9000), 1000);
    let stream = TcpFlow::start(a, b, b.at(NET, 9001), 1_000_000);
    bed.relay.kill();
    goes_by(&bed, &third);
    let (flow, stream) = (flow.stop(), stream.stop());
    figure(
        "the cloud relay dies, a node takes over",
        format!("{} ms of silence", flow.longest_silence.as_millis()),
        "3,000 ms",
    );
    assert!(keeps(flow.longest_silence, BAR), "{flow:?}");
    assert_eq!(stream.broken, None, "{stream:?}");
}
