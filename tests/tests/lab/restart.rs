//! Restarting or killing meshd is not noticed by those who talk through it.

use std::time::Duration;

use meshd_tests::{TcpFlow, UdpFlow, eventually, figure, keeps};

use crate::bed::{self, NET, SOON};

/// The longest time without packets that a restart may cause.
const BAR: Duration = Duration::from_secs(1);

/// Runs `disturb` under 1,000 numbered packets/s both ways and a TCP stream from `a` to `b`, and checks what came through.
fn under_traffic(what: &str, bed: &bed::Bed, disturb: impl FnOnce()) {
    let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
    let there = UdpFlow::start(a, b, b.at(NET, 9000), 1000);
    let back = UdpFlow::start(b, a, a.at(NET, 9000), 1000);
    let stream = TcpFlow::start(a, b, b.at(NET, 9001), 2_000_000);
    let index = a
        .machine()
        .run(&["cat", &format!("/sys/class/net/{}/ifindex", interface(a))]);
    disturb();
    let (there, back, stream) = (there.stop(), back.stop(), stream.stop());
    let silence = there.longest_silence.max(back.longest_silence);
    figure(what, format!("{} ms of silence", silence.as_millis()), "1,000 ms");
    assert_eq!(stream.broken, None, "{what}: {stream:?}");
    assert!(keeps(silence, BAR), "{what}: {there:?} {back:?}");
    assert_eq!(
        there.duplicated + back.duplicated,
        0,
        "{what}: {there:?} {back:?}"
    );
    let after = a
        .machine()
        .run(&["cat", &format!("/sys/class/net/{}/ifindex", interface(a))]);
    assert_eq!(index, after, "{what}: the link never went away");
}

fn interface(node: &meshd_tests::mesh::Node) -> String {
    let network = eventually(SOON, "the node says its interface", || node.network(NET));
    network["interface"].as_str().expect("a name").to_owned()
}

#[test]
fn a_restart_of_meshd_on_a_lan_is_not_noticed() {
    let bed = bed::together(&["a", "b"]);
    bed.wait_for_paths("direct");
    under_traffic("meshd stopped and started, direct", &bed, || {
        bed.nodes[0].stop();
        bed.nodes[0].start_again();
        bed.settle();
    });
}

#[test]
fn a_kill_of_meshd_on_a_lan_is_not_noticed() {
    let bed = bed::together(&["a", "b"]);
    bed.wait_for_paths("direct");
    under_traffic("meshd killed and started, direct", &bed, || {
        bed.nodes[0].kill();
        bed.nodes[0].start_again();
        bed.settle();
    });
}

#[test]
fn a_kill_of_meshd_behind_a_relay_is_not_noticed() {
    let bed = bed::apart(&[
        ("a", meshd_tests::Nat::Symmetric),
        ("b", meshd_tests::Nat::Symmetric),
    ]);
    bed.wait_for_paths("relay");
    under_traffic("meshd killed and started, relayed", &bed, || {
        bed.nodes[0].kill();
        bed.nodes[0].start_again();
        bed.settle();
    });
}

#[test]
fn the_coordinator_stops_and_nobody_on_a_direct_path_notices() {
    let bed = bed::together(&["a", "b"]);
    bed.wait_for_paths("direct");
    under_traffic("meshrelay killed and started, direct", &bed, || {
        bed.relay.kill();
        let gone = |node: &meshd_tests::mesh::Node| {
            node.network(NET)
                .is_some_and(|net| net["coordinator"] != "connected")
        };
        eventually(SOON, "the nodes notice", || {
            bed.nodes.iter().all(gone).then_some(())
        });
        bed.relay.start_again();
    });
}

#[test]
fn a_kill_of_the_relay_interrupts_relayed_traffic_for_a_moment_only() {
    let bed = bed::apart(&[
        ("a", meshd_tests::Nat::Symmetric),
        ("b", meshd_tests::Nat::Symmetric),
    ]);
    bed.wait_for_paths("relay");
    let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
    let flow = UdpFlow::start(a, b, b.at(NET, 9000), 1000);
    let stream = TcpFlow::start(a, b, b.at(NET, 9001), 1_000_000);
    bed.relay.kill();
    bed.relay.start_again();
    a.reaches("b", SOON);
    let (flow, stream) = (flow.stop(), stream.stop());
    figure(
        "meshrelay killed and started, relayed",
        format!("{} ms of silence", flow.longest_silence.as_millis()),
        "heals by itself",
    );
    assert_eq!(stream.broken, None, "{stream:?}");
}

#[test]
fn a_kill_under_a_service_manager_that_keeps_descriptors_is_not_noticed() {
    let mut bed = bed::empty();
    let site = bed.world.site(meshd_tests::Nat::PortRestricted);
    for (name, host) in [("a", 2), ("b", 3)] {
        let node = meshd_tests::mesh::Node::start_managed(&site.machine(name, host));
        node.join(&bed.relay.token(NET, &[]));
        bed.nodes.push(node);
    }
    bed.settle();
    bed.wait_for_paths("direct");
    let told = bed.nodes[0].with_process(meshd_tests::Process::log);
    assert!(
        told.contains("ready") && told.contains("stored "),
        "it notifies and hands over descriptors: {told}"
    );
    under_traffic("meshd killed under a service manager, direct", &bed, || {
        bed.nodes[0].kill();
        bed.nodes[0].start_again();
        bed.settle();
    });
}

#[test]
fn a_service_is_ready_when_interface_and_addresses_exist_although_nobody_answers() {
    let bed = bed::empty();
    let site = bed.world.site(meshd_tests::Nat::PortRestricted);
    let node = meshd_tests::mesh::Node::start_managed(&site.machine("a", 2));
    node.join(&bed.relay.token(NET, &[]));
    let addresses = [node.ipv4(NET), node.ipv6(NET)];
    bed.relay.kill();
    node.machine().reboot();
    node.spawn_again();
    eventually(SOON, "the service manager hears that meshd is ready", || {
        node.with_process(meshd_tests::Process::log)
            .contains("ready")
            .then_some(())
    });
    let there = node.machine().run(&["ip", "-br", "address"]);
    for address in addresses {
        assert!(there.contains(&format!("{address}/")), "{address}: {there}");
    }
    let network = node.network(NET).expect("it is up");
    assert_ne!(network["coordinator"], "connected");
}
