//! Whatever happens to machines, what can talk goes on talking.

use std::thread;
use std::time::Duration;

use meshd_tests::{Nat, eventually, figure, keeps, timed};

use crate::bed::{self, NET, SOON};

#[test]
fn without_the_coordinator_a_node_restarts_and_a_machine_reboots_into_a_working_mesh() {
    let bed = bed::together(&["a", "b"]);
    bed.wait_for_paths("direct");
    bed.relay.kill();
    let [a, b] = &bed.nodes[..] else {
        unreachable!("two nodes")
    };
    assert!(a.pings("b"), "traffic goes on");
    a.stop();
    a.start_again();
    a.reaches("b", SOON);
    b.machine().reboot();
    bed.sites[0].plug(b.machine(), 3);
    b.start_again();
    b.reaches("a", SOON);
    assert_ne!(b.network(NET).expect("joined")["coordinator"], "connected");
}

#[test]
fn with_the_cloud_host_gone_and_everything_rebooted_under_other_addresses_each_site_is_whole_in_ten_seconds()
{
    const BAR: Duration = Duration::from_secs(10);
    let mut bed = bed::empty();
    for (letter, nat) in [("a", Nat::PortRestricted), ("b", Nat::Symmetric)] {
        let site = bed.world.site(nat);
        for number in 1..=2 {
            bed.add(&site, &format!("{letter}{number}"), number + 1);
        }
        bed.sites.push(site);
    }
    bed.settle();
    // a map goes to disk a second after it came
    for node in &bed.nodes {
        for peer in &bed.nodes {
            let script = format!("grep -q {} /var/lib/meshd/networks/*/map", peer.name());
            let what = format!("{} has {} on disk", node.name(), peer.name());
            eventually(SOON, &what, || {
                node.machine().succeeds(&["sh", "-c", &script]).then_some(())
            });
        }
    }
    bed.relay.kill();
    bed.cloud.kill_everything();
    for (index, node) in bed.nodes.iter().enumerate() {
        node.machine().reboot();
        bed.sites[index / 2].plug(node.machine(), 50 + u32::try_from(index).expect("small"));
    }
    thread::scope(|scope| {
        bed.nodes
            .iter()
            .for_each(|node| drop(scope.spawn(|| node.start_again())))
    });
    let worst = thread::scope(|scope| {
        let pair = |from: usize, to: usize| (&bed.nodes[from], bed.nodes[to].name());
        let pairs = [pair(0, 1), pair(1, 0), pair(2, 3), pair(3, 2)];
        let waits = pairs.map(|(node, peer)| scope.spawn(|| node.reaches(peer, BAR)));
        waits
            .into_iter()
            .map(|wait| wait.join().expect("reached"))
            .max()
            .expect("four")
    });
    figure(
        "site whole after a cold boot without the cloud host",
        format!("{} ms", worst.as_millis()),
        "10,000 ms",
    );
}

#[test]
fn a_removed_node_gets_no_packet_through_even_to_a_peer_that_was_off_when_it_was_removed() {
    let bed = bed::together(&["a", "b", "gone"]);
    let [a, b, gone] = &bed.nodes[..] else {
        unreachable!("three nodes")
    };
    let address = b.ipv4(NET).to_string();
    b.stop();
    bed.relay.ctl(&["node", "remove", "gone", "--network", NET]);
    eventually(SOON, "a hears of it", || {
        a.peer(NET, "gone").is_none().then_some(())
    });
    bed.relay.kill();
    b.start_again();
    eventually(SOON, "b hears of it from a", || {
        b.peer(NET, "gone").is_none().then_some(())
    });
    gone.kill();
    gone.start_again();
    a.reaches("b", SOON);
    for _ in 0..3 {
        assert!(!gone.pings(&address), "a removed node got a packet through");
        assert!(!b.pings(gone.name()), "the name of a removed node answers");
    }
}

#[test]
fn whatever_is_killed_in_whatever_order_heals_by_itself() {
    let bed = bed::apart(&[
        ("a", Nat::PortRestricted),
        ("b", Nat::FullCone),
        ("c", Nat::Symmetric),
    ]);
    for round in 0..6_usize {
        let first = &bed.nodes[round % 3];
        match round % 2 {
            0 => {
                bed.relay.kill();
                first.kill();
                first.start_again();
                bed.relay.start_again();
            }
            _ => {
                bed.nodes.iter().for_each(meshd_tests::mesh::Node::kill);
                bed.relay.kill();
                bed.relay.start_again();
                bed.nodes.iter().for_each(meshd_tests::mesh::Node::start_again);
            }
        }
        bed.settle();
    }
}

#[test]
fn a_node_that_gets_another_address_under_traffic_is_back_in_two_seconds() {
    let bed = bed::together(&["a", "b"]);
    bed.wait_for_paths("direct");
    let [a, b] = &bed.nodes[..] else {
        unreachable!("two nodes")
    };
    let flow = meshd_tests::UdpFlow::start(a, b, b.at(NET, 9000), 200);
    let back = meshd_tests::UdpFlow::start(b, a, a.at(NET, 9000), 200);
    bed.sites[0].readdress(a.machine(), 77);
    timed(SOON, "b pings a", || b.pings("a").then_some(()));
    let (flow, back) = (flow.stop(), back.stop());
    let gap = flow.longest_silence.max(back.longest_silence);
    figure(
        "roaming to another address under traffic",
        format!("{} ms of silence", gap.as_millis()),
        "2,000 ms",
    );
    assert!(keeps(gap, Duration::from_secs(2)), "{flow:?} {back:?}");
}
