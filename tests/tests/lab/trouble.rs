//! Paths under trouble: what breaks costs little, what mends is used again.

use std::thread;
use std::time::Duration;

use meshd_tests::mesh::{Node, Relay};
use meshd_tests::{
    DelayBox, Machine, Nat, Site, TcpFlow, UdpFlow, Weather, World, eventually, figure, keeps,
};

use crate::bed::{self, Bed, CIDR, NET, SOON};

/// The longest silence on the loss of a direct path.
const GAP: Duration = Duration::from_secs(1);
/// How long a flow runs before and after the trouble.
const A_WHILE: Duration = Duration::from_secs(2);

fn pair(bed: &Bed) -> (&Node, &Node) {
    let [a, b, ..] = &bed.nodes[..] else {
        unreachable!("two nodes")
    };
    (a, b)
}

fn direct_pair(first: Nat, second: Nat) -> Bed {
    let bed = bed::apart(&[("a", first), ("b", second)]);
    bed.wait_for_paths("direct");
    bed
}

fn ms(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// A TCP stream over a direct path that `cut` cuts; the longest time in which nothing arrived.
fn tcp_while(what: &str, cut: impl FnOnce(&Bed)) {
    let bed = direct_pair(Nat::PortRestricted, Nat::PortRestricted);
    let (a, b) = pair(&bed);
    let stream = TcpFlow::start(a, b, b.at(NET, 9001), 200_000);
    thread::sleep(A_WHILE);
    cut(&bed);
    thread::sleep(A_WHILE * 2);
    let report = stream.stop();
    figure(what, ms(report.longest_stall), ms(GAP));
    assert_eq!(report.broken, None, "{report:?}");
    assert!(keeps(report.longest_stall, GAP), "{report:?}");
}

#[test]
fn the_direct_path_cut_under_tcp_is_a_gap_of_a_second_at_most() {
    tcp_while("direct path cut under TCP", |bed| {
        bed.world.cut_between(&bed.sites[0], &bed.sites[1]);
    });
}

#[test]
fn the_direct_path_cut_in_one_direction_under_tcp_is_a_gap_of_a_second_at_most() {
    tcp_while("direct path cut under TCP, data's direction only", |bed| {
        bed.world.cut_from(&bed.sites[0], &bed.sites[1]);
    });
    tcp_while(
        "direct path cut under TCP, acknowledgements' direction only",
        |bed| {
            bed.world.cut_from(&bed.sites[1], &bed.sites[0]);
        },
    );
}

#[test]
fn the_direct_path_cut_under_one_way_udp_is_a_gap_of_a_second_at_most() {
    let bed = direct_pair(Nat::PortRestricted, Nat::PortRestricted);
    let (a, b) = pair(&bed);
    let flow = UdpFlow::start(a, b, b.at(NET, 9000), 100);
    thread::sleep(A_WHILE);
    bed.world.cut_between(&bed.sites[0], &bed.sites[1]);
    thread::sleep(A_WHILE * 2);
    let report = flow.stop();
    figure(
        "direct path cut under one-way UDP",
        ms(report.longest_silence),
        ms(GAP),
    );
    assert!(keeps(report.longest_silence, GAP), "{report:?}");
}

#[test]
fn the_direct_path_cut_under_one_packet_a_second_loses_one_at_most() {
    let bed = direct_pair(Nat::PortRestricted, Nat::PortRestricted);
    let (a, b) = pair(&bed);
    let flow = UdpFlow::start(a, b, b.at(NET, 9000), 1);
    thread::sleep(A_WHILE * 2);
    bed.world.cut_between(&bed.sites[0], &bed.sites[1]);
    thread::sleep(A_WHILE * 4);
    let report = flow.stop();
    figure(
        "direct path cut under 1 packet/s",
        format!("{} lost", report.lost()),
        "1 lost",
    );
    assert!(report.lost() <= 1, "{report:?}");
}

#[test]
fn a_nat_that_reboots_is_a_gap_of_a_second_at_most() {
    for (first, second) in [
        (Nat::PortRestricted, Nat::PortRestricted),
        (Nat::FullCone, Nat::Symmetric),
        // gives the node another port than before, for the peer's packets come first
        (Nat::PortRestricted, Nat::PlainLinux),
    ] {
        let bed = direct_pair(first, second);
        let (a, b) = pair(&bed);
        let (there, back) = (
            UdpFlow::start(a, b, b.at(NET, 9000), 100),
            UdpFlow::start(b, a, a.at(NET, 9000), 100),
        );
        thread::sleep(A_WHILE);
        bed.sites[1].forget_mappings();
        thread::sleep(A_WHILE);
        let (there, back) = (there.stop(), back.stop());
        let gap = there.longest_silence.max(back.longest_silence);
        figure(
            &format!("NAT rebooted, {} x {}", first.label(), second.label()),
            ms(gap),
            ms(GAP),
        );
        assert!(keeps(gap, GAP), "{first:?} x {second:?}: {there:?} {back:?}");
    }
}

#[test]
fn a_nat_that_forgets_after_ten_seconds_does_not_swallow_the_first_packet_after_a_pause() {
    let bed = direct_pair(Nat::PortRestricted, Nat::PortRestricted);
    let (a, b) = pair(&bed);
    for site in &bed.sites {
        site.forget_mappings();
        site.forget_mappings_after(10);
    }
    a.reaches("b", SOON);
    // the pause is what is tested
    thread::sleep(Duration::from_secs(13));
    let flow = UdpFlow::start(a, b, b.at(NET, 9000), 20);
    thread::sleep(A_WHILE);
    let report = flow.stop();
    let first = report.first_arrival.unwrap_or(Duration::MAX);
    figure("first packet after the NATs forgot", ms(first), ms(GAP));
    assert!(keeps(first, GAP), "{report:?}");
}

#[test]
fn a_relay_that_is_killed_costs_a_direct_pair_nothing_and_a_relayed_one_is_back_three_seconds_after_it() {
    let bed = bed::apart(&[
        ("a", Nat::PortRestricted),
        ("b", Nat::FullCone),
        ("s", Nat::Symmetric),
        ("t", Nat::Symmetric),
    ]);
    let (a, b) = pair(&bed);
    eventually(SOON, "a and b are direct", || {
        (a.path_kind(NET, "b") == "direct").then_some(())
    });
    let direct = UdpFlow::start(a, b, b.at(NET, 9000), 100);
    let relayed = UdpFlow::start(&bed.nodes[2], &bed.nodes[3], bed.nodes[3].at(NET, 9000), 100);
    thread::sleep(A_WHILE);
    bed.relay.kill();
    thread::sleep(A_WHILE);
    let relayed_before = relayed.stop();
    assert!(relayed_before.received > 0, "{relayed_before:?}");
    bed.relay.start_again();
    let back = bed.nodes[2].reaches("t", SOON);
    let direct = direct.stop();
    figure(
        "direct pair while the relay is killed",
        ms(direct.longest_silence),
        ms(GAP),
    );
    figure("relayed pair after its only relay is back", ms(back), "3,000 ms");
    assert!(
        keeps(direct.longest_silence, GAP) && direct.lost() == 0,
        "{direct:?}"
    );
    assert!(keeps(back, Duration::from_secs(3)), "{back:?}");
}

/// A relayed pair whose relay is 50 ms slower than the direct path, which is cut. Dropped in this order: the world last.
struct SlowRelay {
    nodes: [Node; 2],
    _relay: Relay,
    _delay: DelayBox,
    sites: [Site; 2],
    cloud: Machine,
    world: World,
}

fn slow_relay() -> SlowRelay {
    let world = World::new();
    let slow = Weather {
        delay: Duration::from_millis(25),
        ..Weather::default()
    };
    let (cloud, delay) = world.slow_cloud(slow);
    let relay = Relay::start_with(&cloud, &["--public-addr", "203.0.113.1"]);
    relay.create_network(NET, CIDR);
    let sites = [world.site(Nat::FullCone), world.site(Nat::FullCone)];
    world.cut_between(&sites[0], &sites[1]);
    let nodes = [0, 1].map(|at| {
        let node = Node::start(&sites[at].machine(["a", "b"][at], 2));
        node.join(&relay.token(NET, &[]));
        node
    });
    nodes[0].reaches("b", SOON);
    SlowRelay {
        nodes,
        _relay: relay,
        _delay: delay,
        sites,
        cloud,
        world,
    }
}

impl SlowRelay {
    /// Mends the direct path and waits until both use it.
    fn upgrade(&self) {
        assert_eq!(self.nodes[0].path_kind(NET, "b"), "relay");
        self.world.mend();
        // a change of the network has both try anew at once
        for (site, node) in self.sites.iter().zip(&self.nodes) {
            let address = format!("{}/24", site.v4(200));
            node.machine()
                .run(&["ip", "addr", "add", &address, "dev", "eth0"]);
        }
        eventually(SOON, "both are direct", || {
            let kind = |from: usize, to: &str| self.nodes[from].path_kind(NET, to);
            (kind(0, "b") == "direct" && kind(1, "a") == "direct").then_some(())
        });
    }

    /// Where packets were dropped.
    fn drops(&self) -> String {
        let kernels: Vec<String> = [&self.cloud, self.world.internet()]
            .into_iter()
            .chain(self.nodes.iter().map(Node::machine))
            .map(drops_of)
            .collect();
        let nodes = self
            .nodes
            .each_ref()
            .map(|node| node.network(NET).map(|net| net["drops"].clone()));
        format!(
            "dropped by the nodes: {nodes:?}; by kernels:\n{}",
            kernels.join("\n")
        )
    }
}

/// The pair becomes direct under `rate` numbered packets/s.
pub fn upgrade_under(rate: u32) {
    let pair = slow_relay();
    let flow = UdpFlow::start(&pair.nodes[0], &pair.nodes[1], pair.nodes[1].at(NET, 9000), rate);
    thread::sleep(A_WHILE);
    pair.upgrade();
    thread::sleep(A_WHILE);
    let report = flow.stop();
    figure(
        &format!("packets lost on the upgrade at {rate} packets/s, relay 50 ms slower"),
        format!("{} of {}", report.lost_later(), report.sent),
        "0",
    );
    assert_eq!(report.lost_later(), 0, "{report:?}; {}", pair.drops());
}

#[test]
fn the_upgrade_from_a_slower_relay_under_full_tcp_is_no_stall_and_drops_nothing() {
    let pair = slow_relay();
    let stream = TcpFlow::start(&pair.nodes[0], &pair.nodes[1], pair.nodes[1].at(NET, 9001), 0);
    thread::sleep(A_WHILE);
    pair.upgrade();
    thread::sleep(A_WHILE);
    let report = stream.stop();
    figure(
        "upgrade under full TCP, relay 50 ms slower, longest stall",
        ms(report.longest_stall),
        ms(GAP),
    );
    assert_eq!(report.broken, None, "{report:?}");
    assert!(keeps(report.longest_stall, GAP), "{report:?}");
    let old = |node: &Node| node.network(NET).and_then(|net| net["drops"]["replay"].as_u64());
    let dropped = old(&pair.nodes[1]).unwrap_or(0);
    assert!(
        dropped <= 10,
        "{dropped} fell out of the replay window; {}",
        pair.drops()
    );
}

/// What the kernel of a machine dropped: UDP for want of a buffer, and each interface.
fn drops_of(machine: &Machine) -> String {
    let script = "nstat -az UdpRcvbufErrors UdpSndbufErrors UdpInErrors Udp6RcvbufErrors IpForwDatagrams IpOutDiscards; \
                  for i in $(ip -o link show | cut -d: -f2 | cut -d@ -f1); do echo $i $(ip -s link show dev $i | tail -4); done";
    format!("{}:\n{}", machine.name(), machine.sh(script))
}

#[test]
fn the_upgrade_from_a_slower_relay_loses_no_packet() {
    upgrade_under(1_000);
}
